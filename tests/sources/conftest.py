"""A Git server of each protocol, one for all tests of a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import git_servers
from tests.fakes.git_servers import HttpsServer, Repository, SshServer

_PLAIN = str.maketrans("[]/", "---")


@pytest.fixture(scope="session")
def git_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose repositories both servers serve."""
    root = tmp_path_factory.mktemp("repositories")
    for name in ("open", "private"):
        (root / name).mkdir()
    return root


def _unavailable(error: git_servers.NoServer) -> None:
    if os.environ.get("CI"):
        pytest.fail(str(error))
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def ssh(git_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    try:
        with git_servers.ssh_server(tmp_path_factory.mktemp("sshd") / "etc", git_root) as server:
            yield server
    except git_servers.NoServer as error:
        _unavailable(error)


@pytest.fixture(scope="session")
def https(git_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsServer]:
    try:
        with git_servers.https_server(tmp_path_factory.mktemp("https") / "etc", git_root) as server:
            yield server
    except git_servers.NoServer as error:
        _unavailable(error)


@pytest.fixture
def repository(git_root: Path, request: pytest.FixtureRequest) -> Repository:
    """An empty repository, below `open/`."""
    return Repository(git_root / "open" / f"{request.node.name.translate(_PLAIN)}.git")
