"""What `buildctl build` is told for one build, by whomever it is called (pure).

Nothing secret is among the arguments: credentials are in the Docker config, secrets in files. Entitlements
(`--allow`) are never asked for, so a Dockerfile that wants the host's network or a privileged step is refused
by the daemon, whatever it would grant to others.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence

from launch_agent.builders.buildkit.settings import INLINE_CACHE, NO_CACHE, Settings
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef

DIGEST = "containerimage.digest"
_TITLE = "org.opencontainers.image.title"


def arguments(
    context: BuildContext,
    ref: ImageRef,
    settings: Settings,
    *,
    folder: str,
    metadata: str,
    secrets: Mapping[str, str],
) -> list[str]:
    """`folder` is where the context lies, empty where the program is told otherwise. `metadata` is where the
    digest is to be written, as `DIGEST` of a JSON object; `secrets` are files by the names that the
    Dockerfile asks for."""
    platform = context.platform or settings.platform
    return [
        "build",
        "--progress=plain",
        "--frontend=dockerfile.v0",
        *([f"--local=context={folder}", f"--local=dockerfile={folder}"] if folder else []),
        f"--opt=filename={context.dockerfile}",
        *([f"--opt=platform={platform}"] if platform else []),
        *(f"--opt=build-arg:{key}={value}" for key, value in sorted(context.build_args.items())),
        *(f"--opt=label:{key}={value}" for key, value in sorted(context.labels.items())),
        f"--output={_output(context, ref, settings)}",
        *_cache(context, ref, settings),
        *(f"--secret={_fields(f'id={name}', f'src={file}')}" for name, file in sorted(secrets.items())),
        f"--metadata-file={metadata}",
    ]


def cache_tag(context: BuildContext, settings: Settings) -> str:
    """Under which the cache of builds like this one is kept. An export takes the place of the one before, so
    jobs whose steps differ must not share a tag."""
    title = context.labels.get(_TITLE, "")
    platform = context.platform or settings.platform
    said = "\0".join((title, platform, context.text or context.dockerfile))
    return f"cache-{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _output(context: BuildContext, ref: ImageRef, settings: Settings) -> str:
    names = str(ref)
    if settings.cache == INLINE_CACHE:
        names += f",{ref.repository}:{cache_tag(context, settings)}"
    # Pushed and not kept: a daemon on a containerd of others' would list it among their images.
    return _fields("type=image", f"name={names}", "push=true", "store=false", *_insecure(settings))


def _cache(context: BuildContext, ref: ImageRef, settings: Settings) -> list[str]:
    if settings.cache == NO_CACHE:
        return []
    is_inline = settings.cache == INLINE_CACHE
    repository = ref.repository if is_inline else settings.cache
    place = [f"ref={repository}:{cache_tag(context, settings)}"]
    if ImageRef.parse(repository).host == ref.host:
        place += _insecure(settings)
    if is_inline:
        kept = "type=inline"
    else:
        # An image manifest in OCI's types is what every registry takes, ECR among them. A cache that cannot
        # be kept (a repository whose tags are immutable) fails no build.
        oci = ("mode=max", "image-manifest=true", "oci-mediatypes=true", "ignore-error=true")
        kept = _fields("type=registry", *place, *oci)
    return [f"--import-cache={_fields('type=registry', *place)}", f"--export-cache={kept}"]


def _insecure(settings: Settings) -> Sequence[str]:
    return ["registry.insecure=true"] if settings.is_plain else []


def _fields(*fields: str) -> str:
    """One line of comma-separated values, as buildctl reads it: a field with a comma goes in quotes."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
