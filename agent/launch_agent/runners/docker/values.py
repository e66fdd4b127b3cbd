"""Reads the values of `docker run` options: pure functions from what YAML holds to what the engine takes.

Each raises ValueError where the value is not of its form; the table in `arguments` knows the form's name.
Numbers may come as texts (templates make texts), a list option may come as one value, and an option of pairs
as a mapping. What only the engine can know (does the device exist, is the network there) is left to it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from typing import Any

from launch_agent.runners.env import name, pairs, scalar

Json = Any

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", re.IGNORECASE)
# Docker's sizes are powers of 1024, whatever the unit's spelling.
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def text(value: object) -> str:
    """A text, or a number meant as one (a user id, a host name of digits)."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
        raise ValueError
    if "\0" in (result := str(value)):
        raise ValueError
    return result


def texts(value: object) -> list[str]:
    """One text or a list of them."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [text(item) for item in value]
    return [text(value)]


def words(value: object) -> list[str]:
    """A command: a list as it is (empty texts included), one text as one word."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) and all(isinstance(item, (str, int, float)) for item in value):
        return [str(item) for item in value]
    raise ValueError


def integer(value: object) -> int:
    return int(text(value))


def switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError


def size(value: object) -> int:
    """Bytes: `512m`, `2gb`, `1.5GiB`, or a number of bytes."""
    found = _SIZE.fullmatch(text(value).strip())
    if found is None:
        raise ValueError
    return int(float(found[1]) * 1024 ** _UNITS[found[2].lower()])


def size_or_unlimited(value: object) -> int:
    return -1 if str(value) == "-1" else size(value)


def nano_cpus(value: object) -> int:
    """Billionths of a CPU."""
    cpus = float(text(value))
    if not 0 < cpus < 1_000_000:  # also refuses nan and inf
        raise ValueError
    return round(cpus * 1_000_000_000)


def optional_pairs(value: object) -> dict[str, str]:
    """Like `pairs`, and a name alone has an empty value (labels)."""
    if isinstance(value, Mapping):
        return {name(key): "" if item is None else scalar(item) for key, item in value.items()}
    return {name(item.partition("=")[0]): item.partition("=")[2] for item in texts(value)}


def ulimits(value: object) -> list[Json]:
    """`nofile=1024:4096`; one number is both limits."""
    result = []
    for limit, limits in pairs(value).items():
        soft, _, hard = limits.partition(":")
        result.append({"Name": limit, "Soft": int(soft), "Hard": int(hard or soft)})
    return result


def volumes(value: object) -> list[str]:
    """`source:target[:options]`. The source is an absolute path or the name of a volume."""
    result = texts(value)
    for item in result:
        parts = item.split(":")
        if len(parts) not in (2, 3) or not parts[0] or not parts[1].startswith("/"):
            raise ValueError
        if parts[0].startswith((".", "~")):
            raise ValueError("a relative path")
    return result


def mounts(value: object) -> list[Json]:
    """`type=bind,source=/data,target=/data,readonly`, the same as a mapping, or a list of either."""
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [_mount(item if isinstance(item, Mapping) else _fields(text(item))) for item in items]


def _mount(fields: Mapping[str, object]) -> Json:
    kind = "volume"
    known: dict[str, Json] = {}
    for key, value in fields.items():
        match key.lower():
            case "type":
                kind = text(value)
            case "source" | "src":
                known["Source"] = text(value)
            case "target" | "destination" | "dst":
                known["Target"] = text(value)
            case "readonly" | "ro" | "read-only" | "read_only":
                known["ReadOnly"] = value == "" or switch(value)
            case "bind-propagation":
                known["BindOptions"] = {"Propagation": text(value)}
            case "tmpfs-size":
                known.setdefault("TmpfsOptions", {})["SizeBytes"] = size(value)
            case "tmpfs-mode":
                known.setdefault("TmpfsOptions", {})["Mode"] = int(text(value), 8)
            case "volume-nocopy":
                known["VolumeOptions"] = {"NoCopy": value == "" or switch(value)}
            case _:
                raise ValueError(f"unknown field {key!r}")
    if "Target" not in known or kind not in ("bind", "volume", "tmpfs", "npipe"):
        raise ValueError
    return {"Type": kind, **known}


