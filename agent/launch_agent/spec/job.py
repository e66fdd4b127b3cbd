"""A job as its artifact describes it: where its code is, and how it is started.

`wandb-job.json` has been written by many releases of the official client. What they all share is read; the
rest is ignored, and so is what is null. A command that is one text is split as a shell would.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from launch_agent.errors import SourceError

FILE = "wandb-job.json"
FROZEN = "requirements.frozen.txt"
PATCH = "diff.patch"
# 3.11, 3.11.7 or what pyenv writes; the platform's own python where it is none of these.
_RUNTIME = re.compile(
    r"(?:python|cpython)?-?(?P<version>3\.\d{1,2})(?:\.\d+)?(?:[a-z0-9.+-]*)?", re.IGNORECASE
)
_LONGEST = 4096
# The first release of the official client that knows `build_context` and `dockerfile`.
_KNOWS_PATHS = "0.17.0"
# How its type system says "a mapping of which nothing is known".
_NO_TYPES = {"wb_type": "typedDict", "params": {"type_map": {}}}


class SourceKind(StrEnum):
    """Where a job's code is; the words of `wandb-job.json`."""

    REPO = "repo"
    ARTIFACT = "artifact"
    IMAGE = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`name` is `entity/project/name:vN`, the very version that was resolved.

    Of `image`, `remote` (with `commit`) and `artifact` the one is set that `kind` asks for. `runtime` is
    `3.11` or the like, or empty. `build_context` and `dockerfile` are paths: of a folder in the code, and of
    a file in that folder. `base_image` is an image that the code is to run in without a build. `submodules`
    says whether the repository's are fetched too, None where the job leaves that to its agent. `frozen` is
    the list of packages that the author had, `patch` what was not committed.
    """

    name: str
    kind: SourceKind
    image: str = ""
    remote: str = ""
    commit: str = ""
    artifact: str = ""
    entry_point: Sequence[str] = ()
    runtime: str = ""
    build_context: str = ""
    dockerfile: str = ""
    base_image: str = ""
    is_notebook: bool = False
    submodules: bool | None = None
    frozen: bytes = field(default=b"", repr=False)
    patch: bytes = field(default=b"", repr=False)


def parse(raw: object, *, name: str, frozen: bytes = b"", patch: bytes = b"") -> Job:
    """Read the content of `wandb-job.json`. Raises SourceError saying what is missing or wrong."""
    if not isinstance(raw, Mapping):
        raise _wrong(name, f"{FILE} is not a mapping")
    source = raw.get("source")
    if not isinstance(source, Mapping):
        raise _wrong(name, "it has no source")
    try:
        kind = SourceKind(str(raw.get("source_type")))
    except ValueError as error:
        raise _wrong(
            name, f"its source_type {str(raw.get('source_type'))[:40]!r} is none of repo, artifact, image"
        ) from error
    git = source.get("git") if kind is SourceKind.REPO else None
    if kind is SourceKind.REPO and not isinstance(git, Mapping):
        raise _wrong(name, "its source has no git part")
    job = Job(
        name=name,
        kind=kind,
        image=_text(source, "image", name) if kind is SourceKind.IMAGE else "",
        remote=_text(git, "remote", name) if git else "",
        commit=_text(git, "commit", name) if git else "",
        artifact=_text(source, "artifact", name) if kind is SourceKind.ARTIFACT else "",
        entry_point=_words(source.get("entrypoint"), name),
        runtime=runtime_of(_text(raw, "runtime", name)),
        build_context=_text(source, "build_context", name),
        dockerfile=_text(source, "dockerfile", name),
        base_image=_text(source, "base_image", name),
        is_notebook=source.get("notebook") is True,
        submodules=_switch(git, "submodules", name) if git else None,
        frozen=frozen,
        patch=patch,
    )
    if not (job.image or job.remote or job.artifact):
        raise _wrong(name, f"its source names no {kind}")
    return job


def to_json(job: Job) -> dict[str, Any]:
    """What `parse` reads: the content of `wandb-job.json`, with the keys that the official client writes."""
    source: dict[str, Any]
    if job.kind is SourceKind.IMAGE:
        source = {"image": job.image}
    elif job.kind is SourceKind.REPO:
        git: dict[str, Any] = {"remote": job.remote, "commit": job.commit}
        if job.submodules is not None:
            git["submodules"] = job.submodules
        source = {"git": git, "notebook": job.is_notebook}
    else:
        source = {"artifact": job.artifact, "notebook": job.is_notebook}
    paths = {
        name: value
        for name, value in (("build_context", job.build_context), ("dockerfile", job.dockerfile))
        if value
    }
    base = {"base_image": job.base_image} if job.base_image else {}
    entry_point = {"entrypoint": list(job.entry_point)} if job.entry_point else {}
    return {
        "_version": _KNOWS_PATHS if paths else "v0",
        "source_type": job.kind.value,
        "source": {**source, **entry_point, **paths, **base},
        "input_types": _NO_TYPES,
        "output_types": _NO_TYPES,
        "runtime": job.runtime,
    }


def runtime_of(text: str) -> str:
    """`3.11` of any usual way to write a Python version; empty where the text is none."""
    found = _RUNTIME.fullmatch(text.strip())
    return found["version"] if found else ""


def _text(parent: Mapping[str, Any], key: str, name: str) -> str:
    value = parent.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise _wrong(name, f"its {key} is not a text of one line")
    return value.strip()


def _switch(parent: Mapping[str, Any], key: str, name: str) -> bool | None:
    value = parent.get(key)
    if value is not None and not isinstance(value, bool):
        raise _wrong(name, f"its {key} is neither true nor false")
    return value


def _words(value: object, name: str) -> Sequence[str]:
    if not value:
        return ()
    if isinstance(value, str):
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            raise _wrong(name, f"its entrypoint cannot be split into words: {error}") from error
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        # A part of a command that is empty came from two blanks in what the author typed.
        return tuple(word for word in value if word)
    raise _wrong(name, "its entrypoint is not a list of texts")


def _wrong(name: str, why: str) -> SourceError:
    return SourceError(f"the job {name} cannot be used: {why}", hint="create the job anew")
