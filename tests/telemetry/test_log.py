"""Logs: text and JSON lines, UTC, without secrets, and nothing that a job says can forge a line."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launch_agent.errors import ConfigError
from launch_agent.spec.secret import Secret
from launch_agent.telemetry import log

KEY = "fedcba9876543210fedcba9876543210fedcba98"
Setup = Callable[..., io.StringIO]


@pytest.fixture
def setup() -> Iterator[Setup]:
    """Installs the handler on a stream; puts the root logger back as it was."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)

    def install(**options: Any) -> io.StringIO:
        stream = io.StringIO()
        log.setup(stream=stream, **options)
        return stream

    log.hide(Secret(KEY))
    yield install
    log.forget(Secret(KEY))
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)
    for name in ("urllib3", "docker", "kubernetes", "botocore", "boto3", "google", "azure"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def record(message: str, *args: Any, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("launch_agent.x", logging.INFO, __file__, 1, message, args, None)
    made.created = 1_893_553_445.678  # 2030-01-02T03:04:05.678Z
    vars(made).update(fields)
    return made


def test_a_text_line() -> None:
    line = log.TextLines().format(record("run %s starts", "r1", queue="q", note="two words", n=3))
    assert line == (
        '2030-01-02T03:04:05.678Z INFO launch_agent.x: run r1 starts queue=q note="two words" n=3'
    )


def test_a_json_line() -> None:
    line = log.JsonLines().format(
        record("run %s starts", "r1", queue="q", tags=["a", None], time="forged", level="forged")
    )
    assert json.loads(line) == {
        "time": "2030-01-02T03:04:05.678Z",
        "level": "info",
        "logger": "launch_agent.x",
        "message": "run r1 starts",
        "queue": "q",
        "tags": ["a", None],
    }


def test_arguments_that_do_not_fit_are_no_way_out_either() -> None:
    """`logging` itself would print them to standard error."""
    line = log.TextLines().format(record("password=hunter22 %d", KEY))
    assert line.endswith("password=*** %d (its arguments do not fit)")


def fail() -> None:
    try:
        int(f"bad key {KEY}")
    except ValueError as error:
        raise RuntimeError("https://user:hunter22@host/") from error


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_secret_leaves_by_any_way(setup: Setup, style: str) -> None:
    stream = setup(format=style, level="debug")
    logger = logging.getLogger("launch_agent.test")
    logger.info("key %s in a message", KEY)
    logger.info("key in an argument: %s", {"env": [KEY]})
    logger.info(
        "in a field", extra={"spec": {"a": [f"x{KEY}"], KEY: 1}, "api_key": "short", "s": Secret(KEY)}
    )
    logger.info("Authorization: Basic %s", "dXNlcjpwYXNzd29yZA==")
    try:
        fail()
    except RuntimeError:
        logger.exception("it failed", stack_info=True)
    logging.getLogger(f"odd.{KEY}").warning("from a strange place")
    text = stream.getvalue()
    for secret in (KEY, "hunter22", "dXNlcjpwYXNzd29yZA==", "short"):
        assert secret not in text
    assert "RuntimeError" in text
    if style == "json":
        lines = [json.loads(line) for line in text.splitlines()]
        assert "Traceback" in next(line["exception"] for line in lines if line["message"] == "it failed")


def test_another_handler_still_has_the_true_record(setup: Setup) -> None:
    stream = setup()
    seen: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    logger = logging.getLogger("launch_agent.test")
    keep = Keep()
    logger.addHandler(keep)
    try:
        logger.warning("plain %s", KEY)
    finally:
        logger.removeHandler(keep)
    assert seen[0].getMessage() == f"plain {KEY}"
    assert "plain ***" in stream.getvalue()


def test_a_job_cannot_forge_a_line_nor_move_the_cursor(setup: Setup) -> None:
    stream = setup()
    forged = "x\n2030-01-02T03:04:05.678Z INFO launch_agent.x: all is well\r\x1b[2J\0"
    logging.getLogger("launch_agent.test").warning("name %s", forged, extra={"run": forged})
    lines = stream.getvalue().splitlines()
    assert len([line for line in lines if re.match(r"\d{4}-", line)]) == 1
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", stream.getvalue().replace("\n", ""))


def test_levels_and_talkative_packages(setup: Setup) -> None:
    stream = setup(level="warning")
    logging.getLogger("launch_agent.test").info("quiet")
    logging.getLogger("launch_agent.test").warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()
    stream = setup(level="debug")
    logging.getLogger("urllib3.connectionpool").debug("headers")
    logging.getLogger("launch_agent.test").debug("details")
    assert "headers" not in stream.getvalue()
    assert "details" in stream.getvalue()


def test_a_second_setup_replaces_the_first(setup: Setup) -> None:
    first, second = setup(), setup()
    logging.getLogger("launch_agent.test").warning("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_warnings_become_log_lines(setup: Setup) -> None:
    stream = setup()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn(f"old call with {KEY}", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "old call with ***" in stream.getvalue()


@pytest.mark.usefixtures("setup")
def test_a_log_file_is_opened_anew_after_it_was_moved(tmp_path: Path) -> None:
    file = tmp_path / "agent.log"
    log.setup(file=str(file))
    logging.getLogger("launch_agent.test").warning("one é")
    file.rename(tmp_path / "old.log")
    logging.getLogger("launch_agent.test").warning("two")
    assert "one é" in (tmp_path / "old.log").read_text(encoding="utf-8")
    assert "two" in file.read_text(encoding="utf-8")


@pytest.mark.usefixtures("setup")
def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup(file="-")
    logging.getLogger("launch_agent.test").warning("here")
    assert "here" in capsys.readouterr().out
    log.setup()
    logging.getLogger("launch_agent.test").warning("there")
    assert "there" in capsys.readouterr().err


@pytest.mark.usefixtures("setup")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_line_that_cannot_be_written_is_not_shown_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    handler = log.setup(file="/dev/full")
    logging.getLogger("launch_agent.test").warning("key %s", KEY)
    shown = capsys.readouterr().err
    assert KEY not in shown
    assert "No space left" in shown
    with contextlib.suppress(OSError):  # what the stream still holds
        handler.close()


def test_a_file_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    for file in (tmp_path / "missing" / "agent.log", tmp_path):
        with pytest.raises(ConfigError) as raised:
            log.setup(file=str(file))
        assert raised.value.path == "log.file"
        assert str(file) in raised.value.message
