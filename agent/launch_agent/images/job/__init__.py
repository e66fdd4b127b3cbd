"""From a job's code to what a builder builds: the context, its Dockerfile, and the tag that names both.

Nothing is built here, and nothing is copied: the context is the folder that the code was fetched into. Where
the builder packs it, `BuildContext.pack` gives the archive, the same for the same content.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch_agent.errors import ImageError
from launch_agent.images.job import archive, choice, dependencies, render
from launch_agent.images.job.dependencies import OURS, Dependencies
from launch_agent.images.job.ignore import Ignore
from launch_agent.images.job.render import DEFAULT_PYTHON, Recipe
from launch_agent.images.job.tag import tag
from launch_agent.images.job.tree import Tree
from launch_agent.spec.build import BuildContext, BuildRecipe
from launch_agent.spec.job import Job

GENERATED = f"{OURS}/Dockerfile"
DOCKERIGNORE, WANDBIGNORE = ".dockerignore", ".wandbignore"
# What no image needs, and what differs from one checkout to the next; for Dockerfiles that we write.
_NEVER = f"**/.git\n**/__pycache__\n**/*.pyc\n**/.DS_Store\n{DOCKERIGNORE}\n{WANDBIGNORE}\n"
_LARGEST_TEXT = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What queue, run and config say of the build.

    `dockerfile` is the run's (`overrides.dockerfile`); `base_image` the queue's (`base_image_of`); `platform`
    is `linux/amd64` or the like, empty for the builder's own; `has_mounts` whether the builder is BuildKit;
    `user` the numeric id that the job runs as (0 where the platform wants root, as SageMaker does).
    """

    dockerfile: str = ""
    base_image: str = ""
    platform: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    has_mounts: bool = False
    user: int = 1000


def base_image_of(builder: Mapping[str, Any]) -> str:
    """The image that a queue's `builder` settings name; empty where none. Raises ImageError."""
    for key in ("accelerator", "cuda"):
        part = builder.get(key)
        if isinstance(part, Mapping) and part.get("base_image"):
            return _text(part["base_image"], f"builder.{key}.base_image")
    return _text(builder.get("base_image") or "", "builder.base_image")


def plan(
    code: Path,
    job: Job,
    options: Options,
    *,
    revision: str = "",
    origin: str = "",
    write: bool = True,
) -> BuildContext:
    """What is to be built of the code in a folder, and why so.

    `revision` and `origin` are the checkout's, for labels. With `write` our own files are put into the
    folder, and what the build does not see is removed from it: the folder must be a checkout of the agent's
    own. Raises ImageError.
    """
    if job.is_notebook:
        raise ImageError(
            f"the job {job.name} runs a notebook, which images are not made for",
            hint="convert it ('jupyter nbconvert --to script') and create the job from the script",
        )
    root = choice.context_root(code, job)
    chosen = choice.choose(root, job, named=options.dockerfile)
    path = chosen.path or GENERATED
    tree = _tree(root, path, is_ours=not chosen.path)
    why, text, recipe = chosen.why, "", None
    if chosen.path:
        text = _read(root, path) or ""
    else:
        text, needs = _written(tree, job, options)
        added = {**needs.added, GENERATED: text.encode()}
        tree = Tree(root=tree.root, ignores=tree.ignores, kept=tree.kept | set(added), added=added)
        why = f"{chosen.why}; {_base(job, options)}; {needs.why}"
        recipe = _recipe(job, options, needs)
    entries = tree.entries()
    digest = tag(root, entries, dockerfile=path, build_args=options.build_args, platform=options.platform)
    if write:
        _prepare(tree)
    return BuildContext(
        directory=root,
        dockerfile=path,
        digest=digest,
        why=why,
        text=text,
        is_generated=not chosen.path,
        build_args=options.build_args,
        platform=options.platform,
        labels=_labels(job, revision, origin),
        recipe=recipe,
        pack=lambda: archive.pack(root, entries),
    )


