"""Signs a pushed image with cosign, where that is installed.

cosign finds the registry's credentials where Docker keeps them, and a key's password in COSIGN_PASSWORD. It
is given the image by its digest: a tag could be another image by then.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from launch_agent.errors import ConfigError, ImageError

_SECONDS = 180.0
_WITHHELD = ("WANDB_API_KEY", "LAUNCH_AGENT_API_KEY", "LAUNCH_AGENT_INDEX_PASSWORD")


def program(environment: Mapping[str, str]) -> str:
    """The path of cosign. Raises ImageError where there is none."""
    found = shutil.which("cosign", path=environment.get("PATH"))
    if found is None:
        raise ImageError(
            "images are signed by cosign, which is not installed here",
            hint="install it (https://docs.sigstore.dev/cosign/system_config/installation/), or do not sign",
        )
    return found


def check(key: str, environment: Mapping[str, str]) -> None:
    """Raise before anything is built where it could not be signed. `key` is what cosign takes: a file,
    `env://NAME`, or the address of a key in a key store; empty signs without one, as cosign does."""
    program(environment)
    scheme, colon, name = key.partition("://")
    if scheme == "env" and colon and not environment.get(name):
        raise ConfigError(f"the key for signing is to be in {name}, which is not set")
    if key and not colon and not Path(key).is_file():
        raise ConfigError(
            f"the key for signing, {key}, is not a file", hint="`cosign generate-key-pair` makes one"
        )


def sign(reference: str, key: str, environment: Mapping[str, str], *, timeout: float = _SECONDS) -> None:
    """Sign `repository@digest`. Raises ImageError with what cosign says."""
    command = [program(environment), "sign", "--yes", *(("--key", key) if key else ()), reference]
    try:
        done = subprocess.run(  # noqa: S603 - the program that the user asks for, without a shell
            command,
            env={name: value for name, value in environment.items() if name not in _WITHHELD},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ImageError(
            f"cosign did not sign {reference} within {timeout:g} s",
            hint="does it wait for a browser, or for a transparency log that cannot be reached?",
        ) from error
    except OSError as error:
        raise ImageError(f"cosign cannot be started: {error.strerror or error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise ImageError(
            f"cosign did not sign {reference}: {lines[-1] if lines else f'it ended with {done.returncode}'}",
            hint="the image is pushed and unsigned; a key's password is taken from COSIGN_PASSWORD",
        )
