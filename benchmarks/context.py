"""A build context of 10,000 files and 500 MB: how fast it is named and packed, and in how much memory.

What a build gets is packed; what a store gets is compressed as well; a container of a run without a build
gets the code packed below a folder.

`LAUNCH_AGENT_BENCH_FILES` and `LAUNCH_AGENT_BENCH_MB` make it smaller, for machines that others use too. The
work is done in a process of its own, whose peak of resident memory is what is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure

FILES, MEGABYTES = 10_000, 500

# Prints seconds for the plan (walk, Dockerfile, tag), for the archive, for the same compressed and for the
# code of a run without a build, the archive's bytes, and the peak in KiB.
_WORK = """
import json, resource, sys, time
from pathlib import Path
from launch_agent.images.job import Options, code_folder, plan
from launch_agent.images.job.archive import gzipped
from launch_agent.spec.job import Job, SourceKind

job = Job(name="bench", kind=SourceKind.ARTIFACT, runtime="3.11", entry_point=("python", "train.py"))
began = time.perf_counter()
context = plan(Path(sys.argv[1]), job, Options(), write=False)
planned = time.perf_counter()
size = sum(len(piece) for piece in context.pack())
packed = time.perf_counter()
for _ in gzipped(context.pack()):
    pass
compressed = time.perf_counter()
for _ in code_folder.packer(Path(sys.argv[1]), job)("home/launch/job"):
    pass
copied = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([planned - began, packed - planned, compressed - packed, copied - compressed, size, peak]))
"""


def measure() -> Iterator[Figure]:
    """Speeds in MB a second (files in the disk's cache), memory in MB."""
    files = int(os.environ.get("LAUNCH_AGENT_BENCH_FILES", FILES))
    megabytes = int(os.environ.get("LAUNCH_AGENT_BENCH_MB", MEGABYTES))
    with tempfile.TemporaryDirectory(prefix="context-") as folder:
        _fill(Path(folder), files, megabytes)
        seconds_to_plan, seconds_to_pack, seconds_to_compress, seconds_to_copy, size, peak = _work(folder)
    subject = f"{files} files, {megabytes} MB"
    yield Figure(
        name="context: named",
        subject=subject,
        value=megabytes / seconds_to_plan,
        unit="MB/s",
        more_is_better=True,
    )
    yield Figure(
        name="context: packed",
        subject=subject,
        value=size / 1e6 / seconds_to_pack,
        unit="MB/s",
        goal=100,
        more_is_better=True,
    )
    yield Figure(
        name="context: packed and compressed",
        subject=subject,
        value=size / 1e6 / seconds_to_compress,
        unit="MB/s",
        more_is_better=True,
    )
    yield Figure(
        name="context: packed for a run without a build",
        subject=subject,
        value=size / 1e6 / seconds_to_copy,
        unit="MB/s",
        goal=100,
        more_is_better=True,
    )
    yield Figure(name="context: memory", subject=subject, value=peak * 1024 / 1e6, unit="MB", goal=100)


def _fill(folder: Path, files: int, megabytes: int) -> None:
    """Files of one size, a hundred to a folder, that do not compress."""
    content = os.urandom(megabytes * 1_000_000 // files)
    for number in range(files):
        target = folder / f"d{number // 100}" / f"f{number}.bin"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(number.to_bytes(4) + content[4:])


def _work(folder: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", _WORK, folder], capture_output=True, text=True, check=True, timeout=600
    )
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found
