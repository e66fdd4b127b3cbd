"""A job's code on its way to a run whose image does not hold it: a job that runs without a build."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from launch_agent.spec.secret import Secret

# Where a run has its code, as in the images that are built for jobs.
WORKDIR = "/home/launch/job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Code that a runner puts at `WORKDIR` before the run begins; the run can write there.

    One of two is set. `pack` gives it as a tar archive, piece by piece, with all paths below the folder that
    it is told. `order` are the files, by name, by which `launch-agent fetch` gets it on the target itself;
    they hold credentials. `requirements` asks for the packages of the code's `requirements.txt`.
    """

    pack: Callable[[str], Iterator[bytes]] | None = field(default=None, repr=False, compare=False)
    order: Mapping[str, Secret] = field(default_factory=dict)
    requirements: bool = False
