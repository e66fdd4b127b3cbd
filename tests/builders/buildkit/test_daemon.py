"""Builds by a real BuildKit daemon, pushed to a real registry."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch_agent.builders import Parts
from launch_agent.builders.buildkit import create, daemon, solve
from launch_agent.builders.buildkit.daemon import DaemonBuilder
from launch_agent.builders.buildkit.settings import SECRETS_FOLDER, TLS_FOLDER, Settings, settings_from
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import BuildError, ConfigError, LaunchError, RegistryDenied
from launch_agent.images.job import Options, plan
from launch_agent.spec.image import ImageRef
from launch_agent.spec.job import Job, SourceKind
from launch_agent.spec.model import Credentials
from launch_agent.spec.secret import Secret
from tests.builders.buildkit.conftest import Bench, Shelf
from tests.fakes.eventually import eventually
from tests.fakes.registry import PASSWORD, USER

pytestmark = pytest.mark.timeout(180)


def config_of(image: ImageRef) -> dict[str, Any]:
    place = Repository(RegistryClient(image.host), image.path)
    return dict(place.config(place.manifest(image.digest)))


def login(host: str, password: str = PASSWORD, expires: float | None = None) -> Credentials:
    return Credentials(host=host, username=USER, password=Secret(password), expires=expires)


@pytest.mark.req("IMG-2", "IMG-3")
def test_an_image_is_built_and_pushed_and_nothing_is_left(
    bench: Bench, base: str, docker_registry: str
) -> None:
    builder = bench.builder(Shelf(docker_registry))
    builder.verify()
    text = f"FROM {base}\nARG WHO\nCOPY code.txt /\nRUN echo hello $WHO\nENTRYPOINT ['sh']\n"
    lines: list[str] = []
    made = bench.context(
        {"below/Dockerfile": text.replace("'", '"'), "code.txt": "42\n"},
        dockerfile="below/Dockerfile",
        build_args={"WHO": 'a,b "c"'},
        labels={"org.opencontainers.image.title": "one, two"},
    )
    image = bench.build(builder, made, lines)
    assert image.repository == builder.repository
    found = config_of(image)
    assert found["config"]["Entrypoint"] == ["sh"]
    assert found["config"]["Labels"]["org.opencontainers.image.title"] == "one, two"
    assert any('hello a,b "c"' in line for line in lines)
    assert not list(Path(tempfile.gettempdir()).iterdir())
    assert builder.has_mounts


@pytest.mark.req("REG-11")
def test_a_registry_that_wants_a_password_is_opened(bench: Bench, base: str, private_registry: str) -> None:
    builder = bench.builder(Shelf(private_registry, login(private_registry)))
    lines: list[str] = []
    image = bench.build(builder, bench.context({"Dockerfile": f"FROM {base}\nRUN echo one\n"}), lines)
    # What is private is a base image too.
    again = bench.context({"Dockerfile": f"FROM {image.repository}@{image.digest}\nRUN echo two\n"})
    assert bench.build(builder, again, lines).digest != image.digest
    assert PASSWORD not in "\n".join(lines)


def test_a_push_without_the_password_is_denied(bench: Bench, base: str, private_registry: str) -> None:
    with pytest.raises(RegistryDenied, match="pushed"):
        bench.build(bench.builder(Shelf(private_registry)), bench.context({"Dockerfile": f"FROM {base}\n"}))


def test_base_images_are_pulled_with_the_agents_own_docker_config(
    bench: Bench, docker_registry: str, private_registry: str, base: str
) -> None:
    """The destination's credentials stand beside what the config says of other registries."""
    private = bench.builder(Shelf(private_registry, login(private_registry)))
    below = bench.build(private, bench.context({"Dockerfile": f"FROM {base}\nRUN echo three\n"}))
    made = bench.context({"Dockerfile": f"FROM {below.repository}@{below.digest}\n"})
    shelf = Shelf(docker_registry, login(docker_registry, "of the other one"))
    with pytest.raises(LaunchError, match=r"401|authorization|denied"):
        bench.build(bench.builder(shelf), made)
    home = Path(bench.environment["HOME"], ".docker")
    home.mkdir(parents=True)
    auth = {"username": USER, "password": PASSWORD}
    (home / "config.json").write_text(json.dumps({"auths": {private_registry: auth}}))
    assert bench.build(bench.builder(shelf), made).digest


