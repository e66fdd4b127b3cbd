"""Plain scalars as Go's YAML reads them, and so Helm, kubectl and Argo CD.

YAML 1.1 leaves room, and Go and Python use it differently: `1e3`, `0o17` and all digits after a zero are
numbers to Go and texts to Python, `y` is true, `1:30` is a text and not the 90 of base 60. A values file is
checked for what Helm will make of it. The rules are those of go.yaml.in/yaml/v2, resolve.go.
"""

from __future__ import annotations

import math
import re

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
}
# strconv.ParseInt with base 0, after underscores are taken out.
_INTEGERS = (
    (re.compile(r"([-+]?)(0|[1-9][0-9]*)"), 10),
    (re.compile(r"([-+]?)0[oO]?([0-7]+)"), 8),
    (re.compile(r"([-+]?)0[xX]([0-9a-fA-F]+)"), 16),
    (re.compile(r"([-+]?)0[bB]([01]+)"), 2),
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_FIRST = frozenset("+-.0123456789")


def resolve(text: str) -> str | bool | int | float | None:
    """The value of a scalar that is neither quoted nor tagged. A date stays the text that it is."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _FIRST:
        return text
    plain = text if text[0] == "." else text.replace("_", "")
    number = None if text[0] == "." else _integer(plain)
    if number is not None:
        return number
    if _FLOAT.fullmatch(plain) and math.isfinite(value := float(plain)):
        return value
    return text


def _integer(plain: str) -> int | None:
    for pattern, base in _INTEGERS:
        if found := pattern.fullmatch(plain):
            value = int(found[1] + found[2], base)
            unsigned = not found[1]
            return value if _SMALLEST <= value <= (_LARGEST if unsigned else 2**63 - 1) else None
    return None
