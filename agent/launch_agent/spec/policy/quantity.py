"""Kubernetes' quantities: `500m`, `64Gi`, `2e3`, and the sizes of Java that Spark has in their place."""

from __future__ import annotations

import re
from decimal import Decimal

_FORM = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_JAVA = re.compile(r"([0-9]+)([kmgtp]?)b?", re.IGNORECASE)


def quantity(value: object) -> Decimal:
    """A quantity as a plain number: CPUs, bytes, pieces. Raises ValueError for what is none."""
    text = "" if isinstance(value, bool) else str(value).strip()
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{value!r} is no quantity")
    number, exponent, suffix = found.groups()
    plain = Decimal(number + (exponent or ""))
    if suffix in _BINARY:
        return plain * Decimal(2 ** _BINARY[suffix])
    return plain.scaleb(_DECIMAL[suffix]) if suffix else plain


def java_size(value: object) -> Decimal:
    """A size in Spark's words, where `m` is a mebibyte; a number alone is mebibytes. Raises ValueError."""
    found = _JAVA.fullmatch(str(value).strip())
    if found is None:
        raise ValueError(f"{value!r} is no size")
    number, unit = found.groups()
    return Decimal(number) * Decimal(1024 ** "bkmgtp".index(unit.lower() or "m"))
