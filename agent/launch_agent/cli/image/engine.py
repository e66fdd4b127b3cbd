"""`launch-agent image build` with a Docker engine: a plan's folder goes in, an image comes out.

All packages are fetched here, by this machine's pip with its own configuration, and lie in the folder: the
engine asks no index, so nothing that opens one comes near a layer, and the build works where the engine has
no network. Proxies are handed on as the build arguments that Docker keeps out of images.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch_agent.errors import BuildError, ConfigError, ImageError, RunnerError

if TYPE_CHECKING:
    from launch_agent.assembly.fetching import Report
    from launch_agent.clients.docker_engine import Engine
    from launch_agent.images.agent.plan import Plan
    from launch_agent.spec.image import ImageRef

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "FTP_PROXY", "ALL_PROXY")
_TAIL = 12


def build(plan: Plan, reference: str, *, push: bool, quiet: bool, environment: Mapping[str, str]) -> str:
    """Build and, with `push`, push; what names the image: its id, or in a registry its digest. Raises
    LaunchError."""
    from launch_agent.cli.image import bars, places
    from launch_agent.clients.docker_engine import connect
    from launch_agent.images.agent import render, wheel
    from launch_agent.spec.image import ImageRef

    if len(plan.platforms) > 1:
        raise ConfigError(
            f"an engine builds for one platform, and {len(plan.platforms)} are asked for",
            hint="name one --platform, or build with --daemonless",
        )
    if places.on_disk(plan.base) is not None:
        raise ConfigError(
            f"the base {plan.base} is on disk, where an engine does not look", hint="build with --daemonless"
        )
    ref = ImageRef.parse(reference)
    engine = connect()
    try:
        with tempfile.TemporaryDirectory(prefix="launch-agent-image-") as scratch:
            folder = Path(scratch)
            with bars.progress(quiet=quiet) as report:
                wheels = _fetched(plan, places.cache_folder() / "wheels", environment, report)
                render.render(plan, wheel.write(folder), folder / "context", wheels=wheels)
                image = _built(engine, plan, ref, folder / "context", environment, report)
                return _pushed(engine, ref, environment, report) if push else image
    finally:
        engine.close()


def _fetched(plan: Plan, cache: Path, environment: Mapping[str, str], report: Report) -> list[Path]:
    """All wheels of the plan, and pip's own, for bases that have none."""
    from launch_agent.assembly import fetching
    from launch_agent.assembly.wheels import Target
    from launch_agent.clients.oci.model import Platform
    from launch_agent.images.agent import locks

    (platform,) = plan.platforms
    index = plan.index
    source = fetching.Source(
        environment=environment,
        url=index.url,
        user=index.user,
        password=index.password,
        ca=index.ca,
        with_build=plan.with_build,
    )
    packages = {
        each.name: each for each in locks.subset(("image",), plan.python, platform) if each.name == "pip"
    }
    packages |= {each.name: each for each in plan.packages_for(platform)}
    target = Target(python=plan.python, platform=Platform.parse(platform))
    lines = [each.line() for each in packages.values()]
    return [each.path for each in fetching.fetch(lines, target, cache, source, report=report)]


def _built(
    engine: Engine, plan: Plan, ref: ImageRef, folder: Path, environment: Mapping[str, str], report: Report
) -> str:
    from launch_agent.builders.docker import events
    from launch_agent.clients.docker_engine import APIError, explain, speaking

    arguments = {"PIP_NO_INDEX": "1"}
    for name in _PROXIES:
        for spelling in (name, name.lower()):
            if value := environment.get(spelling):
                arguments[spelling] = value
    params = {
        "t": str(ref),
        "dockerfile": "Dockerfile",
        "rm": "1",
        "forcerm": "1",
        "platform": plan.platforms[0],
        "buildargs": json.dumps(arguments),
    }
    said: list[str] = []
    steps = max(1, sum(line[:1].isupper() for line in (folder / "Dockerfile").read_text().splitlines()))

    def line(text: str) -> None:
        said.append(text)
        if text.startswith("Step "):
            report("building", min(sum(each.startswith("Step ") for each in said), steps), steps)

    auth = _auth(plan.base, environment)
    with tempfile.TemporaryFile() as archive:
        _pack(folder, archive)
        archive.seek(0)
        try:
            with speaking(f"build {ref}"):
                stream = engine.build_events(_chunks(archive), params, auth)
                try:
                    image = events.built(stream, line)
                finally:
                    stream.close()
        except APIError as error:
            raise ImageError(f"the engine refuses the build: {explain(error)}") from error
        except (BuildError, RunnerError) as error:
            raise ImageError(_why(error.message, said), hint=_hint(error.hint, plan)) from error
    report("building", steps, steps)
    return image


def _why(message: str, said: list[str]) -> str:
    tail = [each for each in said if each.strip()][-_TAIL:]
    return "\n".join([message, *(f"  {each}" for each in tail)])


def _hint(hint: str, plan: Plan) -> str:
    if "readable" in hint:
        return f"is the base image {plan.base} there, for {plan.platforms[0]}? Another is named by --base"
    return f"the base image {plan.base} must have Python {plan.python}" + (
        " and apt-get, for " + ", ".join(plan.system_packages) if plan.system_packages else ""
    )


def _pushed(engine: Engine, ref: ImageRef, environment: Mapping[str, str], report: Report) -> str:
    from launch_agent.builders.docker import events
    from launch_agent.clients.docker_engine import speaking

    report(f"pushing {ref}", 0, 1)
    auth = next(iter(_auth(str(ref), environment).values()), None)
    with speaking(f"push {ref}"):
        stream: Any = engine.push(
            ref.repository, tag=ref.tag or "latest", stream=True, decode=True, auth_config=auth
        )
        digest = events.pushed(stream, lambda text: None, str(ref))
    report(f"pushing {ref}", 1, 1)
    return f"{ref.repository}@{digest}"


def _auth(image: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What Docker's configuration knows of the image's registry, as the engine takes it."""
    from launch_agent.clients.oci.dockerconfig import DockerConfig
    from launch_agent.spec.image import ImageRef

    ref = ImageRef.parse(image).canonical()
    found = DockerConfig(environment).credentials(ref.host, ref.path)
    if found is None:
        return {}
    host = "https://index.docker.io/v1/" if ref.host == "docker.io" else ref.host
    return {host: {"username": found.username, "password": found.password.reveal()}}


def _pack(folder: Path, archive: Any) -> None:
    """Files without owners and times: equal folders, equal layers in the engine's cache."""
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file in sorted(folder.rglob("*")):
            entry = tar.gettarinfo(file, file.relative_to(folder).as_posix())
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            if file.is_file():
                with file.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)


def _chunks(archive: Any) -> Iterator[bytes]:
    yield from iter(lambda: archive.read(1 << 20), b"")
