"""How an API server is reached and who we are there: in a pod by its service account, else by a kubeconfig.

A token is asked for at each request: a pod's is renewed in its file every hour, and that of an identity
provider ends in minutes. The authority is read when a connection pool is made, so that one that has been
replaced counts after the next failure.

Pitfall: Python 3.13 demands of authorities what older ones that clusters have made do not hold (a key
identifier), so that strictness is taken back; signatures, dates and names are checked all the same.
"""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launch_agent.errors import ConfigError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_MOUNTED = "is the token of the pod's service account mounted (automountServiceAccountToken)?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """`url` has no slash at its end. `credentials` gives the headers that say who we are, anew at each call;
    with True it gets fresh ones, because the last were not taken. `tls` makes the context of connections.

    `environment` holds the proxy variables that count. `server_name` is the name in the server's
    certificate where it is not the host's; `origin` says for messages where all this comes from.
    """

    url: str
    credentials: Callable[[bool], Mapping[str, str]]
    tls: Callable[[], ssl.SSLContext] | None = None
    namespace: str = "default"
    server_name: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    origin: str = ""


def in_pod(environment: Mapping[str, str], account: Path = ACCOUNT) -> Access:
    """Access as the service account of the pod that we are in; `account` is the folder with its files.

    Raises ConfigError where we are in no pod, or its token is not mounted.
    """
    host, port = (environment.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
    if not host or not port:
        raise ConfigError(
            "this is no pod of a cluster: KUBERNETES_SERVICE_HOST is not set",
            hint="outside of a cluster, a kubeconfig file says where the API server is (KUBECONFIG)",
        )
    token, authority = account / "token", account / "ca.crt"

    def credentials(_fresh: bool) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {_read(token)}"}

    credentials(False)
    _read(authority)
    own = account / "namespace"
    # No proxy between a pod and its API server.
    return Access(
        url=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        credentials=credentials,
        tls=lambda: context(authority),
        namespace=_read(own) if own.exists() else "default",
        origin="the pod's service account",
    )


def is_pod(environment: Mapping[str, str], account: Path = ACCOUNT) -> bool:
    """Whether `in_pod` is the way."""
    return bool(environment.get("KUBERNETES_SERVICE_HOST")) and (account / "token").exists()


def for_context(context: str, environment: Mapping[str, str]) -> Access:
    """Access as a context of the kubeconfig file says; the current one where `context` is empty.

    The files are those of KUBECONFIG, else `~/.kube/config`. Raises ConfigError.
    """
    # Costs more memory than everything else in an agent, and no pod needs it.
    try:
        kubeconfig = importlib.import_module("launch_agent.clients.kube.kubeconfig")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"reading a kubeconfig file needs the Python package {error.name!r}, which is not installed",
            hint="pip install 'launch-agent[kubernetes]'",
        ) from error
    found: Access = kubeconfig.load(context, environment)
    return found


def context(
    authority: Path | None = None, *, certificate: tuple[Path, Path] | None = None, verify: bool = True
) -> ssl.SSLContext:
    """TLS that trusts one authority (the system's where None) and shows a certificate (its file and its
    key's). Raises ConfigError where a file is none."""
    try:
        made = ssl.create_default_context(cafile=str(authority) if authority else None)
        made.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not verify:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if certificate is not None:
            made.load_cert_chain(*map(str, certificate))
    except OSError as error:  # ssl.SSLError is one
        names = ", ".join(str(each) for each in (authority, *(certificate or ())) if each)
        raise ConfigError(
            f"the API server's authority or our certificate cannot be used ({names}): "
            f"{error.strerror or error}",
            hint="both must be PEM files",
        ) from error
    return made


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"{file} cannot be read: {reason}", hint=_MOUNTED) from error
