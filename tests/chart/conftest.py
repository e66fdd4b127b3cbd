"""Everything in this folder runs Helm, much of it against an API server: the marker `chart`."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The hook of a folder is called with the items of all folders."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("chart")
