"""Access as a kubeconfig file says: contexts, certificates, tokens, plugins, OpenID Connect.

The only file that imports the official client, for its knowledge of these files: how several become one,
where paths in them begin, how identity providers renew tokens. What it makes of a context is taken over into
an `Access`; requests are ours.

Pitfalls: it writes certificates into temporary files and removes them when the process ends. Plugins are run
by `exec_plugin`, since the official client waits for them without limit and only logs that they failed.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import urllib3
import yaml
from kubernetes.client import Configuration
from kubernetes.config import ConfigException
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

from launch_agent.clients.kube import exec_plugin
from launch_agent.clients.kube.access import Access, context
from launch_agent.errors import ConfigError

# Seconds. A token is renewed so long before its end, and one that names no end as often.
_EARLY = 60.0
_UNLIMITED = 600.0
_SEPARATOR = ":"
_REASONS = {
    r"Expected key (\S+) in ": "the key {} is missing",
    r"Expected object with name (\S+) in \S*?(\w+) list": "there is no {} among its {}",
    r"only one object with name (\S+) in \S*?(\w+) list": "there are two of the name {} among its {}",
    r"to have 'name' key": "an entry in it has no name",
    r"File does not exist: (.+)": "there is no file {}",
    r"Incorrect padding|base64": "its certificates are not base64",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One context with what it refers to. `folder` is where the paths of its user and cluster begin."""

    name: str
    user: Mapping[str, Any]
    cluster: Mapping[str, Any]
    namespace: str
    folder: Path


def load(name: str, environment: Mapping[str, str]) -> Access:
    """See `access.for_context`."""
    merged, files = _read(environment)
    entry = _entry(merged, name, files)
    session = _Session(merged, entry, environment)
    url = str(entry.cluster.get("server") or "").rstrip("/")
    if not url.startswith(("https://", "http://")):
        raise ConfigError(
            f"context {entry.name!r} of {files}: its cluster names no server",
            hint="clusters[].cluster.server must be the URL of the API server",
        )
    session.tls()  # what cannot be used is found now
    proxy = str(entry.cluster.get("proxy-url") or "")
    return Access(
        url=url,
        credentials=session.headers,
        tls=session.tls if url.startswith("https://") else None,
        namespace=entry.namespace,
        server_name=str(entry.cluster.get("tls-server-name") or ""),
        environment={"https_proxy": proxy, "http_proxy": proxy} if proxy else environment,
        origin=f"context {entry.name!r} of {files}",
    )


def _read(environment: Mapping[str, str]) -> tuple[Any, str]:
    """The merged configuration, and the names of its files for messages."""
    named = environment.get("KUBECONFIG") or str(Path(environment.get("HOME") or "~") / ".kube" / "config")
    files = [Path(each).expanduser() for each in named.split(_SEPARATOR) if each]
    if not any(each.exists() for each in files):
        raise ConfigError(
            f"there is no kubeconfig file {_SEPARATOR.join(map(str, files))}",
            hint="KUBECONFIG must name one, or ~/.kube/config be there",
        )
    what = _SEPARATOR.join(map(str, files))
    try:
        merged = KubeConfigMerger(what).config  # type: ignore[no-untyped-call]  # it has none
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        raise ConfigError(
            f"{what} is not YAML: {getattr(error, 'problem', None) or 'it is no text'}",
            file=str(getattr(place, "name", "")),
            line=place.line + 1 if place else 0,
            column=place.column + 1 if place else 0,
        ) from error
    except OSError as error:
        raise ConfigError(f"{error.filename or what} cannot be read: {error.strerror}") from error
    except (ConfigException, AttributeError, TypeError, KeyError, ValueError) as error:
        raise ConfigError(f"{what} is no kubeconfig file: {_reason(error)}") from None
    if merged is None or not isinstance(merged.value, Mapping):
        raise ConfigError(f"{what} is no kubeconfig file: it is empty, or no mapping")
    return merged, what


