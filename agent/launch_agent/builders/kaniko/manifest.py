"""What kaniko's container is told, and with which credentials.

The pod has root in its own container, which kaniko needs to unpack images, and nothing of the node: it is
admitted by the Pod Security standard `baseline`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from launch_agent.builders.jobs.manifest import Build, Frame, assemble, passed_on, pushing_with, reference
from launch_agent.builders.jobs.overlay import Overlay
from launch_agent.builders.kaniko import fetching
from launch_agent.builders.kaniko.settings import Settings
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.passon import PassOn
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret

CONTAINER = "kaniko"
OVERLAY_KEY = "builder.kaniko-config"
_REPEATED = frozenset(
    {"--build-arg", "--label", "--ignore-path", "--registry-mirror", "--destination", "--insecure-registry"}
)
_SECRETS = "/kaniko-secret"
_PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"})
_DOCKER = "/kaniko/.docker"


def compose(
    context: BuildContext,
    ref: ImageRef,
    uri: str,
    patch: PodPatch,
    settings: Settings,
    *,
    agent: str,
    namespace: str,
    link: Secret | None = None,
) -> Build:
    """`uri` is where the context lies, `patch` what the parts of the config add. With `link`, an address that
    anybody may read from, another container fetches the context by it. Raises ConfigError for an overlay that
    cannot be laid over a Job."""
    frame = Frame(
        agent=agent,
        namespace=namespace,
        prefix=settings.prefix,
        timeout=settings.timeout,
        account=settings.account,
    )
    first: Sequence[Mapping[str, Any]] = ()
    if link is not None:
        uri = fetching.URI
        patch += fetching.fetched(link)
        first = fetching.containers(settings.fetch_image, settings.pass_on)
    container = {
        "image": settings.image,
        "args": _arguments(context, ref, uri, settings),
        "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    whole = passed_on(_in_both_spellings(settings.pass_on)) + _credentials(settings) + patch
    return assemble(ref, frame, container, whole, overlay(settings), first=first)


def overlay(settings: Settings) -> Overlay:
    """The config's partial Job."""
    return Overlay(place=OVERLAY_KEY, container=CONTAINER, value=settings.overlay, repeated=_REPEATED)


def _arguments(context: BuildContext, ref: ImageRef, uri: str, settings: Settings) -> list[str]:
    return [
        f"--context={uri}",
        f"--dockerfile={context.dockerfile}",
        f"--destination={ref}",
        # The digest comes back as the container's last words, which the Kubernetes API hands on.
        "--digest-file=/dev/termination-log",
        "--cache=true",
        f"--cache-repo={ref.repository}",
        "--snapshot-mode=redo",
        "--compressed-caching=false",
        *([f"--insecure-registry={ref.host}"] if settings.is_plain else []),
        # Without a value: kaniko takes it from its own variables.
        *(f"--build-arg={name}" for name in _proxies(settings.pass_on)),
        *([f"--custom-platform={context.platform}"] if context.platform else []),
        *(f"--build-arg={key}={value}" for key, value in sorted(context.build_args.items())),
        *(f"--label={key}={value}" for key, value in sorted(context.labels.items())),
    ]


def _in_both_spellings(passed: PassOn) -> PassOn:
    """Proxies by either name: programs of a build's steps read one or the other."""
    return replace(passed, env=_doubled(passed.env), secret_env=_doubled(passed.secret_env))


_Value = TypeVar("_Value")


def _doubled(variables: Mapping[str, _Value]) -> dict[str, _Value]:
    found = dict(variables)
    for name, value in variables.items():
        if name.lower() in _PROXIES:
            found.setdefault(name.lower(), value)
            found.setdefault(name.upper(), value)
    return found


def _proxies(passed: PassOn) -> list[str]:
    """Their names: every Dockerfile knows them as arguments without declaring them, and no history has
    them."""
    both = _in_both_spellings(passed)
    return sorted(name for name in {**both.env, **both.secret_env} if name.lower() in _PROXIES)


def _credentials(settings: Settings) -> PodPatch:
    """The Secret with credentials for the cloud, where the cluster has no identity of its own there."""
    patch = PodPatch()
    if settings.secret:
        file = f"{_SECRETS}/{settings.secret_key}"
        if settings.cloud == "azure":
            patch += PodPatch(
                env=[reference("AZURE_STORAGE_ACCESS_KEY", settings.secret, settings.secret_key)]
            )
        else:
            variable = (
                "GOOGLE_APPLICATION_CREDENTIALS" if settings.cloud == "gcp" else "AWS_SHARED_CREDENTIALS_FILE"
            )
            patch += PodPatch(
                env=[{"name": variable, "value": file}, {"name": "AWS_SDK_LOAD_CONFIG", "value": "true"}][
                    : 1 if settings.cloud == "gcp" else 2
                ],
                volumes=[{"name": "cloud", "secret": {"secretName": settings.secret}}],
                mounts=[{"name": "cloud", "mountPath": _SECRETS, "readOnly": True}],
            )
    if settings.azure_secret:
        name, _, key = settings.azure_secret.partition("/")
        patch += PodPatch(env=[reference("AZURE_STORAGE_ACCESS_KEY", name, key)])
    if settings.push_secret:
        patch += pushing_with(settings.push_secret, _DOCKER)
    return patch
