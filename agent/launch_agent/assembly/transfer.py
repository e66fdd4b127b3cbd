"""Images into registries: the layers, the configuration, and the manifest last.

A layer of the base is linked from the base's own repository where that is in the same registry, left where it
is where the target has it already, and copied through this process where neither holds; it is never written
to disk. A push that breaks leaves layers that nothing points to, which registries collect; never an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from launch_agent.assembly import origin
from launch_agent.assembly.attachment import Attachment
from launch_agent.assembly.image import Image
from launch_agent.assembly.layer import Layer
from launch_agent.assembly.origin import Layout
from launch_agent.clients.oci import referrers
from launch_agent.clients.oci.model import Descriptor, Manifest
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import ImageError

_AT_ONCE = 4
Progress = Callable[[Descriptor, int], object]


def push(
    image: Image,
    target: Repository,
    *,
    base_from: Repository | None,
    tag: str = "",
    mount_from: Sequence[Repository] = (),
    read_base: Callable[[Descriptor], Iterable[bytes]] | None = None,
    progress: Progress = lambda blob, sent: None,
) -> Descriptor:
    """Put an image into a repository, under its digest and `tag`. Returns what points to it.

    `base_from` is the repository where the base's layers are, None where they are in none; `read_base` gives
    their bytes where they are nearer than that. `mount_from` are repositories of the target's registry that
    may have some of the layers. `progress` is called with each layer and how many of its bytes have been
    sent. Raises RegistryError.
    """
    read = read_base or (base_from.read_blob if base_from is not None else None)
    if image.base.layers and read is None:
        raise ImageError(f"the layers of {image.base.name} are needed, and it is not said where they are")

    def copy(below: Descriptor) -> None:
        if read is None or target.has_blob(below.digest, pushing=True):
            return
        near = [] if base_from is None else [base_from]
        for place in (*near, *mount_from):
            if place.client.host == target.client.host and target.mount(below, place):
                return
        target.push_stream(read(below), below.media_type, progress=lambda sent: progress(below, sent))

    def send(layer: Layer) -> None:
        target.push_blob(
            layer.descriptor,
            layer.path,
            mount_from=mount_from,
            progress=lambda sent: progress(layer.descriptor, sent),
        )

    _at_once(
        [
            *(partial(copy, below) for below in image.base.layers),
            *(partial(send, each) for each in image.layers),
        ]
    )
    target.push_blob(image.manifest.config, image.config)
    return target.push_manifest(image.manifest, tag)


def _at_once(calls: Sequence[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="push") as pool:
        for each in [pool.submit(call) for call in calls]:
            each.result()


def push_index(index: Manifest, target: Repository, tag: str) -> Descriptor:
    """Put an index of images that are there already under a tag."""
    return target.push_manifest(index, tag)


def push_attached(attached: Sequence[Attachment], target: Repository) -> None:
    """Put what is said of images there, which must be there already, or may come later."""
    for each in attached:
        for digest, content in each.blobs.items():
            target.push_blob(Descriptor(media_type="", digest=digest, size=len(content)), content)
        referrers.attach(target, each.manifest)


def push_layout(
    layout: Layout,
    target: Repository,
    *,
    tag: str = "",
    mount_from: Sequence[Repository] = (),
    progress: Progress = lambda blob, sent: None,
) -> Descriptor:
    """Put all that a layout holds into a repository, byte for byte: blobs, images, what refers to them, and
    the tag last. What a push before it has brought is not sent again."""
    top = layout.top()
    found = origin.images(layout)

    def send(blob: Descriptor) -> None:
        content = _InLayout(layout=layout, blob=blob)
        target.push_blob(blob, content, mount_from=mount_from, progress=lambda sent: progress(blob, sent))

    blobs = {each.digest: each for image in found for each in (*image.layers, image.config)}
    _at_once([partial(send, blob) for blob in blobs.values()])
    for image in found if top.is_index else ():
        target.push_manifest(image)
    pushed = target.push_manifest(top, tag)
    for described in layout.referrers():
        manifest = layout.manifest(described)
        for blob in {each.digest: each for each in (*manifest.layers, manifest.config)}.values():
            send(blob)
        if manifest.subject is not None:
            referrers.attach(target, manifest)
    return pushed


@dataclass(frozen=True, slots=True, kw_only=True)
class _InLayout:
    """A blob of a layout, readable from any place."""

    layout: Layout
    blob: Descriptor

    @property
    def size(self) -> int:
        return self.blob.size

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        skipped = 0
        for chunk in self.layout.read(self.blob):
            part = chunk[max(0, offset - skipped) : max(0, offset + size - skipped)]
            skipped += len(chunk)
            if part:
                yield part
