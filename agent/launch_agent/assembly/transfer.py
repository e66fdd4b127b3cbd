"""Images into registries: the layers, the configuration, and the manifest last.

A layer of the base is linked from the base's own repository where that is in the same registry, left where it
is where the target has it already, and copied through this process where neither holds; it is never written
to disk. A push that breaks leaves layers that nothing points to, which registries collect; never an image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from launch_agent.assembly.image import Image
from launch_agent.assembly.layer import Layer
from launch_agent.clients.oci.model import Descriptor, Manifest
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import ImageError

_AT_ONCE = 4


def push(
    image: Image,
    target: Repository,
    *,
    base_from: Repository | None,
    tag: str = "",
    mount_from: Sequence[Repository] = (),
    progress: Callable[[Descriptor, int], object] = lambda blob, sent: None,
) -> Descriptor:
    """Put an image into a repository, under its digest and `tag`. Returns what points to it.

    `base_from` is where the base's layers are, None where it has none; `mount_from` are repositories of the
    target's registry that may have some of the layers. `progress` is called with each layer and how many of
    its bytes have been sent. Raises RegistryError.
    """
    if image.base.layers and base_from is None:
        raise ImageError(f"the layers of {image.base.name} are needed, and it is not said where they are")

    def copy(below: Descriptor) -> None:
        if base_from is None or target.has_blob(below.digest):
            return
        if base_from.client.host == target.client.host and target.mount(below, base_from):
            return
        chunks = base_from.read_blob(below)
        target.push_stream(chunks, below.media_type, progress=lambda sent: progress(below, sent))

    def send(layer: Layer) -> None:
        target.push_blob(
            layer.descriptor,
            layer.path,
            mount_from=mount_from,
            progress=lambda sent: progress(layer.descriptor, sent),
        )

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="push") as pool:
        waiting = [pool.submit(copy, below) for below in image.base.layers]
        waiting += [pool.submit(send, layer) for layer in image.layers]
        for each in waiting:
            each.result()
    target.push_blob(image.manifest.config, image.config)
    return target.push_manifest(image.manifest, tag)


def push_index(index: Manifest, target: Repository, tag: str) -> Descriptor:
    """Put an index of images that are there already under a tag."""
    return target.push_manifest(index, tag)
