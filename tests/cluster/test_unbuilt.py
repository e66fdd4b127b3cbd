"""Jobs that are code, run without a build by pods of a real node, under the standard `restricted`."""

from __future__ import annotations

import json
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from launch_agent.clients.http import HttpClient, HttpSettings
from launch_agent.control.unbuilt import Unbuilt
from launch_agent.runners import Run
from launch_agent.server.serve import Server
from launch_agent.sources import artifact
from launch_agent.sources.git.access import Access
from launch_agent.spec.model import RunSpec, RunState, RunStatus
from launch_agent.spec.secret import Secret
from tests.fakes import git_servers, real_node
from tests.fakes.agent_image import agent_image
from tests.fakes.backend import Backend
from tests.fakes.control_plane import Cluster
from tests.fakes.git_servers import PASSWORD, USER, HttpsServer, Repository
from tests.fakes.own_artifacts import put_artifact, put_job
from tests.fakes.real_node import Node
from tests.fixtures.cluster import RESTRICTED
from tests.runners.kubernetes.bench import KubernetesBench, end_of

pytestmark = [pytest.mark.xdist_group("real-node"), pytest.mark.timeout(300)]
_SECONDS = 120.0
KEY = "local-" + "b2" * 20
QUEUE = {
    "spec": {
        "backoffLimit": 0,
        "template": {
            "spec": {
                "securityContext": {"runAsNonRoot": True, "runAsUser": 4711},
                "containers": [{"name": "main"}],
            }
        },
    }
}
SCRIPT = """
import os, sys
print(open("word").read().strip(), os.getcwd(), os.getuid(), sys.argv[1:])
open("written", "w").close()
print(os.path.exists("/etc/launch-agent/order"), sorted(name for name in os.environ if "ORDER" in name))
"""


class PodServer:
    """The queue server, where pods reach it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.backend = Backend(url=server.url, api_key=KEY, entity="team")


@pytest.fixture(scope="module")
def server(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodServer]:
    folder = tmp_path_factory.mktemp("server")
    with Server(data_dir=folder, host=node.outside, entity="team", api_key=KEY) as made:
        yield PodServer(made)


@pytest.fixture(scope="module")
def image(node: Node) -> str:
    return agent_image(node, "test.invalid/agent:1")


@pytest.fixture
def bench(cluster: Cluster, node: Node) -> Iterator[KubernetesBench]:
    with real_node.namespace(cluster.kube, RESTRICTED) as namespace:
        made = KubernetesBench(cluster, namespace)
        yield made
        made.close()


class Site:
    """An agent's preparation of a job, and its runner."""

    def __init__(self, server: PodServer, bench: KubernetesBench, image: str, home: Path) -> None:
        self.server, self.bench, self.image, self.home = server, bench, image, home
        self.runner = bench.runner(**{"fetch-image": image})

    def start(self, job: str, *, requirements: bool = False, authorities: str = "") -> Run:
        http = HttpClient(HttpSettings())
        try:
            backend = artifact.Backend(self.server.server.url, Secret(KEY), http)
            unbuilt = Unbuilt(
                base_image=self.image,
                requirements=requirements,
                backend=backend,
                api_key=Secret(KEY),
                access=Access(environment={"PATH": "/usr/bin:/bin", "HOME": str(self.home)}),
            )
            resolved = artifact.resolve(job, backend)
            spec = RunSpec(entity="team", project="jobs", resource="kubernetes", job=job)
            chosen = unbuilt.image(resolved, spec, can_build=False)
            assert chosen
            ready = unbuilt.prepare(resolved, spec, chosen, self.home)
        finally:
            http.close()
        return self.runner.submit(
            self.bench.request(
                QUEUE,
                image=chosen,
                entry_point=resolved.entry_point,
                args=["a b"],
                code=ready.code,
                authorities=authorities,
            )
        )

    def ended(self, run: Run) -> RunStatus:
        return end_of(run, within=_SECONDS)


@pytest.fixture
def site(server: PodServer, bench: KubernetesBench, image: str, tmp_path: Path) -> Site:
    return Site(server, bench, image, tmp_path)