def test_credentials_that_end_during_a_build_are_renewed(
    bench: Bench, base: str, private_registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloud's token lasts an hour, and may have minutes left when a build begins."""
    monkeypatch.setattr(daemon, "_RENEW_SECONDS", 0.2)
    shelf = Shelf(private_registry, login(private_registry, "yesterday's", time.time() + 60))
    fresh = login(private_registry, PASSWORD, time.time() + 3600)

    def line(text: str) -> None:
        if "began" in text:
            shelf.opens = fresh

    builder = bench.builder(shelf)
    made = bench.context({"Dockerfile": f"FROM {base}\nRUN echo be''gan; sleep 2\n"})
    ref = ImageRef.parse(f"{builder.repository}:1")
    assert builder.build(made, ref, log=line, stop=threading.Event()).digest


def test_a_failed_step_tells_the_end_of_its_log(bench: Bench, base: str, docker_registry: str) -> None:
    made = bench.context({"Dockerfile": f"FROM {base}\nRUN echo out of cheese; exit 3\n"})
    with pytest.raises(BuildError, match="exit code: 3") as failed:
        bench.build(bench.builder(Shelf(docker_registry)), made)
    assert "out of cheese" in failed.value.log
    assert failed.value.hint
    assert not failed.value.retryable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FRUM x\n", "unknown instruction"),
        ("FROM scratch\nCOPY absent /\n", "absent"),
        ("FROM {host}/absent:1\n", "absent"),
        ("FROM 127.0.0.1:1/absent:1\n", "connection refused"),
        ("FROM {base}\nRUN --network=host id\n", "network.host"),
        ("FROM {base}\nRUN --security=insecure id\n", "security.insecure"),
    ],
)
def test_a_bad_dockerfile_is_one_clear_error(
    bench: Bench, base: str, docker_registry: str, text: str, said: str
) -> None:
    made = bench.context({"Dockerfile": text.format(base=base, host=docker_registry)})
    with pytest.raises(BuildError, match=said) as failed:
        bench.build(bench.builder(Shelf(docker_registry)), made)
    assert "\n" not in failed.value.message
    assert "connection to BuildKit" not in failed.value.message
    assert failed.value.retryable == ("127.0.0.1" in text)


def test_a_dockerfile_that_is_not_there_is_named(bench: Bench, docker_registry: str) -> None:
    with pytest.raises(BuildError, match="Dockerfile"):
        bench.build(bench.builder(Shelf(docker_registry)), bench.context({"other": ""}))


@pytest.mark.req("BLD-7")
def test_secrets_are_for_steps_and_not_for_images(bench: Bench, base: str, docker_registry: str) -> None:
    file = bench.folder / "netrc, of an index"
    file.write_text("machine index.example.com password hush\n")
    step = "RUN --mount=type=secret,id=netrc,target=/root/.netrc cat /root/.netrc > /copy; id\n"
    made = bench.context({"Dockerfile": f"FROM {base} AS one\n{step}FROM {base}\nCOPY --from=one /copy /\n"})
    lines: list[str] = []
    image = bench.build(bench.builder(Shelf(docker_registry), secrets={"netrc": str(file)}), made, lines)
    assert "hush" not in json.dumps(config_of(image)) + "\n".join(lines)
    with pytest.raises(BuildError, match=r"build-secrets\.netrc"):
        bench.build(bench.builder(Shelf(docker_registry), secrets={"netrc": "/absent"}), made)
    # Without the file the step still runs: it is then not there.
    lean = bench.context({"Dockerfile": f"FROM {base}\n{step.replace('cat', 'ls')[:-5]} || true\n"})
    assert bench.build(bench.builder(Shelf(docker_registry)), lean).digest


# In place of Python's image and of what installs: it tells what it was asked, and what it could read.
_STANDS_IN = """\
#!/bin/sh
echo "asked: $0 $*"
for file in /root/.netrc /etc/pip.conf /root/.cache/pip/kept; do
    if [ -e $file ]; then echo "read: $(cat $file)"; fi
done
if [ -d /root/.cache/pip ]; then echo downloads > /root/.cache/pip/kept; fi
mkdir -p /opt/venv
"""