def _fields(item: str) -> dict[str, str]:
    """`a=b,c` as Docker reads it: comma-separated values with quotes. A field alone has the value ''."""
    rows = list(csv.reader([item]))
    fields = rows[0] if len(rows) == 1 else []
    return {field.partition("=")[0].strip(): field.partition("=")[2] for field in fields}


def tmpfs(value: object) -> dict[str, str]:
    """`/run` or `/run:size=64m,mode=1777`."""
    result = {}
    for item in texts(value):
        path, _, options = item.partition(":")
        if not path.startswith("/"):
            raise ValueError
        result[path] = options
    return result


def devices(value: object) -> list[Json]:
    """`/dev/fuse`, `/dev/a:/dev/b`, `/dev/a:/dev/b:rwm`."""
    result = []
    for item in texts(value):
        parts = item.split(":")
        if len(parts) > 3 or not parts[0].startswith("/"):
            raise ValueError
        rights = parts.pop() if len(parts) > 1 and re.fullmatch("[rwm]{1,3}", parts[-1]) else "rwm"
        if len(parts) > 2:
            raise ValueError
        result.append({"PathOnHost": parts[0], "PathInContainer": parts[-1], "CgroupPermissions": rights})
    return result


def hosts(value: object) -> list[str]:
    """`name:address`, or a mapping of names to addresses."""
    items = [f"{k}:{text(v)}" for k, v in value.items()] if isinstance(value, Mapping) else texts(value)
    items = [re.sub("^([^:=]+)=", r"\1:", item) for item in items]
    if not all(re.fullmatch(r"[^:\s]+:\S+", item) for item in items):
        raise ValueError
    return items


def ports(value: object) -> dict[str, list[Json]]:
    """`[[address:]port:]container-port[/protocol]`."""
    result: dict[str, list[Json]] = {}
    for item in texts(value):
        rest, _, protocol = item.partition("/")
        address, host, inside = ["", "", *rest.rsplit(":", 2)][-3:]
        if (
            not inside.isdecimal()
            or (host and not host.isdecimal())
            or protocol not in ("", "tcp", "udp", "sctp")
        ):
            raise ValueError
        result.setdefault(f"{inside}/{protocol or 'tcp'}", []).append({"HostIp": address, "HostPort": host})
    return result


def gpus(value: object) -> list[Json]:
    """`all`, a number, `device=0,1`, `count=2,capabilities=utility`, or these as a mapping."""
    request: dict[str, Json] = {"Driver": "", "Count": 0, "Capabilities": [["gpu"]], "Options": {}}
    if isinstance(value, Mapping):
        fields: Mapping[str, object] = value
    elif re.fullmatch(r"all|-?\d+", plain := text(value).strip("\"' ")):
        fields = {"count": plain}
    elif plain.startswith("device="):
        # Docker wants quotes inside the text here ('"device=0,1"'); without them nothing else can be meant.
        fields = {"device": re.split(r"[,\s]+", plain.removeprefix("device="))}
    else:
        fields = _fields(plain)
    for key, field in fields.items():
        match key.lower().replace("_", "-"):
            case "count":
                request["Count"] = -1 if field in ("all", -1, "-1") else _positive(field)
            case "device" | "device-ids" | "devices":
                request["DeviceIDs"] = [part for item in texts(field) for part in item.split(",")]
            case "driver":
                request["Driver"] = text(field)
            case "capabilities":
                names = [part for item in texts(field) for part in item.split(",")]
                request["Capabilities"] = [list(dict.fromkeys([*names, "gpu"]))]
            case "options":
                request["Options"] = pairs(field)
            case _:
                raise ValueError(f"unknown field {key!r}")
    if not request["Count"] and not request.get("DeviceIDs"):
        request["Count"] = -1
    if request["Count"] and request.get("DeviceIDs"):
        raise ValueError("a count and devices")
    return [request]


def _positive(value: object) -> int:
    number = integer(value)
    if number < 1:
        raise ValueError
    return number
