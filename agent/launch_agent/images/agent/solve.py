"""`--with PACKAGE` -> locked packages: pip solves, bound to the versions that the agent's own lock has.

Nothing is installed. What pip would take is taken with its hash, so that the build that follows takes the
same.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from launch_agent.assembly import fetching, pip_words
from launch_agent.assembly.wheels import Target, normal
from launch_agent.clients.oci.model import Platform
from launch_agent.errors import ConfigError, ImageError
from launch_agent.images.agent.plan import Index, Package

_SECONDS = 600
_BOUND = r"(===|~=|==|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
# A name with extras and versions. An address, a path, an option or a marker is more than is asked for.
_WANTED = re.compile(
    rf"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9._,\s-]+\])?\s*({_BOUND}(\s*,\s*{_BOUND})*)?",
    re.ASCII,
)


def solve(
    wanted: Sequence[str],
    own: Sequence[Package],
    python: str,
    platform: str,
    *,
    index: Index,
    environment: Mapping[str, str],
) -> list[Package]:
    """The packages beside the agent's `own` that `wanted` (`awscli`, `awscli>=2`) needs on a platform.

    Raises ConfigError for what is no requirement, ImageError where there is no solution or no index.
    """
    for each in wanted:
        if not _WANTED.fullmatch(each.strip()):
            raise ConfigError(
                f"--with {each!r} names no package of an index",
                hint="a name, or one with a version: awscli>=1.40",
            )
    target = Target(python=python, platform=Platform.parse(platform))
    with tempfile.TemporaryDirectory(prefix="launch-agent-with-") as folder:
        bounds, report = Path(folder, "bounds.txt"), Path(folder, "report.json")
        bounds.write_text("".join(f"{each.name}=={each.version}\n" for each in own))
        command = [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
            *("--target", str(Path(folder, "none")), "--only-binary", ":all:", *target.tags()),
            *("--constraint", str(bounds), "--report", str(report), "--no-input"),
            *("--disable-pip-version-check", "--retries", "2", "--timeout", "20", "--", *wanted),
        ]
        source = fetching.Source(
            environment=environment, url=index.url, user=index.user, password=index.password, ca=index.ca
        )
        try:
            with fetching.configured(source, Path(folder)) as variables:
                done = subprocess.run(  # noqa: S603 - pip, with requirements that are no options
                    command, env=variables, capture_output=True, text=True, timeout=_SECONDS, check=False
                )
        except subprocess.TimeoutExpired as error:
            raise ImageError(f"pip did not solve --with within {_SECONDS} s") from error
        if done.returncode:
            raise _failure(wanted, _without(index, done.stderr), python, platform)
        told = json.loads(report.read_text())
    locked = {each.name for each in own}
    found = []
    for each in told["install"]:
        name = normal(each["metadata"]["name"])
        digest = each["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256", "")
        if name in locked:
            continue
        if not digest:
            raise ImageError(f"the index tells no hash of {name}")
        why = "--with" if each.get("requested") else f"--with {', '.join(wanted)}"
        version = each["metadata"]["version"]
        found.append(Package(name=name, version=version, hashes=(f"sha256:{digest}",), why=(why,)))
    return found


def _without(index: Index, said: str) -> str:
    """pip shows addresses without their passwords; this is for where it does not."""
    secret = index.password.reveal()
    return said.replace(secret, "****").replace(quote(secret, safe=""), "****") if secret else said


def _failure(wanted: Sequence[str], said: str, python: str, platform: str) -> ImageError:
    lines = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.strip()]
    names = ", ".join(wanted)
    if "ResolutionImpossible" in said or "conflicting dependencies" in said:
        return ImageError(
            f"--with {names} does not go with the versions of the agent's own packages",
            hint="name another version of it; pip says: " + " / ".join(lines[:3])[:300],
        )
    # An index that does not answer has no distribution either: what is wrong with it goes first.
    told = pip_words.failure(said, platform, python)
    what = pip_words.without_wheel(said)
    if what and told.message.startswith(what):
        return ImageError(
            f"--with {names} has no wheel for Python {python} on {platform}",
            hint="is the name right, and does the index have it? " + lines[-1][:200],
        )
    return ImageError(f"--with {names}: {told.message}", hint=told.hint)
