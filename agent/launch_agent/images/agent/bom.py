"""The bill of materials of an image: its packages, their licences, digests and needs, as CycloneDX 1.6 JSON.

Equal images have equal bills: the serial number is made of the content, and the time is the image's. The
format: https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from launch_agent import __version__
from launch_agent.assembly.contents import Kind, Package
from launch_agent.assembly.licences import is_expression
from launch_agent.assembly.wheels import normal

MEDIA_TYPE = "application/vnd.cyclonedx+json"
_ROOT = "image"


def document(
    packages: Sequence[Package],
    *,
    name: str,
    digest: str = "",
    base: str = "",
    base_digest: str = "",
    hashes: Mapping[str, str] | None = None,
    system: str = "debian",
    epoch: int = 0,
) -> bytes:
    """The bill of an image called `name`. `hashes` maps Python packages to their wheels' digests, `system` is
    the distribution of the base's packages, `epoch` the image's time in seconds since 1970."""
    ordered = sorted(packages, key=lambda each: (each.kind.value, normal(each.name), each.version))
    refs = {(each.kind, normal(each.name)): _purl(each, system) for each in ordered}
    components = [_component(each, system, hashes or {}) for each in ordered]
    if base:
        components.insert(0, _base(base, base_digest))
    root: dict[str, Any] = {"type": "container", "bom-ref": _ROOT, "name": name or "image"}
    if digest:
        root["version"] = digest
    value: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {
                "components": [{"type": "application", "name": "launch-agent", "version": __version__}]
            },
            "component": root,
        },
        "components": components,
        "dependencies": [
            {"ref": _ROOT, "dependsOn": [each["bom-ref"] for each in components]},
            *_needs(ordered, refs),
        ],
    }
    plain = json.dumps(value, sort_keys=True, ensure_ascii=False)
    value["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, plain)}"
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False).encode()


def _component(package: Package, system: str, hashes: Mapping[str, str]) -> dict[str, Any]:
    ref = _purl(package, system)
    value: dict[str, Any] = {
        "type": "library",
        "bom-ref": ref,
        "name": package.name,
        "version": package.version,
        "purl": ref,
    }
    if package.summary:
        value["description"] = package.summary
    if package.licence:
        is_told = is_expression(package.licence)
        value["licenses"] = [
            {"expression": package.licence} if is_told else {"license": {"name": package.licence}}
        ]
    digest = hashes.get(normal(package.name), "") if package.kind is Kind.PYTHON else ""
    if digest:
        value["hashes"] = [{"alg": "SHA-256", "content": digest.partition(":")[2]}]
    if package.size:
        value["properties"] = [{"name": "launch-agent:bytes", "value": str(package.size)}]
    return value


def _base(name: str, digest: str) -> dict[str, Any]:
    value = {"type": "container", "bom-ref": f"base:{name}", "name": name}
    return value | ({"version": digest} if digest else {})


def _needs(packages: Sequence[Package], refs: Mapping[tuple[Kind, str], str]) -> Iterator[Mapping[str, Any]]:
    """Which package needs which, as far as both are there."""
    for package in packages:
        needed = (refs.get((package.kind, normal(need))) for need in package.needs)
        if found := sorted({ref for ref in needed if ref}):
            yield {"ref": refs[package.kind, normal(package.name)], "dependsOn": found}


def _purl(package: Package, system: str) -> str:
    """https://github.com/package-url/purl-spec: a Debian or Alpine package names its distribution."""
    name, version = package.name, quote(package.version, safe=".-_~")
    if package.kind is Kind.PYTHON:
        return f"pkg:pypi/{quote(normal(name), safe='.-_')}@{version}"
    return f"pkg:{package.kind.value}/{system}/{quote(name, safe='.-_')}@{version}"
