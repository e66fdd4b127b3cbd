"""How the runner reaches its cluster: as the pod that it runs in, or as a context of a kubeconfig file."""

from __future__ import annotations

import os
from collections.abc import Callable

from launch_agent.clients.kube import access
from launch_agent.clients.kube.api import KubeApi
from launch_agent.runners.kubernetes.options import Options


def connecting(options: Options) -> Callable[[], KubeApi]:
    """What makes the client of the options' cluster. It raises ConfigError where nothing says how to reach
    one; whether it can be reached is seen at the first request."""

    def connect() -> KubeApi:
        environment = dict(os.environ)
        account = options.credentials
        if not options.context and access.is_pod(environment, account):
            found = access.in_pod(environment, account)
        else:
            found = access.for_context(options.context, environment)
        return KubeApi(found, qps=options.qps, burst=options.burst, timeout=options.timeout)

    return connect
