"""What the HTTP handlers of one server share."""

from __future__ import annotations

from dataclasses import dataclass, field

from launch_agent.server.auth import Keyring
from launch_agent.server.filestore import FileStore
from launch_agent.server.hub import Hub
from launch_agent.server.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that one request may bring, in bytes, and the longest that it may be held, in seconds."""

    graphql: int = 4 * 1024 * 1024
    stream: int = 64 * 1024 * 1024
    upload: int = 5 * 1024 * 1024 * 1024
    telemetry: int = 1024 * 1024
    hold: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One server: its store, its files, who may ask, and who waits. `public_url` is the server's address as
    clients see it; empty: as the request names it."""

    store: Store
    files: FileStore
    keyring: Keyring
    lease_seconds: float
    public_url: str = ""
    limits: Limits = field(default_factory=Limits)
    hub: Hub = field(default_factory=Hub)