def test_a_dockerfile_of_ours_finds_cache_and_credentials(
    bench: Bench, base: str, docker_registry: str, tmp_path: Path
) -> None:
    text = f"FROM {base}\n" + "".join(
        f"COPY --chmod=755 tool /usr/bin/{n}\n" for n in ("pip", "python", "uv")
    )
    below = bench.context({"Dockerfile": text, "tool": _STANDS_IN})
    hub = bench.builder(Shelf(docker_registry))
    for tag in ("3.11", "3.11-slim"):
        ref = ImageRef.parse(f"{docker_registry}/library/python:{tag}")
        hub.build(below, ref, log=lambda _: None, stop=threading.Event())
    code = tmp_path / "code"
    code.mkdir()
    (code / "requirements.txt").write_text("tree\n")
    (code / "train.py").write_text("print(1)\n")
    (tmp_path / "netrc").write_text("machine index.example.com login me password hush")
    job = Job(name="train", kind=SourceKind.ARTIFACT, runtime="3.11", entry_point=("python", "train.py"))
    made = plan(code, job, Options(has_mounts=hub.has_mounts))
    builder = bench.builder(Shelf(docker_registry), secrets={"netrc": str(tmp_path / "netrc")})
    lines: list[str] = []
    image = bench.build(builder, made, lines)
    said = "\n".join(lines)
    assert "asked: /usr/bin/uv pip install --requirement requirements.txt" in said
    assert "login me" in said
    assert "hush" not in json.dumps(config_of(image))
    assert config_of(image)["config"]["Entrypoint"] == ["python", "train.py"]
    # Changed code installs nothing.
    (code / "train.py").write_text("print(2)\n")
    again: list[str] = []
    bench.build(builder, plan(code, job, Options(has_mounts=True)), again)
    assert "asked" not in "\n".join(again)


def test_steps_whose_files_are_the_same_are_not_repeated(
    bench: Bench, base: str, docker_registry: str
) -> None:
    builder = bench.builder(Shelf(docker_registry))
    text = f"FROM {base}\nCOPY needs.txt /\nRUN cat needs.txt; date\nCOPY . /job\n"
    files = {"Dockerfile": text, "needs.txt": bench.folder.name, "train.py": "1"}
    bench.build(builder, bench.context(files))
    lines: list[str] = []
    bench.build(builder, bench.context({**files, "train.py": "2"}), lines)
    (step,) = (line.partition(" ")[0] for line in lines if "RUN cat needs.txt" in line)
    assert f"{step} CACHED" in lines


@pytest.mark.parametrize("kind", ["registry", "inline"])
def test_a_cache_in_the_registry_serves_a_daemon_that_has_none(
    bench: Bench, base: str, docker_registry: str, kind: str
) -> None:
    shelf = Shelf(docker_registry)
    cache = "inline" if kind == "inline" else f"{docker_registry}/cache-{bench.folder.name.lower()}"
    builder = bench.builder(shelf, cache=cache)
    text = f"FROM {base}\nCOPY needs.txt /\nRUN cat needs.txt; echo re''peated\nCOPY . /job\n"
    files = {"Dockerfile": text, "needs.txt": f"{kind}{bench.folder.name}", "train.py": "1"}
    first: list[str] = []
    bench.build(builder, bench.context(files), first)
    assert any("repeated" in line for line in first)
    prune = [str(bench.daemon.clients / "buildctl"), f"--addr={bench.daemon.address}", "prune", "--all"]
    subprocess.run(prune, check=True, capture_output=True, timeout=60)
    lines: list[str] = []
    bench.build(builder, bench.context({**files, "train.py": "2"}), lines)
    # It is pulled, or left where it is, and not run.
    assert not any("repeated" in line for line in lines)


def test_a_cache_that_cannot_be_kept_fails_no_build(
    bench: Bench, base: str, docker_registry: str, private_registry: str
) -> None:
    builder = bench.builder(Shelf(docker_registry), cache=f"{private_registry}/cache")
    assert bench.build(builder, bench.context({"Dockerfile": f"FROM {base}\nRUN echo six\n"})).digest


def test_jobs_of_other_steps_do_not_share_a_cache(bench: Bench) -> None:
    one = bench.context({"Dockerfile": "FROM a\n"})
    two = bench.context({"Dockerfile": "FROM b\n"})
    assert solve.cache_tag(one, Settings()) != solve.cache_tag(two, Settings())
    assert solve.cache_tag(one, Settings()) != solve.cache_tag(one, Settings(platform="linux/arm64"))


