"""Builds by the real kaniko on a real node: its context from a real store, its image into a locked registry.

Nothing here has a Docker engine: the executor unpacks the base image in its own container. What it makes is
run, as the cluster runs it.
"""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import subprocess
import tarfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient
from google.cloud import storage

from launch_agent.builders import Parts
from launch_agent.builders.jobs.manifest import BUILD_OF
from launch_agent.builders.kaniko.builder import KanikoBuilder
from launch_agent.builders.kaniko.settings import settings_from
from launch_agent.clients.oci.dockerconfig import DockerConfig, for_build
from launch_agent.environments import Environment
from launch_agent.environments.aws import AwsEnvironment
from launch_agent.environments.gcp import GcpEnvironment
from launch_agent.errors import BuildError, RegistryDenied
from launch_agent.registries.generic import GenericRegistry
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from launch_agent.spec.model import Credentials
from launch_agent.spec.podpatch import PodPatch
from launch_agent.spec.secret import Secret
from launch_agent.stores import ContextStore
from launch_agent.stores.azblob import BlobStore
from launch_agent.stores.gcs import GcsStore
from launch_agent.stores.pvc import ClaimStore
from launch_agent.stores.s3 import S3Store
from tests.contracts.store import unique
from tests.fakes import kaniko, moto_server, stores
from tests.fakes.build_account import connector
from tests.fakes.control_plane import Cluster
from tests.fakes.eventually import eventually
from tests.fakes.google_tokens import GoogleTokens
from tests.fakes.kube_jobs import await_end, start
from tests.fakes.moto_server import REGION, Aws
from tests.fakes.real_node import Node
from tests.fakes.registry import PASSWORD, USER, NoRegistry, registry
from tests.fakes.stores import AZURE_KEY, NoStore

pytestmark = [pytest.mark.xdist_group("real-node"), pytest.mark.timeout(300)]
_PROGRAMS = ("sh", "cat", "echo", "ls", "id", "env", "sleep")


