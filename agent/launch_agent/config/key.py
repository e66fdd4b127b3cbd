"""Finds the API key: WANDB_API_KEY, else the key file, else ~/.netrc for the backend's host.

The key leaves this file as a Secret; no message holds it or a part of it.
"""

from __future__ import annotations

import netrc
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from launch_agent.errors import ConfigError
from launch_agent.spec.secret import Secret


def find(
    base_url: str, key_file: str, config_file: Path | None, env: Mapping[str, str], home: Path
) -> Secret:
    """Raises ConfigError where there is no key, or where its file cannot be read."""
    text = env.get("WANDB_API_KEY", "").strip()
    if not text and key_file:
        text = _from_file(key_file, config_file, home)
    host = urlsplit(base_url).hostname or ""
    if not text:
        text = _from_netrc(host, env, home)
    if not text:
        raise ConfigError(
            f"there is no API key for {host}",
            hint="set WANDB_API_KEY, or 'api-key-file' in the config, or log in so that ~/.netrc holds it",
        )
    if not text.isprintable() or " " in text:
        raise ConfigError("the API key holds spaces or control characters", hint="copy it again")
    return Secret(text)


def _from_file(name: str, config_file: Path | None, home: Path) -> str:
    path = home / name[2:] if name.startswith("~/") else Path(name)
    if not path.is_absolute() and config_file is not None:
        path = config_file.parent / path
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text"
        raise ConfigError(
            f"the API key cannot be read from {path}: {reason.lower()}", path="api-key-file"
        ) from error
    if not text:
        raise ConfigError(f"the API key's file {path} is empty", path="api-key-file")
    return text


def _from_netrc(host: str, env: Mapping[str, str], home: Path) -> str:
    named = env.get("NETRC")
    path = Path(named) if named else home / ".netrc"
    try:
        entry = netrc.netrc(str(path)).hosts.get(host)
    except FileNotFoundError:
        return ""
    except netrc.NetrcParseError as error:
        raise ConfigError(
            f"this is not a netrc file: {error.msg}", file=str(path), line=error.lineno or 0, column=1
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text"
        raise ConfigError(f"the file cannot be read: {reason.lower()}", file=str(path)) from error
    return (entry[2] or "").strip() if entry else ""
