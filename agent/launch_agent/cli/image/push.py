"""`launch-agent image push`: an image on disk into a registry."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launch_agent.assembly.origin import Layout
    from launch_agent.clients.oci.model import Descriptor
    from launch_agent.clients.oci.repository import Repository


@click.command("push")
@click.argument("image", metavar="IMAGE")
@click.argument("reference", metavar="REF")
@click.option(
    "--mount-from",
    multiple=True,
    metavar="REPOSITORY",
    help="Repository of the same registry that may have some of the layers; they are linked, not sent.",
)
@click.option("--sign", is_flag=True, help="Sign what was pushed, by cosign.")
@click.option(
    "--sign-key", default="", metavar="KEY", help="cosign's key: a file, env://NAME, a key store's."
)
@click.option("--plain-http", is_flag=True, help="Speak HTTP to a registry that has no TLS.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but the digest.")
def command(
    image: str,
    reference: str,
    mount_from: tuple[str, ...],
    sign: bool,
    sign_key: str,
    plain_http: bool,
    quiet: bool,
) -> None:
    """Put IMAGE, an OCI layout or an archive on disk, into a registry as REF.

    Blobs go first, what the registry has is not sent, and the tag comes last: a push that breaks leaves no
    image, and the next one goes on. All platforms and bills of materials of a layout go along.

    \b
    launch-agent image push build/agent registry.example.com/ml/launch-agent:1
    launch-agent image push agent.tar registry.example.com/ml/launch-agent:1 --mount-from ml/base
    """
    from launch_agent.assembly import transfer
    from launch_agent.cli.image import bars, places
    from launch_agent.images.agent import signing
    from launch_agent.spec.image import ImageRef

    ref = ImageRef.parse(reference).canonical()
    if sign or sign_key:
        signing.check(sign_key, os.environ)
    layout = places.layout(image)
    with places.repository(ref, plain=plain_http) as target, bars.progress(quiet=quiet) as report:
        mounts = neighbours(target, mount_from, layout)
        total = {each.digest: each.size for each in _layers(layout)}

        pushed = transfer.push_layout(
            layout,
            target,
            tag=ref.tag,
            mount_from=mounts,
            progress=lambda blob, sent: report(
                f"pushing {blob.digest[7:19]}", sent, total.get(blob.digest, 0)
            ),
        )
    found = f"{ref.repository}@{pushed.digest}"
    if sign or sign_key:
        signing.sign(found, sign_key, os.environ)
    click.echo(found)


def neighbours(target: Repository, named: Sequence[str], layout: Layout | None = None) -> list[Repository]:
    """The repositories of the target's registry that may have layers: those that are named, and that of the
    image's base, where the image says it."""
    from launch_agent.assembly import origin
    from launch_agent.clients.oci.repository import Repository
    from launch_agent.errors import ImageError
    from launch_agent.spec.image import ImageRef

    found = {}
    for text in named:
        ref = ImageRef.parse(text)
        if ref.host not in ("", target.client.host):
            raise ImageError(
                f"{text} is in another registry than {target}", hint="layers are linked within one registry"
            )
        found[ref.path] = Repository(target.client, ref.path)
    for manifest in origin.images(layout) if layout is not None else ():
        told = manifest.value.get("annotations") or {}
        base = str(told.get("org.opencontainers.image.base.name", ""))
        if not base:
            continue
        with contextlib.suppress(ImageError):
            named_base = ImageRef.parse(base).canonical()
            if named_base.host == target.client.host:
                found[named_base.path] = Repository(target.client, named_base.path)
    return list(found.values())


def _layers(layout: Layout) -> list[Descriptor]:
    from launch_agent.assembly import origin

    return [layer for image in origin.images(layout) for layer in image.layers]