@pytest.fixture(scope="module")
def image(node: Node) -> str:
    try:
        return kaniko.executor_image(node)
    except kaniko.NoKaniko as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def locked(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that lets in who knows its password."""
    try:
        with registry(tmp_path_factory.mktemp("locked"), host=node.outside, private=True) as address:
            node.trust(address)
            yield address
    except NoRegistry as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def base(locked: str) -> str:
    return kaniko.push_base(locked, "base", _PROGRAMS)


@pytest.fixture(scope="module")
def aws(node: Node) -> Iterator[Aws]:
    with moto_server.aws(node.outside) as server:
        yield server


@pytest.fixture(scope="module")
def gcs(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with stores.gcs(tmp_path_factory.mktemp("gcs"), node.outside) as url:
            yield url
    except NoStore as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def account(node: Node, azurite_server: str) -> Iterator[str]:
    """The address at which pods have the account of Azure Blob Storage."""
    host, _, path = azurite_server.removeprefix("http://").partition("/")
    with socket.socket() as probe:
        probe.bind((node.outside, 0))
        port = probe.getsockname()[1]
    relay = f"TCP-LISTEN:{port},bind={node.outside},fork,reuseaddr"
    process = subprocess.Popen(["socat", relay, f"TCP:{host}"], start_new_session=True)
    yield f"http://{node.outside}:{port}/{path}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(10)


class KeylessStore(BlobStore):
    """As where the agent has an identity and lends builds no key: the emulator knows none but its own. `pods`
    is the account's address for them."""

    def __init__(self, account: str, container: str, pods: str) -> None:
        super().__init__(account, container, "jobs/", environment=None, access_key=Secret(AZURE_KEY))
        self._own, self.pods = account, pods

    def link(self, key: str, seconds: float) -> Secret:
        return Secret(super().link(key, seconds).reveal().replace(self._own, self.pods))

    def build_pod(self) -> PodPatch:
        return PodPatch()


class Bench:
    """A builder in a namespace whose pods run on the node; its registry is locked."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path, locked: str, image: str) -> None:
        self.kube, self.namespace, self.folder = cluster.kube, namespace, folder
        self.image = image
        self.repository = f"{locked}/jobs-{uuid.uuid4().hex[:8]}"
        self.login = Credentials(host=locked, username=USER, password=Secret(PASSWORD))
        self._config = folder / "config.json"
        self._config.write_text(for_build(locked, self.login).reveal())
        self._connect = connector(cluster.kube, namespace, folder)
        self._made: list[KanikoBuilder] = []

    def builder(
        self,
        store: ContextStore,
        environment: Environment | None = None,
        *,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        **options: Any,
    ) -> KanikoBuilder:
        """`env` and `args` are those of `kaniko-config`, `variables` the agent's."""
        container = {"env": [{"name": key, "value": text} for key, text in (env or {}).items()]}
        config = {"spec": {"template": {"spec": {"containers": [{**container, "args": list(args)}]}}}}
        told = {"kaniko-image": self.image, "kaniko-config": config, "build-timeout": 120, **options}
        shelf = GenericRegistry(self.repository, DockerConfig({}, file=self._config), plain=True)
        parts = Parts(agent="me", registry=shelf, store=store, environment=environment)
        made = KanikoBuilder(self._connect, parts, settings_from(told, variables or {}, is_plain=True))
        self._made.append(made)
        return made

    def secret(self, name: str, kind: str = "Opaque", **files: str) -> str:
        data = {
            key.replace("__", "."): base64.b64encode(text.encode()).decode() for key, text in files.items()
        }
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind}
        self.kube.create({**manifest, "data": data}, self.namespace)
        return name

    def shut(self) -> None:
        """Know a wrong password from now on."""
        login = Credentials(host=self.login.host, username=USER, password=Secret("wrong"))
        self._config.write_text(for_build(login.host, login).reveal())

    def run(self, image: ImageRef) -> str:
        """What a pod of the image prints, which pulls with a Secret."""
        config = for_build(self.login.host, self.login).reveal()
        pull = self.secret("pull", "kubernetes.io/dockerconfigjson", __dockerconfigjson=config)
        container = {"image": str(image), "imagePullPolicy": "Always"}
        start(self.kube, self.namespace, container=container, pod={"imagePullSecrets": [{"name": pull}]})
        await_end(self.kube, self.namespace)
        pods = self.kube.items("v1", "Pod", self.namespace)
        (name,) = [each["metadata"]["name"] for each in pods if each["metadata"]["name"].startswith("train")]
        return self.kube.log(self.namespace, name)

    def left(self) -> list[Any]:
        secrets = self.kube.items("v1", "Secret", self.namespace)
        ours = [each for each in secrets if BUILD_OF in each["metadata"].get("labels", {})]
        jobs = self.kube.items("batch/v1", "Job", self.namespace)
        return [*(each for each in jobs if each["metadata"]["name"] != "train"), *ours]

    def await_nothing(self) -> None:
        eventually(lambda: not self.left(), within=60, every=0.2, what="Job and Secrets are gone")

    def close(self) -> None:
        for each in self._made:
            each.close()


@pytest.fixture
def bench(cluster: Cluster, node_namespace: str, tmp_path: Path, locked: str, image: str) -> Iterator[Bench]:
    made = Bench(cluster, node_namespace, tmp_path, locked, image)
    yield made
    made.close()


def context(dockerfile: str, **files: str) -> BuildContext:
    def pack() -> Iterator[bytes]:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, text in {"Dockerfile": dockerfile, **files}.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(text), 0o644
                tar.addfile(info, io.BytesIO(text.encode()))
        yield packed.getvalue()

    return BuildContext(
        directory=Path(),
        dockerfile="Dockerfile",
        digest=uuid.uuid4().hex,
        why="a test's",
        build_args={"WHO": "the whole world"},
        labels={"org.opencontainers.image.title": "train"},
        pack=pack,
    )


def job(base: str) -> BuildContext:
    """Code that says what it is when it runs."""
    return context(
        f"FROM {base}\nARG WHO\nRUN echo hello $WHO > /greeting\nWORKDIR /job\nCOPY . .\nUSER 1000:0\n"
        'ENTRYPOINT ["sh", "train.sh"]\n',
        **{"train.sh": "cat /greeting\nls\necho $BASE\n"},
    )


def build(builder: KanikoBuilder, made: BuildContext, lines: list[str] | None = None) -> ImageRef:
    ref = ImageRef.parse(f"{builder.repository}:{made.digest}")
    lines = [] if lines is None else lines
    try:
        return builder.build(made, ref, log=lines.append, stop=threading.Event())
    except BuildError as error:
        error.add_note(error.log)
        raise