def _entry(merged: Any, name: str, files: str) -> _Entry:
    try:
        names = [str(each["name"]) for each in merged.value.get("contexts") or ()]
        chosen = name or str(merged.value.get("current-context") or "")
        if chosen not in names:
            there = ", ".join(sorted(names)) or "none at all"
            missing = f"has no context {chosen!r}" if chosen else "has no current context"
            raise ConfigError(f"{files} {missing}", path="runner.kubernetes.context", hint=f"it has {there}")
        about = merged["contexts"].get_with_name(chosen)["context"]
        cluster = merged["clusters"].get_with_name(about["cluster"])["cluster"]
        user = about.safe_get("user") and merged["users"].get_with_name(about["user"], safe=True)
        user = user and user["user"]
        return _Entry(
            name=chosen,
            user=dict(user.value) if user else {},
            cluster=dict(cluster.value),
            namespace=str(about.safe_get("namespace") or "default"),
            folder=Path((user or cluster).path).resolve().parent,
        )
    except (ConfigException, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"{files}: context {name!r} cannot be used: {_reason(error)}") from None


class _Session:
    """Credentials of one context, loaded when they are needed and again when they have ended."""

    def __init__(self, merged: Any, entry: _Entry, environment: Mapping[str, str]) -> None:
        self._merged = merged
        self._entry = entry
        self._environment = environment
        self._lock = threading.Lock()
        self._loaded: Configuration | None = None
        self._token = ""
        self._until = 0.0
        self._plugin: exec_plugin.Credential | None = None

    def configuration(self) -> Configuration:
        with self._lock:
            return self._configuration(fresh=False)

    def headers(self, fresh: bool) -> Mapping[str, str]:
        with self._lock:
            self._configuration(fresh=fresh)
            return {"Authorization": self._token} if self._token else {}

    def tls(self) -> ssl.SSLContext:
        found = self.configuration()
        if not found.verify_ssl:
            # Whoever wrote so into the file knows; a warning with each connection tells nobody anything new.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        authority = Path(found.ssl_ca_cert) if found.ssl_ca_cert else None
        with self._lock:
            plugin = self._plugin
        if plugin is not None and plugin.certificate:
            with TemporaryDirectory() as folder:  # OpenSSL reads certificates from files only
                pair = Path(folder, "crt"), Path(folder, "key")
                for file, text in zip(pair, (plugin.certificate, plugin.key), strict=True):
                    file.write_text(text, encoding="ascii")
                return context(authority, certificate=pair, verify=found.verify_ssl)
        files = (Path(found.cert_file), Path(found.key_file)) if found.cert_file and found.key_file else None
        return context(authority, certificate=files, verify=found.verify_ssl)

    def _configuration(self, *, fresh: bool) -> Configuration:
        if self._loaded is None or fresh or time.time() >= self._until:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> Configuration:
        made, until = self._official()
        self._token = str(made.api_key.get("BearerToken") or "")
        if not self._token and "exec" in self._entry.user:
            self._plugin = exec_plugin.run(
                self._entry.user["exec"],
                self._entry.cluster,
                folder=self._entry.folder,
                environment=self._environment,
            )
            self._token = f"Bearer {self._plugin.token}" if self._plugin.token else ""
            until = self._plugin.expires or float("inf")
        elif not self._token and "auth-provider" in self._entry.user:
            # The package goes on without a word, and the server would take us for nobody.
            raise ConfigError(
                f"context {self._entry.name!r} of the kubeconfig: its auth-provider brings no token",
                hint="log in again; kubectl itself has given up providers other than oidc in favour of exec",
            )
        self._until = until - _EARLY
        return made

    def _official(self) -> tuple[Configuration, float]:
        """What the official client makes of the context, and until when that is good."""
        made = Configuration()
        try:
            loader = _WithoutPlugins(self._merged, self._entry.name, config_base_path=None)  # type: ignore[no-untyped-call]  # it has none
            loader.load_and_set(made)  # type: ignore[no-untyped-call]  # nor has this
        except (ConfigException, KeyError, TypeError, AttributeError, ValueError, OSError) as error:
            raise ConfigError(
                f"context {self._entry.name!r} of the kubeconfig cannot be used: {_reason(error)}"
            ) from None
        expiry = getattr(loader, "expiry", None)
        return made, expiry.timestamp() if expiry else time.time() + _UNLIMITED + _EARLY


class _WithoutPlugins(KubeConfigLoader):
    def _load_from_exec_plugin(self) -> None:
        return None


def _reason(error: Exception) -> str:
    """What is wrong. The package's own messages quote whole entries, tokens and all: only what is known to be
    harmless is taken from them, and the error itself is not chained."""
    for pattern, words in _REASONS.items():
        if found := re.search(pattern, str(error)):
            return words.format(*found.groups())
    if isinstance(error, OSError):
        return f"{error.filename} cannot be read: {error.strerror}"
    return "an entry in it has not the form of one"
