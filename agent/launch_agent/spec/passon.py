"""What runs and builds on the cluster get from the agent's own pod: the proxy, and whom to trust.

The chart says so by two variables of the agent: `LAUNCH_AGENT_PASS_ON` names those of its variables that the
others get as well, `LAUNCH_AGENT_CA_CONFIGMAP` is `name/key` of a ConfigMap with certificate authorities that
is in every namespace of runs and builds. What a queue's configuration sets itself wins over both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from launch_agent.errors import ConfigError
from launch_agent.spec.secret import Secret

PASS_ON = "LAUNCH_AGENT_PASS_ON"  # noqa: S105 - the name of a variable
AUTHORITIES = "LAUNCH_AGENT_CA_CONFIGMAP"
# Where the authorities are mounted, as in the agent's own pod, and the variables by which OpenSSL, requests,
# curl, git, the AWS SDKs and gRPC are told of them.
AUTHORITIES_FOLDER = "/etc/launch-agent/ca"
AUTHORITIES_FILE = f"{AUTHORITIES_FOLDER}/ca.crt"
AUTHORITIES_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassOn:
    """`env` may be seen by anybody; `secret_env` may not: the address of a proxy can hold a password.
    `authorities` is `name/key` of a ConfigMap; empty for none."""

    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, Secret] = field(default_factory=dict)
    authorities: str = ""


def from_environment(environment: Mapping[str, str]) -> PassOn:
    """What the agent's variables say. Raises ConfigError for an authorities' place that is none."""
    authorities = environment.get(AUTHORITIES, "")
    name, slash, key = authorities.partition("/")
    if authorities and not (name and slash and key):
        raise ConfigError(
            f"{authorities!r} is not the place of certificate authorities",
            path=AUTHORITIES,
            hint="write NAME/KEY, of a ConfigMap in the namespaces of the runs",
        )
    names = [name.strip() for name in environment.get(PASS_ON, "").split(",")]
    given = {name: environment[name] for name in names if name and environment.get(name)}
    secret = {name: Secret(value) for name, value in given.items() if "@" in value}
    return PassOn(
        env={name: value for name, value in given.items() if name not in secret},
        secret_env=secret,
        authorities=authorities,
    )
