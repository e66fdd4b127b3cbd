"""An agent's build as a process that a test can kill: python -m tests.builders.kaniko.killed JSON."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from launch_agent.builders import Parts
from launch_agent.builders.kaniko.builder import KanikoBuilder
from launch_agent.builders.kaniko.settings import Settings
from launch_agent.clients.kube import access
from launch_agent.clients.kube.api import KubeApi
from launch_agent.spec.image import ImageRef


def main() -> None:
    """`account` is a service account's folder, `url` the API server, `overlay` the partial Job."""
    from tests.builders.kaniko.test_builder import Folder, Shelf, context

    told = json.loads(sys.argv[1])
    host, _, port = told["url"].removeprefix("https://").partition(":")
    environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    found = access.in_pod(environment, Path(told["account"]))
    store = Folder("contexts", Path(told["mount"]))
    builder = KanikoBuilder(
        lambda: KubeApi(found, qps=100, burst=100, timeout=20),
        Parts(agent=told["agent"], registry=Shelf(), store=store),
        Settings(overlay=told["overlay"]),
    )
    made = context()
    ref = ImageRef.parse(f"{Shelf.repository}:{made.digest}")
    builder.build(made, ref, log=lambda _: None, stop=threading.Event())


if __name__ == "__main__":
    main()
