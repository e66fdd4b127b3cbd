"""`launch-agent image build --daemonless`: a plan becomes an image here, and goes where it is to be."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launch_agent.cli.image import places
from launch_agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launch_agent.assembly.attachment import Attachment
    from launch_agent.assembly.fetching import Report
    from launch_agent.assembly.image import Image
    from launch_agent.assembly.layout import ReadBlob
    from launch_agent.assembly.origin import Origin
    from launch_agent.clients.oci.model import Descriptor
    from launch_agent.clients.oci.repository import Repository
    from launch_agent.images.agent.assemble import Assembled
    from launch_agent.images.agent.plan import Plan
    from launch_agent.spec.image import ImageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where an image goes: `kind` is one of `places`, `path` where it is on disk."""

    kind: str
    path: Path = Path()

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Raises ConfigError."""
        kind, _, rest = text.partition(":")
        if text == places.REGISTRY:
            return cls(kind=kind)
        if kind in (places.LAYOUT, places.ARCHIVE) and rest:
            return cls(kind=kind, path=Path(rest))
        raise ConfigError(
            f"--to {text!r} is no place for an image",
            hint=f"{places.REGISTRY}, {places.LAYOUT}:FOLDER or {places.ARCHIVE}:FILE",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for besides the plan: `reference` and `to` as on the command line, `sign` where the image
    is to be signed, by `sign_key` if it is not empty."""

    reference: str = ""
    to: str = places.REGISTRY
    sign: bool = False
    sign_key: str = ""
    plain: bool = False
    quiet: bool = False


def build(plan: Plan, wheel: Path, wish: Wish) -> str:
    """Build the image and put it where it is to be; what names it there. `wheel` is the agent's own.

    Nothing is begun that cannot be ended: what is asked for is checked before. Raises LaunchError.
    """
    from launch_agent.assembly.kept import Kept
    from launch_agent.assembly.origin import InRegistry
    from launch_agent.cli.image import bars
    from launch_agent.images.agent.assemble import Bench, assemble

    to, ref = _checked(plan, wish)
    with ExitStack() as stack:
        report = stack.enter_context(bars.progress(quiet=wish.quiet))
        where, base_place = stack.enter_context(places.opened(plan.base, plain=wish.plain))
        kept: Origin = where
        if base_place is not None:
            # A tag is looked up once: it may be another image when the next platform is asked for.
            digest = plan.base.partition("@")[2] or where.top().digest
            kept = Kept(InRegistry(base_place, digest), places.cache_folder() / "blobs", digest)
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="launch-agent-image-"))
        bench = Bench(
            origin=kept,
            wheel=wheel,
            cache=places.cache_folder(),
            scratch=Path(scratch),
            environment=os.environ,
            name=str(ref) if ref else "",
            base=plan.base if base_place is not None else "",
            report=report,
        )
        made = assemble(plan, bench)
        if not wish.quiet:
            _tell(plan, made, "" if base_place is None or "@" in plan.base else kept.top().digest)
        if to.kind == places.REGISTRY:
            assert ref is not None
            target = stack.enter_context(places.repository(ref, plain=wish.plain))
            digest = _push(made, target, base_place, ref.tag, kept.read, report)
            name = f"{ref.repository}@{digest}"
            if wish.sign or wish.sign_key:
                from launch_agent.images.agent import signing

                signing.sign(name, wish.sign_key, os.environ)
            return name
        return _write(made, to, str(ref) if ref else "", kept.read, report)


def _checked(plan: Plan, wish: Wish) -> tuple[Destination, ImageRef | None]:
    from launch_agent.images.agent import signing
    from launch_agent.spec.image import ImageRef

    to = Destination.parse(wish.to)
    ref = ImageRef.parse(wish.reference).canonical() if wish.reference else None
    if to.kind == places.REGISTRY and (ref is None or ref.digest):
        raise ConfigError(
            "it is not said what the image is to be called in its registry",
            hint="-t registry.example.com/team/launch-agent:1, or --to oci-layout:FOLDER",
        )
    if to.kind == places.ARCHIVE and len(plan.platforms) > 1:
        raise ConfigError(
            f"an archive holds one image, and {len(plan.platforms)} platforms are asked for",
            hint=f"name one --platform, or use --to {places.LAYOUT}:FOLDER",
        )
    if wish.sign or wish.sign_key:
        if to.kind != places.REGISTRY:
            raise ConfigError(
                "only an image in a registry can be signed",
                hint="sign it by `launch-agent image push --sign`",
            )
        signing.check(wish.sign_key, os.environ)
    return to, ref


def _tell(plan: Plan, made: Sequence[Assembled], unpinned: str) -> None:
    """What a user should know of an image that was made without an engine; `unpinned` is the digest of a base
    that was named by a tag."""
    if unpinned:
        click.echo(f"the base was named by a tag; to pin it: --base {plan.base}@{unpinned}", err=True)
    if not all(each.is_compiled for each in made):
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        click.echo(
            f"modules are not byte-compiled: this is Python {own}, and the image has {plan.python}; "
            "the agent starts a second later for it",
            err=True,
        )


def _push(
    made: Sequence[Assembled],
    target: Repository,
    base_place: Repository | None,
    tag: str,
    read_base: ReadBlob,
    report: Report,
) -> str:
    """Blobs, images, bills of materials, and what the tag is to point to last."""
    from launch_agent.assembly import image, transfer

    images = [each.image for each in made]
    total = {
        each.digest: each.size
        for one in images
        for each in (*one.base.layers, *(layer.descriptor for layer in one.layers))
    }

    def progress(blob: Descriptor, sent: int) -> None:
        report(f"pushing {blob.digest[7:19]}", sent, total.get(blob.digest, sent))

    for one in images:
        transfer.push(one, target, base_from=base_place, read_base=read_base, progress=progress)
    transfer.push_attached(_attached(made), target)
    top = images[0].manifest if len(images) == 1 else image.index(images)
    return target.push_manifest(top, tag).digest


def _write(
    made: Sequence[Assembled], to: Destination, reference: str, read_base: ReadBlob, report: Report
) -> str:
    from launch_agent.assembly import image, layout

    images: list[Image] = [each.image for each in made]
    what = f"writing {to.path}"
    report(what, 0, 1)
    if to.kind == places.ARCHIVE:
        layout.write_archive(
            images[0], to.path, read_base=read_base, reference=reference, attached=_attached(made)
        )
        digest = images[0].digest
    else:
        index = image.index(images) if len(images) > 1 else None
        layout.write(
            images,
            to.path,
            read_base=read_base,
            reference=reference,
            index=index,
            attached=_attached(made),
        )
        digest = index.digest if index is not None else images[0].digest
    report(what, 1, 1)
    return f"{to.kind}:{to.path}@{digest}"


def _attached(made: Sequence[Assembled]) -> list[Attachment]:
    from launch_agent.assembly.attachment import attach
    from launch_agent.images.agent.bom import MEDIA_TYPE

    return [attach(each.image.manifest.descriptor, each.bill, MEDIA_TYPE) for each in made]
