"""The tables of the server, in SQLAlchemy Core; portable between SQLite and PostgreSQL.

Moments are seconds since 1970 as floats (the server's clock is passed in, so tests can move it). Public ids
are random texts: a database that is made anew must not hand out ids that an agent has seen before, since
agents name containers and Kubernetes objects after them. `items.seq` grows with every push: the order.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# Raised when a table changes in a way that an older database does not have; see Store.open.
SCHEMA_VERSION = 1

metadata = MetaData()

settings = Table(
    "settings",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("username", String(128), nullable=False),
    Column("entity", String(128), nullable=False),
    Column("created_at", Double, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("entity", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("access", String(32), nullable=False, default="PRIVATE"),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("entity", "name"),
)

resource_configs = Table(
    "resource_configs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("entity", String(128), nullable=False),
    Column("resource", String(64), nullable=False),
    Column("config", Text, nullable=False),  # {"resource_args": {resource: …}}
    Column("variables", Text, nullable=False),  # {name: {"schema": …, "description": …}}
    Column("created_at", Double, nullable=False),
)

queues = Table(
    "queues",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("entity", String(128), nullable=False),
    Column("project", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("access", String(16), nullable=False),
    Column("prioritization", String(16), nullable=False),
    Column("config_id", String(32), ForeignKey("resource_configs.id"), nullable=True),
    Column("external_links", Text, nullable=False, default='{"links": []}'),
    Column("created_by", String(32), nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("entity", "project", "name"),
)

agents = Table(
    "agents",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("entity", String(128), nullable=False),
    Column("project", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("hostname", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("queue_ids", Text, nullable=False),  # a JSON list: a queue may be deleted under its agents
    Column("status", String(32), nullable=False),
    Column("stop_polling", Boolean, nullable=False, default=False),
    Column("created_at", Double, nullable=False),
    Column("heartbeat_at", Double, nullable=False),
)

items = Table(
    "items",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("queue_id", String(32), ForeignKey("queues.id", ondelete="CASCADE"), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("spec", Text, nullable=False),
    Column("author", String(128), nullable=False),
    Column("mutation_id", String(255), nullable=True),
    Column("created_at", Double, nullable=False),
    Column("leased_at", Double, nullable=True),
    Column("lease_ends_at", Double, nullable=True),
    Column("claimed_at", Double, nullable=True),
    Column("ended_at", Double, nullable=True),
    Column("deliveries", Integer, nullable=False, default=0),
    Column("stop_requested", Boolean, nullable=False, default=False),
    Column("agent_id", String(32), nullable=True),
    Column("run_id", String(32), nullable=True),  # runs.id
    Column("run_name", String(128), nullable=True),
    UniqueConstraint("queue_id", "mutation_id"),
    # The two orders in which a pop looks at a queue's pending items.
    Index("items_by_priority", "queue_id", "state", "priority", "seq"),
    Index("items_by_age", "queue_id", "state", "seq"),
    Index("items_leases", "state", "lease_ends_at"),
    Index("items_agent", "agent_id", "state"),
    Index("items_run", "run_id"),
    sqlite_autoincrement=True,
)

# What went wrong with an item (kind "error", the last one counts) and what it was warned of.
item_notes = Table(
    "item_notes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("item_id", String(32), ForeignKey("items.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("stage", String(64), nullable=False),
    Column("files", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("entity", String(128), nullable=False),
    Column("project", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("stopped", Boolean, nullable=False, default=False),
    Column("initialised", Boolean, nullable=False, default=False),
    Column("exit_code", Integer, nullable=True),
    Column("fields", Text, nullable=False, default="{}"),  # what upsertBucket told, by its field names
    Column("config", Text, nullable=False, default="{}"),
    Column("summary", Text, nullable=False, default="{}"),
    Column("user_id", String(32), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("heartbeat_at", Double, nullable=False),
    UniqueConstraint("entity", "project", "name"),
)

# Lines of a run's streams: history, events, output. `number` is the offset that the client gave.
run_lines = Table(
    "run_lines",
    metadata,
    Column("run_id", String(32), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("stream", String(16), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("line", Text, nullable=False),
)

run_files = Table(
    "run_files",
    metadata,
    Column("run_id", String(32), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(512), primary_key=True),
    Column("size", Integer, nullable=False),
    Column("md5", String(32), nullable=False),
    Column("updated_at", Double, nullable=False),
)

# Versions of artifacts. A pending one has no number yet.
artifacts = Table(
    "artifacts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("entity", String(128), nullable=False),
    Column("project", String(128), nullable=False),
    Column("type", String(128), nullable=False),
    Column("collection", String(128), nullable=False),
    Column("version", Integer, nullable=True),
    Column("state", String(16), nullable=False),
    Column("digest", String(128), nullable=False),
    Column("algorithm", String(32), nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("metadata", Text, nullable=False, default="{}"),
    Column("client_id", String(128), nullable=False, default="", index=True),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("entity", "project", "collection", "version"),
    Index("artifacts_digest", "entity", "project", "collection", "digest"),
)

artifact_aliases = Table(
    "artifact_aliases",
    metadata,
    Column("artifact_id", String(32), ForeignKey("artifacts.id", ondelete="CASCADE"), primary_key=True),
    Column("alias", String(128), primary_key=True),
)

artifact_manifests = Table(
    "artifact_manifests",
    metadata,
    Column("id", String(32), primary_key=True),
    Column(
        "artifact_id", String(32), ForeignKey("artifacts.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("kind", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
)

# Files of artifacts and of manifests; `owner_id` is the id of the one or the other.
artifact_files = Table(
    "artifact_files",
    metadata,
    Column("owner_id", String(32), primary_key=True),
    Column("name", String(512), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("md5", String(32), nullable=False),
    Column("updated_at", Double, nullable=False),
)
