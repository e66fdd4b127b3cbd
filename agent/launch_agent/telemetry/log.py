"""Logging: one handler for the whole process, as text or as JSON lines, without secrets.

Everything goes through the standard library's `logging`, so that third-party packages come along. Redaction
is done on the finished strings of a record, exceptions included, since arguments of any type may turn into
a credential when they are printed. What jobs say cannot forge lines: line ends are indented.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from launch_agent.errors import ConfigError
from launch_agent.telemetry.redact import MASK, forget, hide, redact

__all__ = ["forget", "hide", "redact", "setup"]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# What every record has; everything else came by `extra=`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Packages whose debug lines hold whole requests, headers included.
_TALKATIVE = ("urllib3", "docker", "kubernetes", "botocore", "boto3", "google", "azure")
# Keys whose values are secret whatever they look like.
_SECRET_KEYS = ("api_key", "apikey", "password", "token", "authorization", "secret_key")
_CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), 127) if chr(number) not in "\t\n"}


def setup(
    *,
    level: str = "info",
    format: str = "text",  # noqa: A002 - the word that the config uses
    file: str = "",
    stream: TextIO | None = None,
) -> logging.Handler:
    """Send the process's logs to one place; a second call replaces the first.

    `level` is debug, info, warning or error; `format` text or json; `file` is a path, `-` for standard output
    or empty for `stream` (standard error). Raises ConfigError where the file cannot be written. Returns the
    handler that was installed.
    """
    handler = _handler(file, stream)
    handler.setFormatter(JsonLines() if format == "json" else TextLines())
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old.formatter, JsonLines | TextLines)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(_LEVELS[level])
    for package in _TALKATIVE:
        logging.getLogger(package).setLevel(max(_LEVELS[level], logging.INFO))
    logging.captureWarnings(True)
    return handler


class _Discreet(logging.Handler):
    """`logging` shows a record that it cannot write, arguments and all, on standard error; this does not."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class's name
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"a log line cannot be written: {sys.exception()!r:.200}\n")


class _ToStream(_Discreet, logging.StreamHandler[TextIO]):
    pass


class _ToFile(_Discreet, logging.handlers.WatchedFileHandler):
    """Opens its file anew when it was moved away, as logrotate does."""


def _handler(file: str, stream: TextIO | None) -> logging.Handler:
    if not file or file == "-":
        return _ToStream(stream or (sys.stdout if file else sys.stderr))
    try:
        return _ToFile(Path(file).expanduser(), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the log file {file!r} cannot be written: {error.strerror}",
            path="log.file",
            hint="name a file in a folder that exists and that the agent may write to",
        ) from error


class TextLines(logging.Formatter):
    """`2030-01-02T03:04:05.678Z INFO launch_agent.control.loop: message key=value`"""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={_quoted(value)}" for key, value in _extra(record).items())
        logger = redact(record.name)
        head = f"{_time(record)} {record.levelname} {logger}: {_message(record)}{fields}"
        return "\n".join([_one_line(head), *_trace_lines(self, record)])


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, exception, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            **_extra(record),
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": redact(record.name),
            "message": _message(record),
        }
        trace = _trace_lines(self, record)
        if trace:
            fields["exception"] = "\n".join(trace)
        return json.dumps(fields, default=str)


def _message(record: logging.LogRecord) -> str:
    try:
        return redact(record.getMessage())
    except (TypeError, ValueError):
        # logging itself would print the arguments, secrets and all, to standard error.
        return redact(str(record.msg)) + " (its arguments do not fit)"


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: _clean(key, value) for key, value in vars(record).items() if key not in _OWN}


def _clean(key: str, value: Any) -> Any:
    """A field's value as JSON, with every text in it redacted."""
    if any(name in key.lower().replace("-", "_") for name in _SECRET_KEYS):
        return MASK
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {redact(str(inner)): _clean(str(inner), item) for inner, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(key, item) for item in value]
    return redact(str(value))


def _trace_lines(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    # record.exc_text is a cache that other handlers share; it is not ours to fill with redacted text.
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return [line.translate(_CONTROL) for part in parts for line in redact(part).split("\n")]


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)


def _one_line(text: str) -> str:
    return text.translate(_CONTROL).replace("\n", "\n    ")
