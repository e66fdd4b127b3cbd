"""No cloud."""

from __future__ import annotations

from launch_agent import plugins
from launch_agent.environments import Environment
from launch_agent.spec.podpatch import PodPatch


def test_nothing_is_needed_and_nothing_handed_on() -> None:
    environment: Environment = plugins.load("environments", "local").create({"type": "local"})
    environment.verify()
    assert environment.session() is None
    assert environment.build_pod() == PodPatch()
    assert (environment.type, environment.region, environment.project) == ("local", "", "")
