"""Licences of Python packages in SPDX's words, as far as the packages tell.

Newer packages give an SPDX expression (PEP 639). Older ones have classifiers, a closed list, and a text of
any kind, of which the common spellings are known here and the rest is kept as it is, if it is short.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Trove classifiers below "License :: OSI Approved ::". The ones that name no version are given none.
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Universal Permissive License (UPL)": "UPL-1.0",
    "zlib/libpng License": "Zlib",
}
_TEXTS = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2 0": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license 2 0": "Apache-2.0",
    "apache license version 2 0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd 2 clause": "BSD-2-Clause",
    "bsd 3 clause": "BSD-3-Clause",
    "bsd 3 clause license": "BSD-3-Clause",
    "3 clause bsd license": "BSD-3-Clause",
    "isc": "ISC",
    "isc license": "ISC",
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "mozilla public license 2 0": "MPL-2.0",
    "mozilla public license 2 0 mpl 2 0": "MPL-2.0",
    "mpl 2 0": "MPL-2.0",
    "psf": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*\+?")
_LONGEST = 60


def licence_of(expression: str, classifiers: Sequence[str], text: str) -> str:
    """An SPDX expression where one can be told, else the package's own short words; empty where it says
    nothing that fits a line."""
    if expression.strip():
        return expression.strip()
    plain = " ".join(re.sub(r"[^a-z0-9]+", " ", text.lower()).split())
    if plain in _TEXTS:
        return _TEXTS[plain]
    # A text that is an identifier is more exact than a classifier: "BSD License" has three meanings.
    if text.strip() in known():
        return text.strip()
    found = [
        _CLASSIFIERS.get(name, name)
        for each in classifiers
        if each.startswith("License :: ") and (name := each.rpartition(" :: ")[2]) != "OSI Approved"
    ]
    if found:
        return " OR ".join(dict.fromkeys(found)) if all(_ID.fullmatch(each) for each in found) else found[0]
    short = " ".join(text.split())
    return short if len(short) <= _LONGEST else ""


def known() -> frozenset[str]:
    """The identifiers that are given here."""
    return frozenset({*_CLASSIFIERS.values(), *_TEXTS.values()})


def is_expression(text: str) -> bool:
    """Whether a text has the form of an SPDX expression: identifiers, joined by AND, OR and WITH. A single
    word is one where it is known or has a version: "Proprietary" is none."""
    words = text.replace("(", " ").replace(")", " ").split()
    if len(words) == 1 and not (text in known() or any(each.isdigit() for each in text)):
        return False
    names, joints = words[::2], words[1::2]
    return bool(names) and all(map(_ID.fullmatch, names)) and set(joints) <= {"AND", "OR", "WITH"}