def _steps(word: str) -> list[str]:
    """The commands that run for a step with this word in it, of the client and of the container."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in command:
            found.append(command)
    return found


def test_a_build_is_stopped_and_leaves_nothing(bench: Bench, base: str, docker_registry: str) -> None:
    word = f"word-{bench.folder.name}"
    stop = threading.Event()

    def line(text: str) -> None:
        if "began" in text:
            stop.set()

    builder = bench.builder(Shelf(docker_registry))
    made = bench.context({"Dockerfile": f"FROM {base}\nRUN echo be''gan; sleep 300; echo {word}\n"})
    since = time.monotonic()
    with pytest.raises(BuildError, match="stopped") as stopped:
        builder.build(made, ImageRef.parse(f"{builder.repository}:1"), log=line, stop=stop)
    assert time.monotonic() - since < 30
    assert "began" in stopped.value.log
    eventually(lambda: not _steps(word), within=30, every=0.1, what="the step has ended")
    assert not list(Path(tempfile.gettempdir()).iterdir())


def test_a_build_that_takes_too_long_ends(bench: Bench, base: str, docker_registry: str) -> None:
    made = bench.context({"Dockerfile": f"FROM {base}\nRUN sleep 300\n"})
    with pytest.raises(BuildError, match="longer than 2 s"):
        bench.build(bench.builder(Shelf(docker_registry), timeout=2.0), made)


def test_no_credential_is_among_the_arguments(bench: Bench) -> None:
    """Nor does the client see the key of the backend."""
    builder = DaemonBuilder("me", Shelf("h.example"), Settings(), {"WANDB_API_KEY": "hush", "PATH": "/"})
    assert "WANDB_API_KEY" not in builder._environment
    told = solve.arguments(
        bench.context({"Dockerfile": ""}),
        ImageRef.parse("h.example/a:1"),
        Settings(is_plain=True, cache="h.example/c", platform="linux/arm64"),
        folder="/f",
        metadata="/m",
        secrets={"netrc": "/s,x"},
    )
    assert '--secret=id=netrc,"src=/s,x"' in told
    assert "--opt=platform=linux/arm64" in told
    # Image and cache lie in one registry.
    assert sum("registry.insecure=true" in each for each in told) == 3


def test_a_program_that_is_missing_is_named() -> None:
    builder = DaemonBuilder("me", Shelf("h.example"), Settings(address="unix:///x"), {"PATH": "/nonexistent"})
    with pytest.raises(BuildError, match="buildctl, which is not installed"):
        builder.verify()


def test_a_platform_that_the_daemon_cannot_build_for_is_named(bench: Bench) -> None:
    with pytest.raises(BuildError, match=r"cannot build for linux/s390x, only for .*linux/amd64"):
        bench.builder(Shelf("h.example"), platform="linux/s390x").verify()


def test_a_daemon_that_is_too_old_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_OLDEST", (99, 0))
    with pytest.raises(BuildError, match="too old") as refused:
        bench.builder(Shelf("h.example")).verify()
    assert "v99.0" in refused.value.hint


def test_without_a_registry_there_is_no_builder() -> None:
    with pytest.raises(ConfigError, match="registry"):
        create({"buildkit-address": "unix:///x"}, Parts(agent="me"))


def test_the_configs_words_are_taken(tmp_path: Path) -> None:
    for name in ("ca.crt", "tls.crt", "tls.key"):
        (tmp_path / name).write_text("")
    (tmp_path / "..data").mkdir()
    environment = {TLS_FOLDER: str(tmp_path), SECRETS_FOLDER: str(tmp_path)}
    tcp = {"buildkit-address": "tcp://h:1", "buildkit-tls": {"server-name": "n"}}
    found = settings_from(tcp, environment, repository="r")
    assert (found.tls.ca, found.tls.key) == (f"{tmp_path}/ca.crt", f"{tmp_path}/tls.key")
    assert found.tls.server_name == "n"
    assert set(found.secrets) == {"ca.crt", "tls.crt", "tls.key"}
    assert found.cache == "none"
    assert settings_from({}, {}, repository="r").cache == "r"
    given: Callable[[str], Settings] = lambda ca: settings_from(  # noqa: E731
        {**tcp, "buildkit-tls": {"ca": ca}}, environment, repository="r"
    )
    assert (given("/own").tls.ca, given("/own").tls.key) == ("/own", "")
