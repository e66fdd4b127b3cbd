"""What opens Git repositories: a credentials file for HTTPS, keys and known hosts for SSH.

The chart mounts `gitCreds` with a `~/.gitconfig` that names it, and the keys of `sshAuthSecrets` with an ssh
configuration that `GIT_SSH_COMMAND` names: there the environment alone is enough. Beside it all of this can
be given as files. Git's own configuration of the user who runs the agent is read (it may name a credential
helper) and never written; the system's is not read.

No credential is put on a command line or into an environment: Git gets the name of a file, or of a function
of the shell that reads one and cannot store what worked.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from launch_agent.clients import proxies
from launch_agent.sources.git.remote import Remote

# What Git, ssh and curl read of the environment. Everything else stays with the agent: its own API key and
# the credentials of its cloud are no business of a hook, a helper or a proxy command.
_PASSED = (
    "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "SSH_AUTH_SOCK",
    "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY",
    "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
)  # fmt: skip
_CONNECT_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """`environment` is the agent's. `credentials` is a file in the form of `git credential-store`; `keys`
    maps hosts to private keys; `known_hosts` is the only file that host keys are looked up in. `check_hosts`
    false turns their check off, which is for networks that are trusted in another way."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials: Path | None = None
    keys: Mapping[str, Path] = field(default_factory=dict)
    known_hosts: Path | None = None
    check_hosts: bool = True


def environment(access: Access, remote: Remote, scratch: Path) -> dict[str, str]:
    """The environment of every Git command of one checkout. `scratch` is a private folder for the files that
    it names; who made it removes it."""
    given = {name: access.environment[name] for name in _PASSED if access.environment.get(name)}
    authorities = proxies.ca_file(access.environment)
    if authorities:
        given.setdefault("GIT_SSL_CAINFO", authorities)
    return {
        **given,
        # Messages are read, and must be those that we know.
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        # Nobody is there to answer; not for a password, and not in a window.
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "SSH_ASKPASS": "false",
        "SSH_ASKPASS_REQUIRE": "never",
        # Holds for submodules and for what a user's configuration rewrites, too.
        "GIT_ALLOW_PROTOCOL": "https:ssh",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": _ssh(access, scratch),
        "GIT_SSH_VARIANT": "ssh",
        **_settings(_configuration(access, remote, scratch)),
    }


def _configuration(access: Access, remote: Remote, scratch: Path) -> list[tuple[str, str]]:
    settings = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.autocrlf", "false"),
        ("fetch.recurseSubmodules", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("advice.detachedHead", "false"),
        ("init.defaultBranch", "main"),
        # A server that sends less than 1000 bytes a second for a minute is gone.
        ("http.lowSpeedLimit", "1000"),
        ("http.lowSpeedTime", "60"),
    ]
    files = [path for path in (_of_address(remote, scratch), access.credentials) if path is not None]
    if files:
        settings.append(("credential.useHttpPath", "false"))
    return settings + [("credential.helper", _reading(path)) for path in files]


def _of_address(remote: Remote, scratch: Path) -> Path | None:
    """A file with the user and password that stood in the address; None where none did."""
    if not remote.username and not remote.password:
        return None
    file = scratch / "credentials"
    file.touch(mode=0o600)
    login = f"{quote(remote.username, safe='')}:{quote(remote.password.reveal(), safe='')}"
    file.write_text(remote.url.replace("https://", f"https://{login}@", 1) + "\n")
    return file


def _reading(file: Path) -> str:
    """A helper that only reads: Git also asks to store what worked, and to erase what did not."""
    return f'!f() {{ test "$1" != get || git credential-store --file {shlex.quote(str(file))} get; }}; f'


def _settings(settings: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Git's configuration by environment: it is seen by Git's own children, and written nowhere."""
    named = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings):
        named |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return named


def _ssh(access: Access, scratch: Path) -> str:
    """The ssh command: the admin's where the environment has one, else the user's with strict host keys, or
    one with a configuration of its own where keys or known hosts are given."""
    common = [
        "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ForwardAgent=no",
        "-o", f"ConnectTimeout={_CONNECT_SECONDS}", "-o", "ServerAliveInterval=15",
        "-o", "ServerAliveCountMax=4",
    ]  # fmt: skip
    if access.keys or access.known_hosts or not access.check_hosts:
        file = scratch / "ssh_config"
        file.write_text(_ssh_config(access))
        return shlex.join(["ssh", "-F", str(file), *common])
    if own := access.environment.get("GIT_SSH_COMMAND"):
        return f"{own} {shlex.join(common)}"
    return shlex.join(["ssh", "-o", "StrictHostKeyChecking=yes", *common])


def _ssh_config(access: Access) -> str:
    lines = []
    for host, key in sorted(access.keys.items()):
        lines += [f"Host {host}", f"    IdentityFile {_quoted(key)}", "    IdentitiesOnly yes"]
    known = _quoted(access.known_hosts) if access.known_hosts else "~/.ssh/known_hosts"
    lines += ["Host *", f"    StrictHostKeyChecking {'yes' if access.check_hosts else 'no'}"]
    lines += [f"    UserKnownHostsFile {known if access.check_hosts else '/dev/null'}"]
    if access.known_hosts or not access.check_hosts:
        lines += ["    GlobalKnownHostsFile /dev/null"]
    return "\n".join([*lines, ""])


def _quoted(path: Path) -> str:
    """ssh's own quoting; `%` begins a token there."""
    return '"' + str(path).replace("%", "%%") + '"'