@pytest.mark.req("KAN-5", "KAN-7", "BLD-2", "AGT-8", "KAN-8", "KAN-10", "KAN-19", "KAN-22", "KAN-13")
def test_a_context_in_s3_becomes_an_image_that_runs(
    bench: Bench, aws: Aws, base: str, bare_environment: pytest.MonkeyPatch
) -> None:
    """The Secret's user may read the contexts, and nothing else."""
    for name, value in aws.variables.items():
        bare_environment.setenv(name, value)
    bucket = unique()
    aws.client("s3").create_bucket(Bucket=bucket)
    resource = f"arn:aws:s3:::{bucket}/contexts/*"
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": resource}
    user = aws.user({"Version": "2012-10-17", "Statement": [statement]})
    keys = "".join(
        f"{name.lower()} = {user[name]}\n" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    )
    bench.secret("aws-secret", credentials=f"[default]\n{keys}")
    cloud = AwsEnvironment(REGION)
    builder = bench.builder(
        S3Store(bucket, "contexts/", cloud),
        cloud,
        env={"S3_ENDPOINT": aws.url, "S3_FORCE_PATH_STYLE": "true"},
        **{
            "build-context-store": f"s3://{bucket}/contexts",
            "secret-name": "aws-secret",
            "secret-key": "credentials",
        },
    )
    builder.verify()
    lines: list[str] = []
    made = job(base)
    found = build(builder, made, lines)
    assert found == builder.find(ImageRef.parse(f"{builder.repository}:{made.digest}"))
    assert any("hello $WHO" in line for line in lines)
    assert not aws.client("s3").list_objects_v2(Bucket=bucket).get("Contents")
    bench.await_nothing()
    said = bench.run(found).split("\n")
    assert said[0] == "hello the whole world"
    # Of the context, and of nothing that the build itself fetched.
    assert said[1:-1] == ["Dockerfile", "train.sh", "there"]


@pytest.mark.req("KAN-5", "KAN-7", "KAN-11", "KAN-18", "KAN-20", "KAN-21")
def test_a_context_in_google_cloud_storage_becomes_an_image(
    bench: Bench, gcs: str, base: str, tmp_path: Path, bare_environment: pytest.MonkeyPatch
) -> None:
    """The key is read where the pod has it; the server lets in everybody."""
    (tmp_path / "google").mkdir()
    with GoogleTokens(tmp_path / "google") as tokens:
        bare_environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tokens.key_file))
        bare_environment.setenv("STORAGE_EMULATOR_HOST", gcs)
        cloud = GcpEnvironment("treasure", "europe-west4")
        client = storage.Client(project="treasure", credentials=cloud.session())
        bucket = client.create_bucket(unique()).name
        bench.secret("gcp-secret", key__json=tokens.key_file.read_text())
        builder = bench.builder(
            GcsStore(bucket, "contexts/", cloud),
            cloud,
            env={"STORAGE_EMULATOR_HOST": gcs},
            **{
                "build-context-store": f"gs://{bucket}/contexts",
                "secret-name": "gcp-secret",
                "secret-key": "key.json",
            },
        )
        assert build(builder, job(base)).digest
        assert not list(client.list_blobs(bucket))
        client.close()
    bench.await_nothing()


@pytest.mark.req("KAN-12", "KAN-23")
def test_a_context_in_azure_needs_no_key_in_the_build(
    bench: Bench, azurite_server: str, account: str, base: str, node_python_image: str
) -> None:
    """kaniko opens that store by a key only: the agent's image fetches the context."""
    service = BlobServiceClient(azurite_server, credential=AZURE_KEY)
    with service, service.create_container(unique()) as container:
        store = KeylessStore(azurite_server, container.container_name, account)
        builder = bench.builder(
            store,
            variables={"LAUNCH_AGENT_IMAGE": node_python_image},
            **{"build-context-store": "https://treasure.blob.core.windows.net/contexts/jobs"},
        )
        builder.verify()
        assert build(builder, job(base)).digest
        assert not list(container.list_blobs())
        bench.await_nothing()
        store.pods += "/absent"
        with pytest.raises(BuildError, match="cannot be fetched: HTTP Error 40") as failed:
            build(builder, job(base))
        assert "sig=" not in str(failed.value) + failed.value.log
    bench.await_nothing()


@pytest.fixture
def claim(bench: Bench, tmp_path: Path) -> Iterator[ClaimStore]:
    """A volume claim of the namespace, which the agent has as a folder."""
    folder = tmp_path / "claim"
    folder.mkdir()
    name = f"contexts-{uuid.uuid4().hex[:8]}"
    size = {"storage": "1Gi"}
    spec = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = {**spec, "capacity": size, "hostPath": {"path": str(folder)}}
    bench.kube.create(
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume}
    )
    wanted = {**spec, "volumeName": name, "resources": {"requests": size}}
    bench.kube.create(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": wanted},
        bench.namespace,
    )
    yield ClaimStore(name, folder, "contexts/")
    bench.kube.delete("v1", "PersistentVolume", "", name)


