"""Where built images go: any spelling of an image repository, in one normal form, with what its host tells.

Host forms are those of the clouds' own documents: Amazon `<account>.dkr.ecr.<region>.amazonaws.com`, Google
`<location>-docker.pkg.dev/<project>/<repository>/<image>` (and the older `gcr.io`), Azure
`<name>.azurecr.io`. The label `dkr` is put in where it was forgotten, as widely copied examples do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from launch_agent.errors import ImageError
from launch_agent.spec.image import ImageRef

_ECR = re.compile(
    r"(?P<account>[a-z0-9-]+)\.(?:dkr\.)?(?P<service>ecr(?:-fips)?)\.(?P<region>[a-z0-9-]+)\.(?P<domain>amazonaws\.com(?:\.cn)?)"
)
# The hosts that answer over IPv6 too (ECR's documents, "Making requests to dual-stack endpoints").
_ECR_DUAL = re.compile(
    r"[0-9]{12}\.dkr-ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:on\.aws|on\.amazonwebservices\.com\.cn)"
)
_GAR = re.compile(r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev")
_GCR = re.compile(r"(?:[a-z]+\.)?gcr\.io")
_ACR = re.compile(r"[a-z0-9-]+\.azurecr\.(?:io|cn|us)")


class Kind(StrEnum):
    """The kinds of registry, told apart by how they give out credentials."""

    ECR = "ecr"
    GAR = "gar"
    ACR = "acr"
    GENERIC = "generic"


CLOUD = {Kind.ECR: "aws", Kind.GAR: "gcp", Kind.ACR: "azure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An image repository: `uri` without scheme, tag and final slash. `region`, `project` and `image` are
    empty where the kind has none; a Google location may be a whole continent (`europe`)."""

    uri: str
    kind: Kind
    tag: str = ""
    region: str = ""
    project: str = ""
    image: str = ""

    @property
    def cloud(self) -> str:
        """The environment type whose credentials open it; empty for registries of no cloud."""
        return CLOUD.get(self.kind, "")

    def lies_in(self, region: str) -> bool:
        """Whether the region is the registry's own, or one of its continent."""
        return not self.region or region == self.region or region.startswith(f"{self.region}-")


def parse(text: str) -> Destination:
    """Raises ImageError for what is no image repository."""
    plain = re.sub(r"^https?://", "", text.strip())
    ref = ImageRef.parse(plain.rstrip("/"))
    if not ref.host and "/" not in ref.path:
        # Docker would take a host by itself for an image of its own library.
        looks_like_host = "." in ref.path or plain.endswith("/") or plain != text.strip()
        if looks_like_host:
            hint = f"write {plain.rstrip('/')}/<name>"
            raise ImageError(f"{text!r} names a registry and no repository", hint=hint)
    tag = ref.tag or ref.digest
    host, path = ref.host.lower(), ref.path
    if found := _ECR.fullmatch(host):
        host = f"{found['account']}.dkr.{found['service']}.{found['region']}.{found['domain']}"
        return Destination(uri=f"{host}/{path}", kind=Kind.ECR, region=found["region"], tag=tag)
    if found := _ECR_DUAL.fullmatch(host):
        return Destination(uri=f"{host}/{path}", kind=Kind.ECR, region=found["region"], tag=tag)
    if found := _GAR.fullmatch(host):
        parts = path.split("/")
        # A project of a domain is written example.com/project: its first part has a dot, no other's has.
        project = "/".join(parts[: 2 if "." in parts[0] else 1])
        rest = path.removeprefix(project).strip("/").split("/")
        return Destination(
            uri=f"{host}/{path}",
            kind=Kind.GAR,
            region=found["location"],
            project=project.replace("/", ":"),
            image="/".join(rest[1:]),
            tag=tag,
        )
    if _GCR.fullmatch(host):
        project, _, image = path.partition("/")
        return Destination(uri=f"{host}/{path}", kind=Kind.GAR, project=project, image=image, tag=tag)
    kind = Kind.ACR if _ACR.fullmatch(host) else Kind.GENERIC
    return Destination(uri=f"{host}/{path}" if host else path, kind=kind, tag=tag)


def of_gar(*, region: str, project: str, repository: str, image: str) -> str:
    """The URI of an Artifact Registry image from its parts."""
    return f"{region}-docker.pkg.dev/{project.replace(':', '/')}/{repository}/{image}"


def of_ecr(*, account: str, region: str, repository: str) -> str:
    """The URI of an ECR repository from its parts; China has a domain of its own."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{account}.dkr.ecr.{region}.{domain}/{repository}"
