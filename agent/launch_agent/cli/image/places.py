"""Where images are, as the command line writes it: a reference, a folder, an archive."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from launch_agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launch_agent.assembly.origin import Layout, Origin
    from launch_agent.clients.oci.repository import Repository
    from launch_agent.spec.image import ImageRef

LAYOUT, ARCHIVE, REGISTRY = "oci-layout", "docker-archive", "registry"


def on_disk(text: str) -> Path | None:
    """The path that a text means, with `oci-layout:` or `docker-archive:` before it or not; None for the
    reference of an image in a registry."""
    kind, colon, rest = text.partition(":")
    if colon and kind in (LAYOUT, ARCHIVE):
        if not rest:
            raise ConfigError(f"{text!r} names no path", hint=f"{kind}:PATH")
        return Path(rest)
    if text.startswith(("/", "./", "../")) or Path(text).exists():
        return Path(text)
    return None


def layout(text: str) -> Layout:
    """An image on disk. Raises ConfigError where the text means none, ImageError where it is broken."""
    from launch_agent.assembly.origin import Layout

    path = on_disk(text)
    if path is None:
        raise ConfigError(f"{text!r} is neither a folder nor a file", hint="name an OCI layout or an archive")
    return Layout(path)


@contextmanager
def repository(ref: ImageRef, *, plain: bool = False) -> Iterator[Repository]:
    """The repository of a reference, opened by what Docker's configuration knows; `plain` allows HTTP."""
    from launch_agent.clients.http import HttpSettings
    from launch_agent.clients.oci.client import RegistryClient
    from launch_agent.clients.oci.dockerconfig import DockerConfig
    from launch_agent.clients.oci.repository import Repository

    config = DockerConfig(os.environ)
    client = RegistryClient(
        ref.host,
        credentials=lambda: config.credentials(ref.host, ref.path),
        settings=HttpSettings(environment=os.environ),
        plain=plain,
    )
    try:
        yield Repository(client, ref.path)
    finally:
        client.close()


@contextmanager
def opened(text: str, *, plain: bool = False) -> Iterator[tuple[Origin, Repository | None]]:
    """The image that a text means, and its repository where it is in one."""
    from launch_agent.assembly.origin import InRegistry
    from launch_agent.spec.image import ImageRef

    if on_disk(text) is not None:
        yield layout(text), None
        return
    ref = ImageRef.parse(text).canonical()
    with repository(ref, plain=plain) as place:
        yield InRegistry(place, ref.digest or ref.tag), place


def cache_folder() -> Path:
    """Where what is kept between builds lies."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "launch-agent" / "images"