def _recipe(job: Job, options: Options, needs: Dependencies) -> BuildRecipe:
    """What the Dockerfile that is written does, for builders that read none."""
    python = job.runtime or DEFAULT_PYTHON
    return BuildRecipe(
        base=options.base_image or f"docker.io/library/python:{python}-slim",
        python=python,
        method=needs.method.value,
        requirements=needs.file,
        files=tuple(needs.copied),
        whole=needs.whole,
        entry_point=tuple(job.entry_point),
        user=options.user,
        home=render.HOME,
        workdir=render.WORK,
    )


def _tree(root: Path, dockerfile: str, *, is_ours: bool) -> Tree:
    """The context with what is left out of it. BuildKit's `<Dockerfile>.dockerignore` goes before the
    other."""
    own = f"{dockerfile}{DOCKERIGNORE}"
    name = own if not is_ours and (root / own).is_file() else DOCKERIGNORE
    ignores = [Ignore(_NEVER, file="built-in patterns")] if is_ours else []
    for file in (name, WANDBIGNORE):
        text = _read(root, file)
        if text is not None:
            ignores.append(Ignore(text, file=file))
    # The builder reads these itself, as Docker does. Beside a Dockerfile of ours there is no such file any
    # more: what it leaves out is gone, and it might leave out our own files.
    kept = set() if is_ours else {path for path in (dockerfile, name) if (root / path).is_file()}
    return Tree(root=root, ignores=ignores, kept=frozenset(kept))


def _written(tree: Tree, job: Job, options: Options) -> tuple[str, Dependencies]:
    def seen(path: str) -> str | None:
        return None if tree.is_left_out(path) else _read(tree.root, path)

    needs = dependencies.find(seen, frozen=job.frozen)
    recipe = Recipe(
        python=job.runtime or DEFAULT_PYTHON,
        dependencies=needs,
        entry_point=job.entry_point,
        base=options.base_image,
        user=options.user,
        has_mounts=options.has_mounts,
    )
    return render.dockerfile(recipe), needs


def _base(job: Job, options: Options) -> str:
    version = f"Python {job.runtime}, the job's" if job.runtime else f"Python {DEFAULT_PYTHON}, the default"
    return f"{version}, on the queue's {options.base_image}" if options.base_image else version


def _prepare(tree: Tree) -> None:
    """Make the folder on disk what the build sees, for builders that look at it themselves."""
    try:
        for path in list(tree.left_out()):
            path.unlink()
        for folder, _, _ in os.walk(tree.root, topdown=False):
            if Path(folder) != tree.root and not os.listdir(folder):  # noqa: PTH208 - only whether there is any
                Path(folder).rmdir()
        for name, data in tree.added.items():
            target = tree.root / name
            if target.is_symlink():
                target.unlink()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    except OSError as error:
        raise ImageError(f"preparing the build context: {error.filename}: {error.strerror}") from error


def _labels(job: Job, revision: str, origin: str) -> dict[str, str]:
    """The image format's own names. No part of the tag: the same content from elsewhere is the same image."""
    labels = {"title": job.name.rpartition("/")[2].partition(":")[0], "source": origin, "revision": revision}
    return {f"org.opencontainers.image.{name}": value for name, value in labels.items() if value}


def _read(root: Path, path: str) -> str | None:
    """A text within the context; None where there is none. Raises ImageError for one that is not usable."""
    file = root / path
    if not file.resolve().is_relative_to(root.resolve()) or not file.is_file():
        return None
    try:
        if file.stat().st_size > _LARGEST_TEXT:
            raise ImageError(f"{path!r} of the job's code is larger than {_LARGEST_TEXT} bytes")
        return file.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise ImageError(f"reading {path!r} of the job's code: {error.strerror}") from error


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise ImageError(f"the queue's {key} is not a text", hint="it names an image")
    return value.strip()
