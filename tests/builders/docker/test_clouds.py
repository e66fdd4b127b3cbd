"""The builder `docker` in each cloud: a real engine pushes with what the cloud's own SDK gives."""

from __future__ import annotations

import io
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import jwt
import pytest

from launch_agent.builders import Parts
from launch_agent.builders.docker import create
from launch_agent.config import load
from launch_agent.control import building, supplies
from launch_agent.environments.aws import AwsEnvironment
from launch_agent.environments.azure import AzureEnvironment
from launch_agent.environments.gcp import GcpEnvironment
from launch_agent.errors import RegistryDenied
from launch_agent.registries import Registry
from launch_agent.registries.acr import create as acr_at
from launch_agent.registries.ecr import EcrRegistry
from launch_agent.registries.gar import create as gar_at
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import PodPatch
from tests.fakes.azure_identity import AzureIdentity
from tests.fakes.docker_engine import TestEngine
from tests.fakes.google_tokens import GoogleTokens
from tests.fakes.loopback import Reply, Request
from tests.fakes.moto_server import ACCOUNT, REGION, Aws
from tests.fakes.registry import NoRegistry, registry
from tests.fakes.registry_faults import RegistryFaults
from tests.fakes.token_server import TokenServer

PATH, READABLE = "team/jobs/image", "team/jobs/readable"
AZURE_USER = "00000000-0000-0000-0000-000000000000"
REFRESH = jwt.encode({"exp": int(time.time()) + 3600}, "k" * 32)
# What each cloud's registry takes: a user, and how the password begins.
ACCEPTS = {
    "AWS": f"{ACCOUNT}-auth-token",
    "oauth2accesstoken": "ya29.",
    AZURE_USER: REFRESH,
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("clouds")
    rights = {PATH: {"pull", "push"}, READABLE: {"pull"}}
    with TokenServer(folder=folder / "tokens", rights=rights, accepts=ACCEPTS, lifetime=60) as tokens:
        try:
            with registry(folder / "registry", tokens=tokens) as address:
                yield address
        except NoRegistry as reason:
            pytest.skip(str(reason))


@pytest.fixture
def acr(host: str) -> Iterator[RegistryFaults]:
    """The registry, with Azure's exchange in front of it."""

    def exchange(request: Request, _forward: Callable[[], Reply]) -> Reply:
        assert parse_qs(request.body.decode())["access_token"][0].startswith("aad-token-for-")
        return Reply.of({"refresh_token": REFRESH})

    with RegistryFaults(f"http://{host}") as proxy:
        proxy.always(exchange, on="POST /oauth2/exchange")
        yield proxy


@pytest.fixture
def azure(bare_environment: pytest.MonkeyPatch) -> Iterator[AzureIdentity]:
    with AzureIdentity() as server:
        for name, value in server.variables.items():
            bare_environment.setenv(name, value)
        yield server


def build(engine: TestEngine, image: str, shelf: Registry) -> ImageRef:
    """An image of its own, built and pushed; nothing of it stays in the engine."""
    text = f"FROM {image}\nRUN echo {uuid.uuid4().hex}\n".encode()

    def pack() -> Iterator[bytes]:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            info = tarfile.TarInfo("Dockerfile")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
        yield packed.getvalue()

    context = BuildContext(directory=Path(), dockerfile="Dockerfile", digest="", why="", pack=pack)
    ref = ImageRef.parse(f"{shelf.repository}:{uuid.uuid4().hex}")
    with closing(create({"host": engine.host}, Parts(agent="me", registry=shelf))) as builder:
        try:
            return builder.build(context, ref, log=lambda _: None, stop=threading.Event())
        finally:
            engine.client.remove_image(str(ref), force=True)


class Moved:
    """A cloud's credentials, for a registry that is not at the cloud's address: it is on this machine."""

    def __init__(self, cloud: Registry, host: str, path: str = PATH) -> None:
        self._cloud, self._host = cloud, host
        self.repository = f"{host}/{path}"

    def verify(self) -> None: ...

    def exists(self, ref: ImageRef) -> str:
        return ""

    def credentials(self) -> Credentials | None:
        found = self._cloud.credentials()
        return replace(found, host=self._host) if found else None

    def build_pod(self) -> PodPatch:
        return PodPatch()


@pytest.mark.docker
@pytest.mark.req("DKR-6", "REG-1")
def test_google_cloud(
    docker_engine: TestEngine,
    tiny_image: str,
    host: str,
    tmp_path: Path,
    bare_environment: pytest.MonkeyPatch,
) -> None:
    with GoogleTokens(tmp_path) as google:
        bare_environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google.key_file))
        with closing(gar_at(f"{host}/{PATH}", GcpEnvironment("treasure", "europe-west4"), {})) as shelf:
            image = build(docker_engine, tiny_image, shelf)
            assert shelf.exists(image) == image.digest
        assert google.issued == 1


@pytest.mark.docker
@pytest.mark.req("DKR-6", "REG-1", "GAP-25")
def test_azure(
    docker_engine: TestEngine, tiny_image: str, azure: AzureIdentity, acr: RegistryFaults, host: str
) -> None:
    """No more is needed than the identity that `DefaultAzureCredential` finds, with the role AcrPush."""
    place = acr.url.removeprefix("http://")
    with closing(acr_at(f"{place}/{PATH}", AzureEnvironment(), {})) as cloud:
        image = build(docker_engine, tiny_image, Moved(cloud, host))
        assert cloud.exists(replace(image, host=place)) == image.digest
    assert azure.asked == ["https://containerregistry.azure.net"]
    with closing(acr_at(f"{place}/{READABLE}", AzureEnvironment(), {})) as cloud:
        with pytest.raises(RegistryDenied) as denied:
            cloud.verify()
        assert "the role AcrPush" in denied.value.hint
        with pytest.raises(RegistryDenied, match="push"):
            build(docker_engine, tiny_image, Moved(cloud, host, READABLE))


@pytest.mark.docker
@pytest.mark.req("DKR-6", "REG-1")
def test_amazon(
    docker_engine: TestEngine,
    tiny_image: str,
    host: str,
    aws_server: Aws,
    bare_environment: pytest.MonkeyPatch,
) -> None:
    for name, value in aws_server.variables.items():
        bare_environment.setenv(name, value)
    ecr = EcrRegistry(f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{PATH}", AwsEnvironment(REGION))
    assert build(docker_engine, tiny_image, Moved(ecr, host)).digest.startswith("sha256:")


@pytest.mark.req("DKR-6", "BLD-7", "CFG-21")
@pytest.mark.parametrize(
    ("environment", "destination", "kind"),
    [
        ("{type: aws, region: us-east-1}", f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/jobs", "EcrRegistry"),
        ("{type: gcp, project: p1, region: us-east1}", "us-east1-docker.pkg.dev/p1/r/image", "GarRegistry"),
        ("{type: azure}", "team.azurecr.io/jobs", "AcrRegistry"),
    ],
)
def test_a_destination_in_each_environment(
    tmp_path: Path, environment: str, destination: str, kind: str, bare_environment: pytest.MonkeyPatch
) -> None:
    text = f"queues: [q]\nenvironment: {environment}\nbuilder: {{type: docker, destination: {destination}}}\n"
    (tmp_path / "launch-config.yaml").write_text(text)
    config = load.load(tmp_path, {"WANDB_API_KEY": "k" * 40, "HOME": str(tmp_path)})
    assert not config.warnings
    found = supplies.make(config, {})
    assert type(found.registry).__name__ == kind
    with closing(building.builder(config, "docker", found)) as builder:
        assert builder.repository == destination
