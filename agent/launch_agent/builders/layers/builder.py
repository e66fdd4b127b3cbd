"""One build without an engine: base, packages, code, and the manifest last.

A build that is stopped or killed leaves layers in the registry that no image points to, which registries
collect, and nothing else.
"""

from __future__ import annotations

import platform as machine
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from launch_agent.assembly import image, layer, transfer
from launch_agent.assembly.entries import Entry, Kind, of_folder
from launch_agent.assembly.wheels import Target
from launch_agent.builders.attempt import Attempt
from launch_agent.builders.layers import base as bases
from launch_agent.builders.layers.packages import VENV, Installing, packages
from launch_agent.builders.pushing import Pushing
from launch_agent.clients.http import HttpSettings
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.dockerconfig import DockerConfig
from launch_agent.clients.oci.model import Platform
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import BuildError, ImageError
from launch_agent.registries import Registry
from launch_agent.spec.build import BuildContext, BuildRecipe
from launch_agent.spec.image import ImageRef

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CAN = "build with 'docker' or 'kaniko', which run Dockerfiles"


class LayersBuilder(Pushing):
    """Puts images into `registry`. `timeout` is the most seconds of one build, `cache` the folder that keeps
    layers of packages, `environment` what pip and the registries' clients are configured by. `plain` allows
    HTTP to the registry where it has no TLS."""

    has_mounts = False

    def __init__(
        self,
        registry: Registry,
        *,
        cache: Path,
        environment: Mapping[str, str],
        platform: str = "",
        plain: bool = False,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(registry)
        self._cache = cache
        self._environment = environment
        self._platform = platform
        self._plain = plain
        self._timeout = timeout
        self._clock = clock

    def verify(self) -> None:
        self._registry.verify()

    def sweep(self) -> None:
        """Nothing: what a build leaves is the registry's to collect."""

    def close(self) -> None:
        """Nothing is kept open between builds."""

    def build(
        self, context: BuildContext, ref: ImageRef, *, log: Callable[[str], None], stop: threading.Event
    ) -> ImageRef:
        recipe = _buildable(context)
        attempt = Attempt(log=log, stop=stop, timeout=self._timeout, clock=self._clock)
        try:
            return self._build(context, recipe, ref, attempt.line, attempt.check)
        except BuildError as error:
            error.log = attempt.tail
            raise
        except (ImageError, OSError) as error:
            hint = error.hint if isinstance(error, ImageError) else ""
            raise BuildError(f"the build failed: {error}", log=attempt.tail, hint=hint) from error

    def _build(
        self,
        context: BuildContext,
        recipe: BuildRecipe,
        ref: ImageRef,
        line: Callable[[str], None],
        check: Callable[[], None],
    ) -> ImageRef:
        base_ref = ImageRef.parse(recipe.base).canonical()
        target = self._place(ref.canonical(), is_target=True)
        origin = self._place(base_ref, is_target=base_ref.host == target.client.host)
        try:
            line(f"base image {base_ref}")
            base = bases.read(origin, base_ref, self._wanted(context))
            wants = Target(python=recipe.python, platform=base.platform)
            python = bases.python(base, origin, recipe.python)
            check()
            how = Installing(log=line, check=check, environment=self._environment)
            needed = packages(context, recipe, wants, python, self._cache, how)
            check()
            with tempfile.TemporaryDirectory(prefix="launch-agent-layers-") as folder:
                code = _code(context, recipe, Path(folder, "code.tar.gz"), check)
                made = image.assemble(base, [needed, code], _settings(base, context, recipe))
                check()
                line(f"pushing {ref}")
                transfer.push(made, target, base_from=origin, tag=ref.tag, progress=lambda *_: check())
            return ImageRef(host=ref.host, path=ref.path, tag=ref.tag, digest=made.digest)
        finally:
            target.client.close()
            origin.client.close()

    def _wanted(self, context: BuildContext) -> Platform:
        own = _ARCHITECTURES.get(machine.machine(), machine.machine())
        return Platform.parse(context.platform or self._platform or f"linux/{own}")

    def _place(self, ref: ImageRef, *, is_target: bool) -> Repository:
        config = DockerConfig(self._environment)
        credentials = (
            self._registry.credentials if is_target else lambda: config.credentials(ref.host, ref.path)
        )
        settings = HttpSettings(environment=self._environment)
        client = RegistryClient(
            ref.host, credentials=credentials, settings=settings, plain=is_target and self._plain
        )
        return Repository(client, ref.path)


def _buildable(context: BuildContext) -> BuildRecipe:
    """Raises BuildError for what takes more than putting files together."""
    if not context.is_generated or context.recipe is None:
        raise BuildError(
            f"the job has a Dockerfile of its own ({context.dockerfile}), and 'layers' runs none", hint=_CAN
        )
    recipe = context.recipe
    if recipe.method not in ("requirements", "nothing"):
        raise BuildError(
            f"the job's packages are installed by {recipe.method}, which 'layers' does not run", hint=_CAN
        )
    if recipe.whole:
        raise BuildError(
            "the job's code is itself a package to be built, and 'layers' runs no code of a job", hint=_CAN
        )
    return recipe


def _code(context: BuildContext, recipe: BuildRecipe, into: Path, check: Callable[[], None]) -> layer.Layer:
    home, work = recipe.home.strip("/"), recipe.workdir.strip("/")

    def entries() -> Iterator[Entry]:
        yield from of_folder(context.directory, work)
        for folder in (home, work):
            yield Entry(path=folder, kind=Kind.FOLDER, mode=0o775)

    owner = layer.Owner(uid=recipe.user)
    return layer.write(entries(), into, title="the job's code", owner=owner, below=home, check=check)


def _settings(base: image.Base, context: BuildContext, recipe: BuildRecipe) -> image.Settings:
    path = base.env.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return image.Settings(
        entry_point=recipe.entry_point,
        env={
            "VIRTUAL_ENV": f"/{VENV}",
            "PATH": f"/{VENV}/bin:{path}",
            "HOME": recipe.home,
            "USER": "launch",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        user=f"{recipe.user}:0",
        working_dir=recipe.workdir,
        labels=context.labels,
    )