def code_job(server: Any, files: Mapping[str, bytes]) -> str:
    name = f"code-{uuid.uuid4().hex[:8]}"
    made = put_artifact(server, f"jobs/source-{name}", files)
    source = {"artifact": f"wandb-artifact://_id/{made}", "entrypoint": ["python3", "train.py"]}
    put_job(server, f"jobs/{name}", {"source_type": "artifact", "source": source})
    return f"team/jobs/{name}:v0"


@pytest.mark.req("BLD-13", "JOB-1")
def test_an_artifact_runs_as_the_pods_own_user(site: Site) -> None:
    job = code_job(site.server, {"train.py": SCRIPT.encode(), "word": b"hello\n"})
    run = site.start(job)
    status = site.ended(run)
    assert status.state is RunState.FINISHED, status
    assert run.logs(10).splitlines() == ["hello /home/launch/job 4711 ['a b']", "False []"]
    # Its Secret is the object's, and goes with it.
    (secret,) = site.bench.secrets()
    (owner,) = secret["metadata"]["ownerReferences"]
    assert owner["kind"] == "Job"
    assert any(key.endswith("order.json") for key in secret["data"])


@pytest.fixture
def https(node: Node, tmp_path: Path) -> Iterator[HttpsServer]:
    (tmp_path / "git" / "private").mkdir(parents=True)
    try:
        with git_servers.https_server(tmp_path / "etc", tmp_path / "git", node.outside) as server:
            yield server
    except git_servers.NoServer as error:
        pytest.skip(str(error))


@pytest.mark.req("GIT-1", "GIT-2", "JOB-1")
def test_a_private_repository_is_fetched_with_what_the_agent_has(
    site: Site, bench: KubernetesBench, https: HttpsServer
) -> None:
    repository = Repository(https.root / "private" / "code.git")
    commit = repository.commit({"train.py": SCRIPT, "word": "of git\n"})
    login = f"{USER}:{PASSWORD.replace('/', '%2F').replace('@', '%40')}@"
    (site.home / "credentials").write_text(https.url("", login=login) + "\n")
    (site.home / ".gitconfig").write_text(f"[credential]\n  helper = store --file={site.home}/credentials\n")
    trust = {"ca.crt": https.authority.read_text()}
    meta = {"name": "trust"}
    bench.cluster.kube.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": trust}, bench.namespace
    )
    name = f"git-{uuid.uuid4().hex[:8]}"
    git = {"remote": https.url("private/code.git"), "commit": commit}
    source = {"git": git, "entrypoint": ["python3", "train.py"]}
    put_job(site.server, f"jobs/{name}", {"source_type": "repo", "source": source})  # type: ignore[arg-type]  # has a backend
    run = site.start(f"team/jobs/{name}:v0", authorities="trust/ca.crt")
    status = site.ended(run)
    assert status.state is RunState.FINISHED, status
    assert run.logs(10).splitlines()[0].startswith("of git /home/launch/job 4711")
    (job,) = bench.jobs()
    assert "ses" + "%40me" not in json.dumps(job)


def test_why_code_cannot_be_fetched_is_why_the_run_fails(site: Site) -> None:
    name = f"git-{uuid.uuid4().hex[:8]}"
    git = {"remote": f"https://{site.server.server.host}:9/no/where.git", "commit": ""}
    source = {"git": git, "entrypoint": ["python3", "train.py"]}
    put_job(site.server, f"jobs/{name}", {"source_type": "repo", "source": source})  # type: ignore[arg-type]  # has a backend
    status = site.ended(site.start(f"team/jobs/{name}:v0"))
    assert (status.state, status.reason) == (RunState.FAILED, "InitContainerFailed")
    assert "the server does not answer" in f"{status.message} {status.hint}"


def wheel() -> bytes:
    packed = BytesIO()
    info = "greeting-1.0.dist-info"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("greeting.py", "WORD = 'hello from a package'\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return packed.getvalue()


def test_packages_are_installed_where_that_is_wanted(site: Site) -> None:
    name = "greeting-1.0-py3-none-any.whl"
    files = {
        "train.py": b"import greeting\nprint(greeting.WORD)\n",
        "requirements.txt": f"./{name}\n".encode(),
        name: wheel(),
    }
    run = site.start(code_job(site.server, files), requirements=True)
    status = site.ended(run)
    assert status.state is RunState.FINISHED, status
    assert run.logs(10).splitlines() == ["hello from a package"]
