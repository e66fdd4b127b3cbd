"""Puts requests about objects together, and takes lists apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from launch_agent.clients.kube.channel import Call, secret_texts
from launch_agent.clients.kube.errors import Invalid
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
    messages, `named` the name for them where it is in the body; `again` is whether twice is once.

    Raises Invalid where a name is none: `..` would be a request about something else.
    """
    action = f"{does} {_what(resource, namespace, name or named)}"
    path = [resource.root]
    if resource.namespaced and namespace:
        path += ["namespaces", segment(namespace, action)]
    path += [resource.plural, *(segment(each, action) for each in (name, part) if each)]
    return Call(
        method=method,
        path="/".join(path),
        action=action,
        query=query,
        body=body,
        content=content,
        repeatable=again,
        hidden=secret_texts(body),
    )


def request_for(
    method: str, resource: Resource, namespace: str, name: str, *, does: str, **more: Any
) -> Call:
    """A request about one object. Without its name it would be one about all of its kind."""
    if not name:
        segment(name, f"{does} one of {_what(resource, namespace, '')}")
    return request(method, resource, namespace, name, does=does, **more)


def segment(text: str, action: str) -> str:
    """A name as a part of a path."""
    if text in ("", ".", "..") or "/" in text:
        raise Invalid(f"{text!r} is no name", action=action, reason="Invalid")
    return quote(text, safe="")


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
