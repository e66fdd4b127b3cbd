"""What opens one repository, taken out of what its agent has, for a process elsewhere that fetches it.

Git and ssh themselves are asked what they would use: whichever way the agent is configured, by files of its
own or as its user is, the answer is the same. Only what concerns the repository's own host is handed over.

Pitfall: keys that live in an ssh agent, or behind a passphrase, cannot be handed over.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from launch_agent.errors import SourceError
from launch_agent.sources.git.access import Access, environment
from launch_agent.sources.git.remote import Protocol, Remote
from launch_agent.spec.secret import Secret

_SECONDS = 30.0
# Far more than a key or a host's keys need; a Secret of Kubernetes holds a megabyte.
_LARGEST = 64 * 1024
_PORT = "22"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """`login` is a line of `git credential-store`, `key` the text of a private key for `host`, `known_hosts`
    the lines that say which keys that host has; empty where the agent has none. `check_hosts` is as for
    `Access`."""

    login: Secret = field(default_factory=lambda: Secret(""))
    host: str = ""
    key: Secret = field(default_factory=lambda: Secret(""))
    known_hosts: str = ""
    check_hosts: bool = True


def hand_over(access: Access, remote: Remote) -> Handover:
    """Raises SourceError where Git or ssh cannot be asked. A password in the address is not part of it."""
    with tempfile.TemporaryDirectory(prefix="launch-agent-git-") as scratch:
        variables = environment(access, remote, Path(scratch))
        try:
            if remote.protocol is Protocol.SSH:
                return _of_ssh(remote, variables)
            return Handover(login=Secret("") if remote.password else _login(remote, variables))
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SourceError(
                f"finding out what opens {remote}: {error}", hint="git and ssh have to be installed"
            ) from error


def _login(remote: Remote, variables: Mapping[str, str]) -> Secret:
    parts = urlsplit(remote.url)
    asked = f"protocol=https\nhost={parts.netloc}\npath={parts.path.lstrip('/')}\n\n"
    done = _run(["git", "credential", "fill"], variables, asked)
    told = dict(line.split("=", 1) for line in done.splitlines() if "=" in line)
    if not told.get("password"):
        return Secret("")
    login = f"{quote(told.get('username', ''), safe='')}:{quote(told['password'], safe='')}"
    return Secret(f"https://{login}@{parts.netloc}\n")


def _of_ssh(remote: Remote, variables: Mapping[str, str]) -> Handover:
    command, home = variables["GIT_SSH_COMMAND"], Path(variables.get("HOME") or "/")
    # By a shell, as Git does: the admin's command may be more than words.
    told = _run(["sh", "-c", f'{command} -G "$1"', "ssh", _destination(remote)], variables)
    settings: dict[str, list[str]] = {}
    for line in told.splitlines():
        name, _, value = line.partition(" ")
        settings.setdefault(name, []).append(value)
    # ssh looks for its usual keys too, most of which nobody has.
    keys = [text for path in settings.get("identityfile", ()) if (text := _text(path, home))]
    strict = (settings.get("stricthostkeychecking") or ["true"])[0]
    name = (settings.get("hostkeyalias") or settings.get("hostname") or [remote.host])[0]
    port = (settings.get("port") or [_PORT])[0]
    files = " ".join([*settings.get("userknownhostsfile", ()), *settings.get("globalknownhostsfile", ())])
    known = [_known(name if port == _PORT else f"[{name}]:{port}", path, home, variables)
             for path in files.split()]  # fmt: skip
    return Handover(
        host=remote.host,
        key=Secret(keys[0] if keys else ""),
        known_hosts="".join(known),
        check_hosts=strict not in ("no", "false", "off"),
    )


def _destination(remote: Remote) -> str:
    """What stands for the repository's server at ssh's own command line."""
    if remote.url.startswith("ssh://"):
        return f"ssh://{urlsplit(remote.url).netloc}"
    return remote.url.partition(":")[0]


def _known(name: str, path: str, home: Path, variables: Mapping[str, str]) -> str:
    file = _expanded(path, home)
    if not file.is_file():
        return ""
    found = _run(["ssh-keygen", "-F", name, "-f", str(file)], variables)
    lines = [line for line in found.splitlines() if not line.startswith("#")]
    return "".join(f"{line}\n" for line in lines)[:_LARGEST]


def _text(path: str, home: Path) -> str:
    file = _expanded(path, home)
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST:
            return ""
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""  # ssh would not use it either


def _expanded(path: str, home: Path) -> Path:
    return Path(re.sub(r"^(~|%d)(?=/)", lambda _: str(home), path.strip('"')))


def _run(words: Sequence[str], variables: Mapping[str, str], given: str = "") -> str:
    """What a program printed; empty where it failed, which is how these say that they have nothing."""
    done = subprocess.run(  # noqa: S603 - the words are ours, and an address that was checked
        list(words),
        env=dict(variables),
        input=given,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        start_new_session=True,
    )
    return done.stdout if done.returncode == 0 else ""
