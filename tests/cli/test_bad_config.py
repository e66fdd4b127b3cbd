"""A config that cannot be used ends `start` and `lint` with 2 or 1 and one clear error, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch_agent.cli.main import main

CASES = Path(__file__).parents[1] / "golden" / "configs"
BAD = sorted(path.parent.name for path in CASES.glob("bad-*/error.txt"))


@pytest.fixture(autouse=True)
def _nobodys_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    for name in ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_LAUNCH_MAX_JOBS", "WANDB_LAUNCH_START_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr("sys.argv", ["launch-agent", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize("case", BAD)
def test_start(case: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    file = CASES / case / "launch-config.yaml"
    assert run(monkeypatch, "start", "-c", str(file)) == 2
    shown = capfd.readouterr()
    expected = (CASES / case / "error.txt").read_text(encoding="utf-8")
    assert shown.err.replace(f"{file.parent}/", "") == f"error: {expected}"
    assert shown.out == ""


@pytest.mark.parametrize("command", [["start", "-c"], ["lint"]])
def test_a_file_that_is_not_there(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command, str(tmp_path / "missing.yaml")) == 2
    assert capfd.readouterr().err == (
        f"error: {tmp_path}/missing.yaml: there is no such file\n  hint: check the path\n"
    )


@pytest.mark.parametrize("command", [["start", "-c"], ["lint"]])
def test_a_file_that_cannot_be_read(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert run(monkeypatch, *command, str(loop)) == 2
    assert capfd.readouterr().err == (
        f"error: {loop}: the file cannot be read: too many levels of symbolic links\n"
    )


@pytest.mark.parametrize(("command", "code"), [(["start", "-c"], 2), (["lint"], 1)])
def test_a_file_of_10_mb(
    command: list[str],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "large.yaml"
    with file.open("wb") as stream:
        stream.truncate(10_000_000)
    assert run(monkeypatch, *command, str(file)) == code
    shown = capfd.readouterr()
    assert "the file is larger than 1024 KiB" in shown.err + shown.out


def test_no_config_and_no_queue(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "start") == 2
    assert capfd.readouterr().err.startswith(
        "error: queues: no queue is named\n  hint: name one with -q <queue>"
    )
