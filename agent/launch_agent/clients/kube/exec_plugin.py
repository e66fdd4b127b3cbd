"""Runs the program that a kubeconfig names for credentials (`aws eks get-token`, `gke-gcloud-auth-plugin`).

Its protocol is `client.authentication.k8s.io` (v1 and v1beta1): an ExecCredential in the environment, one on
standard output. The program gets no terminal, since nobody is there to answer it, and must end in time.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from launch_agent.errors import ConfigError

_SECONDS = 60.0
_LONGEST_WORDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a plugin answers. `expires` is seconds since the epoch, None where it does not say."""

    token: str
    certificate: str
    key: str
    expires: float | None


def run(
    plugin: Any,
    cluster: Mapping[str, Any],
    *,
    folder: Path,
    environment: Mapping[str, str],
    seconds: float = _SECONDS,
) -> Credential:
    """Run a user's `exec` entry. A command with a slash in it is relative to `folder`. Raises ConfigError."""
    try:
        command = str(plugin.get("command") or "")
        told = {str(each["name"]): str(each["value"]) for each in plugin.get("env") or ()}
        arguments = [str(each) for each in plugin.get("args") or ()]
    except (KeyError, TypeError, AttributeError):
        raise _failed("", "its entry `exec` has not the form of one", "see `kubectl config view`") from None
    program = str(folder / command) if os.sep in command else command
    info = {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    if plugin.get("provideClusterInfo"):
        info["spec"] = {"interactive": False, "cluster": _described(cluster, folder)}
    try:
        done = subprocess.run(  # noqa: S603 - the user's own kubeconfig names the program, and no shell reads it
            [program, *arguments],
            env={**environment, **told, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(command, f"it did not end in {seconds:g} s") from error
    except (OSError, ValueError) as error:
        hint = str(plugin.get("installHint") or "is it installed, and on the PATH?")
        raise _failed(command, getattr(error, "strerror", None) or str(error), hint) from error
    if done.returncode:
        words = " ".join(done.stderr.decode("utf-8", "replace").split())[-_LONGEST_WORDS:]
        raise _failed(command, f"it ended with {done.returncode}: {words}")
    return _credential(command, done.stdout)


def _credential(command: str, output: bytes) -> Credential:
    # What it printed may hold the credential, so no message quotes it.
    try:
        status = json.loads(output)["status"]
        expires = status.get("expirationTimestamp")
        found = Credential(
            token=status.get("token") or "",
            certificate=status.get("clientCertificateData") or "",
            key=status.get("clientKeyData") or "",
            expires=datetime.fromisoformat(expires).timestamp() if expires else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _failed(command, "what it prints is no ExecCredential") from None
    if not found.token and not (found.certificate and found.key):
        raise _failed(command, "its ExecCredential holds neither a token nor a certificate with its key")
    return found


def _described(cluster: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """The cluster as the protocol tells a plugin of it; files become data."""
    names = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
    about = {name: cluster[name] for name in names if cluster.get(name)}
    data, file = cluster.get("certificate-authority-data"), cluster.get("certificate-authority")
    if not data and file and (folder / str(file)).is_file():
        data = base64.b64encode((folder / str(file)).read_bytes()).decode()
    return {**about, "certificate-authority-data": data} if data else about


def _failed(command: str, reason: str, hint: str = "") -> ConfigError:
    return ConfigError(
        f"the kubeconfig's program for credentials ({command or 'no command'}) failed: {reason}",
        hint=hint or "run it by hand: it must work without a terminal",
    )
