"""Credentials as Docker and its relatives keep them: `config.json`, and the helper programs it names.

Read anew at each call: a mounted Secret is renewed under a running agent. The order is Docker's: a helper for
this registry (`credHelpers`), the helper for all (`credsStore`), what stands in the file (`auths`).

Pitfalls: Docker Hub's entry is called `https://index.docker.io/v1/`; a key may carry a scheme and a path. A
helper that says `<token>` for the user, or an entry with `identitytoken`, hands out a refresh token and no
password.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from launch_agent.errors import RegistryError
from launch_agent.spec.model import Credentials
from launch_agent.spec.secret import Secret

# The user name that stands for "the password is a refresh token" (docker-credential-helpers).
TOKEN_USER = "<token>"  # noqa: S105 - a name of the protocol
HUB = "docker.io"
HUB_NAMES = (HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
_HUB_KEYS = ("https://index.docker.io/v1/", *HUB_NAMES)
# Helpers of clouds ask their cloud; a keychain that waits for its user never answers.
_HELPER_SECONDS = 30.0
_LARGEST_FILE = 4 * 1024 * 1024
_HELPER_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class DockerConfig:
    """The files with credentials that an environment points to, or the one at `file`.

    `environment` is the process's; helpers run with it, without the variables named in `withheld`.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        file: Path | None = None,
        withheld: Sequence[str] = ("WANDB_API_KEY", "LAUNCH_AGENT_API_KEY"),
        timeout: float = _HELPER_SECONDS,
    ) -> None:
        self._environment = environment
        self._file = file
        self._withheld = frozenset(withheld)
        self._timeout = timeout

    def credentials(self, host: str, path: str = "") -> Credentials | None:
        """What opens `host` (with its port), for the repository `path` if entries are that narrow; None
        where nothing is known. Raises RegistryError where a file or a helper is broken."""
        for file in self._files():
            document = _read(file)
            if document is None:
                continue
            found = self._of_helpers(document, host) or _of_file(file, document, host, path)
            if found is not None:
                return found
        return None

    def _files(self) -> Iterator[Path]:
        if self._file is not None:
            yield self._file / "config.json" if self._file.is_dir() else self._file
            return
        home = self._environment.get("HOME", "")
        folder = self._environment.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
        if folder:
            yield Path(folder, "config.json")
        if named := self._environment.get("REGISTRY_AUTH_FILE"):
            yield Path(named)
        if runtime := self._environment.get("XDG_RUNTIME_DIR"):
            yield Path(runtime, "containers/auth.json")

    def _of_helpers(self, document: Mapping[str, Any], host: str) -> Credentials | None:
        helpers = document.get("credHelpers")
        names = [helpers.get(key) for key in keys_of(host)] if isinstance(helpers, Mapping) else []
        chosen = next((name for name in names if name), None)
        everything = document.get("credsStore")
        for name in dict.fromkeys((chosen, everything if chosen is None else None)):
            if isinstance(name, str) and name:
                return self._ask(name, host)
        return None

    def _ask(self, name: str, host: str) -> Credentials | None:
        """One question to `docker-credential-<name>`, on its standard input. Its answer is never logged."""
        program = f"docker-credential-{name}"
        if not set(name) <= _HELPER_NAME:
            raise RegistryError(f"the Docker config names the credential helper {name!r}, which is no name")
        path = self._environment.get("PATH", os.defpath)
        found = shutil.which(program, path=path)
        if found is None:
            raise RegistryError(
                f"cannot get credentials for {host}: the program {program} is not installed",
                hint="install it, or change credHelpers and credsStore in the Docker config",
            )
        environment = {key: text for key, text in self._environment.items() if key not in self._withheld}
        try:
            done = subprocess.run(  # noqa: S603 - which helper runs is the word of the agent's admin
                [found, "get"],
                input=_HUB_KEYS[0] if host in HUB_NAMES else host,
                env=environment,
                capture_output=True,
                text=True,
                timeout=self._timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RegistryError(
                f"cannot get credentials for {host}: {program} did not answer in {self._timeout:g} s",
                hint="does it wait for somebody to unlock a keychain?",
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise RegistryError(f"cannot get credentials for {host}: {program} failed: {error}") from error
        if done.returncode != 0:
            words = " ".join((done.stdout or done.stderr).split())[:300]
            if "credentials not found" in words:
                return None
            raise RegistryError(f"cannot get credentials for {host}: {program} says: {words}")
        return _of_helper(program, host, done.stdout)


def keys_of(host: str) -> Sequence[str]:
    """The names under which a registry may stand in a config, the most usual first."""
    if host in HUB_NAMES:
        return _HUB_KEYS
    return (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/", f"http://{host}")


def for_build(host: str, credentials: Credentials) -> Secret:
    """A `config.json` that opens one registry, for a build that runs elsewhere."""
    return Secret(json.dumps({"auths": {keys_of(host)[0]: _entry(credentials)}}))


def helper_answer(credentials: Credentials) -> Secret:
    """What a credential helper says when it is asked for them."""
    answer = {
        "ServerURL": credentials.host,
        "Username": credentials.username,
        "Secret": credentials.password.reveal(),
    }
    return Secret(json.dumps(answer))


def document_with(
    environment: Mapping[str, str], host: str, credentials: Credentials | None, *, helper: str = ""
) -> Secret:
    """The `config.json` that an environment points to, in which `credentials` open one registry, for a
    program that reads such a file; what opens the others stays. With `helper` the program of that name is
    asked for them. Raises RegistryError where the file is broken."""
    files = DockerConfig(environment)._files()
    document = dict(next((found for file in files if (found := _read(file)) is not None), {}))
    if credentials is None:
        return Secret(json.dumps(document))
    names = keys_of(host)
    auths, helpers = (_without(document.get(part), names) for part in ("auths", "credHelpers"))
    # An entry without a name takes the helper for everything else off this registry.
    helpers[names[0]] = helper
    if not helper:
        auths[names[0]] = _entry(credentials)
    return Secret(json.dumps({**document, "auths": auths, "credHelpers": helpers}))


def _without(part: Any, names: Sequence[str]) -> dict[str, Any]:
    found = part.items() if isinstance(part, Mapping) else ()
    return {key: value for key, value in found if key not in names}


def _entry(credentials: Credentials) -> dict[str, str]:
    password = credentials.password.reveal()
    if credentials.username == TOKEN_USER:
        return {"identitytoken": password, "auth": _encoded("00000000-0000-0000-0000-000000000000", "")}
    return {"auth": _encoded(credentials.username, password)}


def _encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _read(file: Path) -> Mapping[str, Any] | None:
    """A config; None where there is no such file."""
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RegistryError(
            f"cannot read the Docker config {file}: {(error.strerror or str(error)).lower()}"
        ) from error
    try:
        document = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"the Docker config {file} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise RegistryError(f"the Docker config {file} is not a JSON object")
    return document


def _of_file(file: Path, document: Mapping[str, Any], host: str, path: str) -> Credentials | None:
    auths = document.get("auths")
    if not isinstance(auths, Mapping):
        return None
    parts = path.split("/") if path else []
    # The narrowest first, as containers' auth.json has it: host/namespace/repository, host/namespace, host.
    narrow = ["/".join([host, *parts[:size]]) for size in range(len(parts), 0, -1)]
    for key in (*narrow, *keys_of(host)):
        entry = auths.get(key)
        if isinstance(entry, Mapping) and (found := _of_entry(file, key, host, entry)):
            return found
    return None


def _of_entry(file: Path, key: str, host: str, entry: Mapping[str, Any]) -> Credentials | None:
    if token := entry.get("identitytoken"):
        return Credentials(host=host, username=TOKEN_USER, password=Secret(str(token)))
    if entry.get("username") and entry.get("password"):
        return Credentials(
            host=host, username=str(entry["username"]), password=Secret(str(entry["password"]))
        )
    if not entry.get("auth"):
        return None
    try:
        # Some writers leave the padding out, some end the text with a zero byte.
        plain = base64.b64decode(str(entry["auth"]) + "==").decode().rstrip("\0")
    except (binascii.Error, ValueError):
        plain = ""
    user, colon, password = plain.partition(":")
    if not colon:
        raise RegistryError(
            f"in the Docker config {file} the 'auth' of {key!r} is not base64 of user:password"
        )
    return Credentials(host=host, username=user, password=Secret(password))


def _of_helper(program: str, host: str, output: str) -> Credentials:
    try:
        answer = json.loads(output)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(
            f"cannot get credentials for {host}: {program} answered in an unknown form"
        ) from error
    return Credentials(host=host, username=user, password=Secret(secret))
