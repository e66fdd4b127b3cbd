"""Equal builds are one; a build ends with the last launch that wants it; its end reaches all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launch_agent.control import builds
from launch_agent.control.builds import Builds
from launch_agent.control.patience import Stopped
from launch_agent.errors import BuildError
from launch_agent.spec.build import BuildContext
from launch_agent.spec.image import ImageRef
from tests.fakes.eventually import eventually

DIGEST = f"sha256:{'0' * 64}"


class GatedBuilder:
    """Builds that last until the test lets them end, or until they are stopped."""

    def __init__(self, error: Exception | None = None) -> None:
        self.gate = threading.Event()
        self.begun = 0
        self.stopped = 0
        self._error = error

    repository = "registry.example/jobs"
    has_mounts = False

    def find(self, ref: ImageRef) -> ImageRef | None:
        return None

    def verify(self) -> None: ...

    def build(
        self, context: BuildContext, ref: ImageRef, *, log: Callable[[str], None], stop: threading.Event
    ) -> ImageRef:
        self.begun += 1
        log(f"building {context.digest}")
        while not self.gate.wait(0.01):
            if stop.is_set():
                self.stopped += 1
                raise BuildError("the build was stopped")
        if self._error:
            raise self._error
        return ImageRef(host=ref.host, path=ref.path, digest=DIGEST)

    def sweep(self) -> None: ...

    def close(self) -> None: ...


class Launch:
    """One launch that wants an image."""

    def __init__(self, under: Builds, tag: str) -> None:
        self.lines: list[str] = []
        self.stopped = threading.Event()
        self.released = threading.Semaphore(0)
        self._builds = under
        self._ref = ImageRef(host="registry.example", path="jobs", tag=tag)

    def release(self) -> None:
        self.released.release()

    def image(self) -> ImageRef:
        context = BuildContext(directory=Path(), dockerfile="Dockerfile", digest=self._ref.tag, why="")
        return self._builds.image(
            context,
            self._ref,
            log=self.lines.append,
            is_stopped=self.stopped.is_set,
            release=self.release,
        )


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_LOOK_SECONDS", 0.01)


def waiting(launches: Builds) -> int:
    return sum(build.waiting for build in launches._under_way.values())


@pytest.mark.req("IMG-5")
def test_equal_builds_in_flight_are_one() -> None:
    builder = GatedBuilder()
    under = Builds(builder)
    launches = [Launch(under, "a") for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        images = [pool.submit(launch.image) for launch in launches]
        eventually(lambda: waiting(under) == 20)
        builder.gate.set()
        assert {future.result(10).digest for future in images} == {DIGEST}
    assert builder.begun == 1
    assert sorted(len(launch.lines) for launch in launches) == [0] * 19 + [1]
    assert all(launch.released.acquire(timeout=5) for launch in launches)
    assert not under._under_way


def test_different_content_is_built_beside_it() -> None:
    builder = GatedBuilder()
    under = Builds(builder)
    with ThreadPoolExecutor(2) as pool:
        images = [pool.submit(Launch(under, tag).image) for tag in "ab"]
        eventually(lambda: builder.begun == 2)
        builder.gate.set()
        assert [future.result(10).digest for future in images] == [DIGEST, DIGEST]


def test_a_build_goes_on_for_those_who_still_want_it() -> None:
    """The one that began it included: its files stay until the build needs them no more."""
    builder = GatedBuilder()
    under = Builds(builder)
    first, second = Launch(under, "a"), Launch(under, "a")
    with ThreadPoolExecutor(2) as pool:
        begun = pool.submit(first.image)
        eventually(lambda: builder.begun)
        joined = pool.submit(second.image)
        eventually(lambda: waiting(under) == 2)
        first.stopped.set()
        with pytest.raises(Stopped):
            begun.result(10)
        assert not first.released.acquire(blocking=False)
        builder.gate.set()
        assert joined.result(10).digest == DIGEST
    assert builder.stopped == 0
    assert first.released.acquire(timeout=5)


def test_the_last_to_turn_away_stops_the_build() -> None:
    builder = GatedBuilder()
    under = Builds(builder)
    launch = Launch(under, "a")
    launch.stopped.set()
    with pytest.raises(Stopped):
        launch.image()
    eventually(lambda: builder.stopped)
    assert launch.released.acquire(timeout=5)
    builder.gate.set()
    assert Launch(under, "a").image().digest == DIGEST
    assert builder.begun == 2


def test_a_failure_reaches_every_launch_with_the_log() -> None:
    builder = GatedBuilder(BuildError("the build failed", log="no such package", hint="name one that exists"))
    under = Builds(builder)
    with ThreadPoolExecutor(3) as pool:
        images = [pool.submit(Launch(under, "a").image) for _ in range(3)]
        eventually(lambda: waiting(under) == 3)
        builder.gate.set()
        errors = [future.exception(10) for future in images]
    assert builder.begun == 1
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, BuildError)
        assert (error.log, error.hint) == ("no such package", "name one that exists")


def test_a_bug_in_a_builder_keeps_no_launch_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    builder = GatedBuilder(ZeroDivisionError("oops"))
    builder.gate.set()
    launch = Launch(Builds(builder), "a")
    with pytest.raises(RuntimeError, match="bug"):
        launch.image()
    assert launch.released.acquire(timeout=5)
    eventually(lambda: [each.exc_type for each in told] == [ZeroDivisionError])