@pytest.mark.req("KAN-5", "KAN-7", "KAN-24", "KAN-26", "KAN-27", "KAN-28")
def test_a_context_in_a_volume_claim_needs_no_cloud(
    bench: Bench, base: str, claim: ClaimStore, tmp_path: Path
) -> None:
    """With the administrator's words for the executor."""
    builder = bench.builder(claim, env={"MY_ENV_VAR": "mine"}, args=["--cache=false", "--verbosity=debug"])
    lines: list[str] = []
    assert build(builder, job(base), lines).digest
    assert any(line.startswith("\x1b[36mDEBU") or "DEBU" in line for line in lines)
    assert not list((tmp_path / "claim" / "contexts").iterdir())
    bench.await_nothing()


def test_the_second_build_takes_steps_from_the_cache(bench: Bench, base: str, claim: ClaimStore) -> None:
    """The cache is in the locked registry too."""
    builder = bench.builder(claim)
    dockerfile = f"FROM {base}\nRUN echo long work\nCOPY . .\n"
    build(builder, context(dockerfile, code="one"))
    lines: list[str] = []
    build(builder, context(dockerfile, code="two"), lines)
    assert any("Using caching version of cmd: RUN echo long work" in line for line in lines)
    assert not any(line.startswith("long work") for line in lines)


@pytest.mark.parametrize(
    ("dockerfile", "said", "log"),
    [
        ("RUN echo out of cheese; exit 3\n", "exit status 3", "out of cheese"),
        ("COPY absent .\n", "absent", "absent"),
    ],
)
def test_a_step_that_fails_tells_why(
    bench: Bench, base: str, claim: ClaimStore, dockerfile: str, said: str, log: str
) -> None:
    with pytest.raises(BuildError, match=said) as failed:
        build(bench.builder(claim), context(f"FROM {base}\n{dockerfile}"))
    assert log in failed.value.log
    bench.await_nothing()


def test_a_registry_that_does_not_let_it_push_is_named(bench: Bench, base: str, claim: ClaimStore) -> None:
    bench.shut()
    with pytest.raises(RegistryDenied, match=r"(?i)unauthorized") as failed:
        build(bench.builder(claim), context("FROM scratch\nCOPY . .\n"))
    assert "builder.destination" in failed.value.hint
    bench.await_nothing()


def test_steps_go_through_the_agents_proxy(bench: Bench, base: str, claim: ClaimStore) -> None:
    """Its login is in no manifest, log or history."""
    variables = {
        "LAUNCH_AGENT_PASS_ON": "HTTPS_PROXY,NO_PROXY",
        "HTTPS_PROXY": "http://agent:hush@proxy.example.com:3128",
        "NO_PROXY": bench.login.host.partition(":")[0],
    }
    builder = bench.builder(claim, variables=variables)
    step = 'RUN echo "$HTTPS_PROXY $https_proxy" && echo "but not for $no_proxy" && cat /absent || true'
    lines: list[str] = []
    found = build(builder, context(f"FROM {base}\n{step}\n"), lines)
    assert "http://***@proxy.example.com:3128 http://***@proxy.example.com:3128" in lines
    assert f"but not for {variables['NO_PROXY']}" in lines
    place = kaniko.repository(bench.login.host, found.path)
    assert "hush" not in json.dumps(place.config(place.manifest(found.digest)))


def test_a_log_is_told_whole_and_once_however_long(
    bench: Bench, base: str, claim: ClaimStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has more than is read at once, in pieces that have not."""
    monkeypatch.setattr("launch_agent.builders.jobs.follow._LONGEST_LOG", 12_000)
    loop = f"i=$((i+1)); echo line $i {'x' * 100}; [ $((i % 60)) -gt 0 ] || sleep 3"
    step = f"i=0; while [ $i -lt 180 ]; do {loop}; done"
    lines: list[str] = []
    build(bench.builder(claim), context(f"FROM {base}\nRUN {step}\n"), lines)
    told = [int(line.split()[1]) for line in lines if line.startswith("line ") and line.endswith("xxx")]
    assert told == list(range(1, 181))
