"""Puts requests about objects together, and takes lists apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from launch_agent.clients.kube.channel import Call, secret_texts
from launch_agent.clients.kube.objects import Object, Page, Resource

MANAGER = "launch-agent"


def request(
    method: str,
    resource: Resource,
    namespace: str,
    name: str,
    *,
    does: str,
    query: Mapping[str, str] | None = None,
    body: Any = None,
    content: str = "application/json",
    again: bool = True,
    part: str = "",
    named: str = "",
) -> Call:
    """A request about an object, or about all of its kind where `name` is empty. `does` is the verb for
    messages, `named` the name for them where it is in the body; `again` is whether twice is once."""
    scope = f"/namespaces/{quote(namespace, safe='')}" if resource.namespaced and namespace else ""
    path = f"{resource.root}{scope}/{resource.plural}"
    path += "".join(f"/{quote(each, safe='')}" for each in (name, part) if each)
    return Call(
        method=method,
        path=path,
        action=f"{does} {_what(resource, namespace, name or named)}",
        query=query,
        body=body,
        content=content,
        repeatable=again,
        hidden=secret_texts(body),
    )


def writing(*, dry_run: bool, strict: bool) -> dict[str, str]:
    """What every request says that writes."""
    return {
        "dryRun": "All" if dry_run else "",
        "fieldValidation": "Strict" if strict else "",
        "fieldManager": MANAGER,
    }


def page_of(answer: Mapping[str, Any], resource: Resource) -> Page | None:
    """A part of a list; None where the answer is none."""
    meta, items = answer.get("metadata"), answer.get("items") or []
    if not isinstance(meta, Mapping) or not isinstance(items, list):
        return None
    found: list[Object] = [
        item for item in items if isinstance(item, dict) and isinstance(item.get("metadata"), dict)
    ]
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}
    for item in found:  # the server leaves these out of lists
        item.update(kind)
    version, after = meta.get("resourceVersion"), meta.get("continue")
    return Page(items=found, version=str(version or ""), next=str(after or ""))


def _what(resource: Resource, namespace: str, name: str) -> str:
    if name:
        place = f"{namespace}/{name}" if resource.namespaced and namespace else name
        return f"{resource.kind} {place}"
    if not resource.namespaced:
        return resource.plural
    return f"{resource.plural} in {namespace or 'all namespaces'}"
