"""Images for tests of the control flow: ready ones are as they are, others as the test says."""

from __future__ import annotations

from collections.abc import Callable

from launch_agent.control.builder_choice import BuilderChoice
from launch_agent.control.job_images import JobImage
from launch_agent.sources.image import ready_image
from launch_agent.spec.model import RunIdentity, RunSpec


class ScriptedImages:
    """`made` maps jobs to their images; a job that is not there has to be built, and no builder is active."""

    def __init__(self, builder: str = "noop", made: dict[str, JobImage] | None = None) -> None:
        self._choice = BuilderChoice(type=builder, why="the test says so")
        self.made = made or {}

    def ready(self, image: str) -> JobImage:
        return JobImage(reference=ready_image(image))

    def of(self, spec: RunSpec, identity: RunIdentity, *, is_stopped: Callable[[], bool]) -> JobImage:
        if spec.job not in self.made:
            raise self._choice.refusal(spec.job)
        return self.made[spec.job]
