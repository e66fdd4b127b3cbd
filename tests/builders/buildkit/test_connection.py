"""The way to the daemon: wrong certificates, what is no daemon, and ends in mid-build."""

from __future__ import annotations

import dataclasses
import datetime
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from launch_agent.builders.buildkit import folder
from launch_agent.builders.buildkit.settings import Tls
from launch_agent.errors import BuildError
from launch_agent.spec.identity import agent_key
from launch_agent.spec.image import ImageRef
from tests.builders.buildkit.conftest import Bench, Shelf
from tests.builders.buildkit.test_daemon import _steps
from tests.fakes.buildkit import Daemon, NoBuildkit, daemon
from tests.fakes.certificates import Authority, Certificate
from tests.fakes.eventually import eventually

pytestmark = pytest.mark.timeout(180)
_HOUR = datetime.timedelta(hours=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A daemon that wants certificates, and clients' certificates by what is the matter with them."""

    daemon: Daemon
    clients: Mapping[str, Tls]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("tls")
    ours, other = Authority(place / "ours"), Authority(place / "other")
    good = _tls(ours.sign(place / "good"))
    clients = {
        "good": good,
        "none": dataclasses.replace(good, cert="", key=""),
        "expired": _tls(ours.sign(place / "expired", until=-_HOUR)),
        "of another authority": dataclasses.replace(_tls(other.sign(place / "another")), ca=good.ca),
        "that trusts another authority": dataclasses.replace(good, ca=str(other.file)),
        "for another name": dataclasses.replace(good, server_name="buildkitd.example.com"),
        "whose file is missing": dataclasses.replace(good, key=str(place / "absent")),
        "without TLS": Tls(),
    }
    try:
        with daemon(tls=ours.sign(place / "server")) as found:
            yield Site(daemon=found, clients=clients)
    except NoBuildkit as reason:
        pytest.skip(str(reason))


def _tls(made: Certificate) -> Tls:
    return Tls(ca=str(made.authority), cert=str(made.file), key=str(made.key_file))


def test_agent_and_daemon_know_each_other(site: Site, bench: Bench, docker_registry: str) -> None:
    bench.daemon = site.daemon
    builder = bench.builder(Shelf(docker_registry), tls=site.clients["good"])
    builder.verify()
    made = bench.context({"Dockerfile": "FROM scratch\nCOPY a /\n", "a": ""})
    assert bench.build(builder, made).digest


@pytest.mark.parametrize(
    ("client", "said", "passes"),
    [
        ("none", "wants one and gets none", False),
        ("expired", "expired", False),
        ("of another authority", "does not accept the agent's certificate", False),
        ("that trusts another authority", "does not trust", False),
        ("for another name", "another name", False),
        ("whose file is missing", "cannot be read", False),
        ("without TLS", "without TLS", True),
    ],
)
def test_a_certificate_that_is_wrong_is_one_clear_error(
    site: Site, bench: Bench, client: str, said: str, passes: bool
) -> None:
    builder = bench.builder(Shelf("h.example"), address=site.daemon.address, tls=site.clients[client])
    with pytest.raises(BuildError, match=said) as refused:
        builder.verify()
    assert site.daemon.address in refused.value.message or "buildkit-tls.key" in refused.value.message
    assert "\n" not in refused.value.message
    assert refused.value.hint
    assert refused.value.retryable == passes
    # A build says the same, should the daemon have changed since the start.
    with pytest.raises(BuildError, match=said):
        bench.build(builder, bench.context({"Dockerfile": "FROM scratch\n"}))


def test_the_daemons_expired_certificate_is_named(bench: Bench, tmp_path: Path) -> None:
    ours = Authority(tmp_path / "ours")
    try:
        with daemon(tls=ours.sign(tmp_path / "server", until=-_HOUR)) as found:
            client = _tls(ours.sign(tmp_path / "client"))
            builder = bench.builder(Shelf("h.example"), address=found.address, tls=client)
            with pytest.raises(BuildError, match="expired"):
                builder.verify()
    except NoBuildkit as reason:
        pytest.skip(str(reason))


def test_what_is_no_daemon_is_named(bench: Bench, site: Site, docker_registry: str, tmp_path: Path) -> None:
    def refusal(address: str, tls: Tls | None = None) -> BuildError:
        with pytest.raises(BuildError) as refused:
            bench.builder(Shelf("h.example"), address=address, tls=tls or Tls()).verify()
        return refused.value

    # A registry speaks HTTP and no gRPC.
    assert "BuildKit daemon" in refusal(f"tcp://{docker_registry}").message
    assert "speaks no TLS" in refusal(f"tcp://{docker_registry}", site.clients["good"]).message
    assert "nothing listens" in refusal("tcp://127.0.0.1:1").message
    assert "no address" in refusal("tcp://no-such-host.invalid:1234").message
    assert "nothing listens" in refusal(f"unix://{tmp_path}/absent").message
    assert refusal("tcp://127.0.0.1:1").retryable


def test_a_connection_that_anybody_can_read_is_warned_of(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for host in ("127.0.0.1", "builds.invalid"):
        with pytest.raises(BuildError):
            bench.builder(Shelf("h.example"), address=f"tcp://{host}:1").verify()
    (said,) = caplog.messages
    assert "builds.invalid" in said
    assert "unencrypted" in said


def test_what_never_answers_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch_agent.builders.buildkit.daemon._CONNECT_SECONDS", 1)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(BuildError, match="does not answer") as refused:
            bench.builder(Shelf("h.example"), address=address).verify()
    assert refused.value.retryable


def test_a_daemon_that_dies_in_mid_build_is_waited_for(bench: Bench, base: str, docker_registry: str) -> None:
    """The error may be tried again, and the next try finds the daemon that took its place."""
    try:
        with daemon() as own:
            bench.daemon = own

            def line(text: str) -> None:
                if "began" in text:
                    threading.Thread(target=own.kill).start()

            builder = bench.builder(Shelf(docker_registry))
            made = bench.context({"Dockerfile": f"FROM {base}\nRUN echo be''gan; sleep 300\n"})
            ref = ImageRef.parse(f"{builder.repository}:1")
            with pytest.raises(BuildError, match="lost during the build") as lost:
                builder.build(made, ref, log=line, stop=threading.Event())
            assert lost.value.retryable
            assert "began" in lost.value.log
            with pytest.raises(BuildError, match="nothing listens") as away:
                builder.verify()
            assert away.value.retryable
            eventually(lambda: own.is_dead, within=20)
            own.start()
            again = bench.context({"Dockerfile": f"FROM {base}\nRUN echo again\n"})
            assert bench.build(builder, again).digest
    except NoBuildkit as reason:
        pytest.skip(str(reason))


_AGENT = """
import os, sys, threading
from pathlib import Path
from launch_agent.builders.buildkit.daemon import DaemonBuilder
from launch_agent.builders.buildkit.settings import Settings
from launch_agent.registries.generic import GenericRegistry
from launch_agent.clients.oci.dockerconfig import DockerConfig
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
address, repository, code = sys.argv[1:]
builder = DaemonBuilder(
    "me", GenericRegistry(repository, DockerConfig(os.environ)), Settings(address=address), os.environ
)
context = BuildContext(directory=Path(code), dockerfile="Dockerfile", digest="0" * 40, why="")
# On a thread, as an agent builds.
build = threading.Thread(
    target=lambda: builder.build(
        context, ImageRef.parse(repository + ":1"), log=lambda line: print(line, flush=True),
        stop=threading.Event(),
    )
)
build.start()
build.join()
"""


def test_an_agent_that_is_killed_leaves_no_build(bench: Bench, base: str, docker_registry: str) -> None:
    word = f"word-{bench.folder.name}"
    shelf = Shelf(docker_registry)
    made = bench.context({"Dockerfile": f"FROM {base}\nRUN echo be''gan; sleep 300; echo {word}\n"})
    agent = subprocess.Popen(
        [sys.executable, "-c", _AGENT, bench.daemon.address, shelf.repository, str(made.directory)],
        env={**bench.environment, "TMPDIR": tempfile.gettempdir(), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with agent:
        assert agent.stdout is not None
        assert any("began" in line for line in agent.stdout)
        assert folder.sweep("me") == 0  # it is under way
        agent.send_signal(signal.SIGKILL)
        agent.wait(10)
    eventually(lambda: not _steps(word), within=30, every=0.1, what="client and step have ended")
    (left,) = Path(tempfile.gettempdir()).iterdir()
    assert agent_key("me") in left.name
    bench.builder(shelf, agent="another").sweep()
    assert left.exists()
    bench.builder(shelf).sweep()
    assert not left.exists()
    # The daemon serves on.
    assert bench.build(bench.builder(shelf), bench.context({"Dockerfile": f"FROM {base}\n"})).digest


def test_folders_of_others_are_left_alone(bench: Bench, tmp_path: Path) -> None:
    """Whoever else may write to the folder for temporary files can put a link there."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("")
    link = Path(tempfile.gettempdir(), f"launch-agent-buildkit-{agent_key('me')}-x")
    link.symlink_to(precious)
    bench.builder(Shelf("h.example")).sweep()
    assert (precious / "file").exists()
