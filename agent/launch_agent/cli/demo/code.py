"""The demo's jobs that are code: written, published as jobs, and what was built of them removed.

Nothing is pulled: their Dockerfile starts from the image that the demo's other jobs run in. It carries a
label of this very demo, by which its images are found again.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from launch_agent.cli import job_code
from launch_agent.cli.demo import repository
from launch_agent.cli.demo.jobs import Act, Origin
from launch_agent.queues.jobs import JobStore
from launch_agent.queues.session import Session

_LABEL = "launch-agent.demo"


class CodeJobs:
    """`environment` is what an agent needs beside its own to fetch them, `line` what to tell of them."""

    def __init__(self, folder: Path, image: str) -> None:
        self.environment: dict[str, str] = {}
        self._folder = folder
        self._image = image
        self._label = f"{_LABEL}={uuid.uuid4().hex}"
        self._told: list[str] = []

    @property
    def line(self) -> str:
        return "; ".join(self._told)

    def publish(self, stack: ExitStack, session: Session, act: Act) -> bool:
        """Make the job, and say whether it could be; a repository is served until the stack closes."""
        name = act.job.name
        folder = self._folder / "code" / name
        folder.mkdir(parents=True, exist_ok=True)
        files = self._files(act.job.script)
        if act.job.origin is Origin.GIT:
            try:
                served = stack.enter_context(repository.served(folder, files))
            except repository.NotPossible as why:
                self._told.append(f"{name} is left out: {why}")
                return False
            self.environment["GIT_SSL_CAINFO"] = str(served.authority)
            kind, place = "git", served.url
        else:
            for path, text in files.items():
                (folder / path).write_text(text)
            kind, place = "code", str(folder)
        wanted = job_code.Wanted(name=name, environment={**os.environ, **self.environment})
        made = job_code.of(kind, place, wanted)
        act.reference = JobStore(session).publish(made.job, project="demo", code=made.files).name
        self._told.append(f"{name} from {place if kind == 'git' else 'a folder'}")
        return True

    def remove_images(self) -> None:
        """Remove what was built of them from the engine."""
        from launch_agent.clients.docker_engine import connect, speaking

        engine = connect()
        try:
            with speaking("remove the images that the demo built"):
                for image in engine.images(filters={"label": self._label}):
                    engine.remove_image(image["Id"], force=True)
        finally:
            engine.close()

    def _files(self, script: str) -> Mapping[str, str]:
        return {
            "Dockerfile.wandb": (
                f"FROM {self._image}\nLABEL {self._label}\nCOPY train.sh /job/\n"
                'ENTRYPOINT ["sh", "/job/train.sh"]\n'
            ),
            "train.sh": f"{script}\n",
        }
