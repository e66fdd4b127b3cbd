"""`launch-agent image inspect`: what is in an image, and what differs between two."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from launch_agent.cli.image import bars

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from launch_agent.assembly.contents import Package
    from launch_agent.assembly.inspection import Difference, LayerSeen, Seen
    from launch_agent.assembly.origin import Origin
    from launch_agent.clients.oci.repository import Repository

# How many packages are shown by default, and how much of a setting.
_LARGEST = 10
_WIDEST = 100


@click.command("inspect")
@click.argument("image", metavar="IMAGE")
@click.option(
    "--platform", default="", metavar="OS/ARCH", help="Which image of an index; the first by default."
)
@click.option("--packages", "show_packages", is_flag=True, help="List all packages, with their licences.")
@click.option("--bom", is_flag=True, help="Print the bill of materials (CycloneDX 1.6) and nothing else.")
@click.option("--diff", "other", default="", metavar="OTHER", help="What OTHER has more, less and changed.")
@click.option("--plain-http", is_flag=True, help="Speak HTTP to a registry that has no TLS.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    image: str, platform: str, show_packages: bool, bom: bool, other: str, plain_http: bool, as_json: bool
) -> None:
    """Show the layers of IMAGE with their sizes, and the packages in them with versions and licences.

    IMAGE is a reference, an OCI layout, or an archive of `docker save`. All its layers are read.

    \b
    launch-agent image inspect registry.example.com/ml/launch-agent:1 --packages
    launch-agent image inspect build/agent --bom > bom.json
    launch-agent image inspect ml/launch-agent:1 --diff ml/launch-agent:2
    """
    from launch_agent.cli.image import places

    with places.opened(image, plain=plain_http) as (where, place):
        seen = _look(where, platform)
        attached = list(_attached(seen, where, place))
        if bom:
            click.echo(_bill(seen, where, place))
            return
    if other:
        from launch_agent.assembly.inspection import difference

        with places.opened(other, plain=plain_http) as (where, _):
            second = _look(where, platform)
        _show_difference(difference(seen, second), as_json=as_json)
        return
    if as_json:
        click.echo(json.dumps(_as_json(seen, attached), indent=2))
        return
    for line in _lines(seen, attached, show_packages=show_packages):
        click.echo(line)


def _look(where: Origin, platform: str) -> Seen:
    from launch_agent.assembly import inspection
    from launch_agent.clients.oci.model import Platform
    from launch_agent.errors import ConfigError

    if not platform:
        there = inspection.platforms(where)
        platform = there[0] if there else "linux/amd64"
        if len(there) > 1:
            click.echo(f"of {', '.join(there)}: {platform}", err=True)
    try:
        wanted = Platform.parse(platform)
    except ValueError as error:
        raise ConfigError(f"--platform: {error}") from error
    return inspection.look(where, wanted)


def _attached(seen: Seen, where: Origin, place: Repository | None) -> Iterator[tuple[str, str]]:
    """Type and digest of what refers to the image."""
    from launch_agent.clients.oci.referrers import referrers

    if place is not None:
        for each in referrers(place, seen.digest):
            yield each.artifact_type or each.media_type, each.digest
    for each in where.referrers():
        subject = where.manifest(each).subject
        if subject is not None and subject.digest == seen.digest:
            yield each.artifact_type, each.digest


def _bill(seen: Seen, where: Origin, place: Repository | None) -> str:
    """The bill that is attached, else one that is made of what the layers hold."""
    from launch_agent.clients.oci.model import Descriptor
    from launch_agent.images.agent import bom

    for kind, digest in _attached(seen, where, place):
        if kind == bom.MEDIA_TYPE:
            manifest = where.manifest(Descriptor(media_type="", digest=digest, size=0))
            return b"".join(where.read(manifest.layers[0])).decode()
    made = bom.document(seen.packages, name=seen.name, digest=seen.digest, system=seen.system)
    return made.decode()


def _lines(seen: Seen, attached: Sequence[tuple[str, str]], *, show_packages: bool) -> Iterator[str]:
    yield f"{seen.name}  {seen.platform}"
    yield f"  digest    {seen.digest}"
    yield f"  size      {bars.size(seen.packed)} packed, {bars.size(seen.size)} unpacked"
    for title, key in (("user", "User"), ("runs", "Entrypoint"), ("checks", "Healthcheck")):
        if value := seen.settings.get(key):
            yield f"  {title:<9} {_plain(value)}"
    for kind, digest in attached:
        yield f"  attached  {kind} {digest}"
    yield ""
    yield f"{'packed':>10} {'unpacked':>10} {'files':>7}  layer"
    for layer in seen.layers:
        there = layer.contents
        yield f"{bars.size(layer.packed):>10} {bars.size(there.size):>10} {there.files:>7}  {_title(layer)}"
    yield ""
    packages = sorted(seen.packages, key=lambda each: (-each.size, each.name))
    shown = packages if show_packages else packages[:_LARGEST]
    if not shown:
        yield "no packages"
        return
    yield f"{'bytes':>10}  {'package':<32} {'version':<20} licence"
    for each in shown:
        name = each.name if each.kind.value == "pypi" else f"{each.name} ({each.kind.value})"
        yield f"{bars.size(each.size):>10}  {name:<32} {each.version:<20} {each.licence or 'not told'}"
    if left := len(packages) - len(shown):
        yield f"{'':>10}  and {left} more (--packages)"


def _title(layer: LayerSeen) -> str:
    count = len(layer.packages)
    packages = f" ({count} package{'s' if count != 1 else ''})" if count else ""
    return f"{layer.title or layer.digest}{packages}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("Test", value)
    text = " ".join(str(each) for each in value) if isinstance(value, list) else str(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _as_json(seen: Seen, attached: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "name": seen.name,
        "platform": str(seen.platform),
        "digest": seen.digest,
        "packed": seen.packed,
        "size": seen.size,
        "config": dict(seen.settings),
        "attached": [{"type": kind, "digest": digest} for kind, digest in attached],
        "layers": [
            {
                "digest": layer.digest,
                "packed": layer.packed,
                "size": layer.contents.size,
                "files": layer.contents.files,
                "title": layer.title,
                "packages": [_package(each) for each in layer.packages],
            }
            for layer in seen.layers
        ],
        "packages": [_package(each) for each in seen.packages],
    }


def _package(package: Package) -> dict[str, Any]:
    return {
        "kind": package.kind.value,
        "name": package.name,
        "version": package.version,
        "licence": package.licence,
        "bytes": package.size,
    }


def _show_difference(found: Difference, *, as_json: bool) -> None:
    if as_json:
        told = {
            "added": [_package(each) for each in found.added],
            "removed": [_package(each) for each in found.removed],
            "changed": [
                {"name": old.name, "from": old.version, "to": new.version} for old, new in found.changed
            ],
            "same_layers": found.same_layers,
            "new_layers": [layer.digest for layer in found.new_layers],
            "size": found.size,
            "packed": found.packed,
            "config": {key: list(values) for key, values in found.settings.items()},
        }
        click.echo(json.dumps(told, indent=2))
        return
    for each in found.added:
        click.echo(f"+ {each.name} {each.version} ({bars.size(each.size)})")
    for each in found.removed:
        click.echo(f"- {each.name} {each.version} ({bars.size(each.size)})")
    for old, new in found.changed:
        click.echo(f"~ {old.name} {old.version} -> {new.version}")
    for key, (before, after) in found.settings.items():
        click.echo(f"~ {key}: {_plain(before)} -> {_plain(after)}")
    sent = sum(layer.packed for layer in found.new_layers)
    click.echo(
        f"{found.same_layers} layers are the same, {len(found.new_layers)} are new ({bars.size(sent)}); "
        f"{bars.size(found.packed)} packed and {bars.size(found.size)} unpacked more"
    )
