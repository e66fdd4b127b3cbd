"""Runs a command of the command line in this process, as its entry point does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from launch_agent.cli.main import cli, exit_code
from launch_agent.errors import LaunchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def command(*args: str, env: Mapping[str, str], stdin: str = "") -> Ran:
    """Any exception but LaunchError and SystemExit is a bug, and raised."""
    result = CliRunner(env=dict.fromkeys(_STRAY) | dict(env)).invoke(cli, list(args), input=stdin)
    code, err = result.exit_code, result.stderr
    if isinstance(result.exception, LaunchError):
        code, err = exit_code(result.exception), f"{err}error: {result.exception}\n"
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(code=code, out=result.stdout, err=err)


# A developer's own settings must not reach a test.
_STRAY = ("WANDB_API_KEY", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_BASE_URL", "NETRC")
