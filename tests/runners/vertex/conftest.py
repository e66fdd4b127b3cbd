"""A Vertex AI whose jobs run, and one whose jobs are moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.custom_jobs import CustomJobs
from tests.fakes.google_tokens import GoogleTokens
from tests.runners.vertex.bench import VertexBench


@pytest.fixture(scope="session")
def shared_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleTokens]:
    with GoogleTokens(tmp_path_factory.mktemp("google")) as made:
        yield made


@pytest.fixture
def tokens(shared_tokens: GoogleTokens, monkeypatch: pytest.MonkeyPatch) -> GoogleTokens:
    """Google's token endpoint, and the agent's key for it where google-auth looks first."""
    shared_tokens.disabled, shared_tokens.lifetime = False, 3600
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(shared_tokens.key_file))
    return shared_tokens


@pytest.fixture
def server() -> Iterator[CustomJobs]:
    with CustomJobs(token="ya29.") as made:
        yield made


@pytest.fixture
def desk(server: CustomJobs, tokens: GoogleTokens, tmp_path: Path) -> Iterator[VertexBench]:
    made = VertexBench(server, tokens, tmp_path)
    yield made
    made.close()
