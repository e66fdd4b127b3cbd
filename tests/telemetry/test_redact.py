"""Credentials leave no text: the known ones and those that stand where credentials stand."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.spec.secret import Secret
from launch_agent.telemetry.redact import MASK, forget, hide, redact

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hidden() -> Iterator[Secret]:
    secret = Secret(KEY)
    hide(secret)
    yield secret
    forget(secret)


def test_a_known_secret_is_masked_wherever_it_stands(hidden: Secret) -> None:
    basic = base64.b64encode(f"api:{KEY}".encode()).decode()
    for text in (KEY, f"x{KEY}y", f"'{KEY}'", basic, f"the key {KEY} and {basic}"):
        shown = redact(text)
        assert KEY not in shown
        assert basic not in shown
        assert MASK in shown


def test_a_secret_is_known_until_it_is_forgotten_as_often_as_it_was_hidden(hidden: Secret) -> None:
    hide(Secret(KEY))
    forget(Secret(KEY))
    assert redact(KEY) == MASK
    forget(hidden)
    assert redact(KEY) == KEY
    forget(hidden)
    hide(hidden)
    assert redact(KEY) == MASK


def test_a_secret_that_holds_another_leaves_nothing_of_itself() -> None:
    short, long = Secret("abcdefgh"), Secret("abcdefghijklmnop")
    hide(short)
    hide(long)
    try:
        assert redact("<abcdefghijklmnop>") == f"<{MASK}>"
    finally:
        forget(short)
        forget(long)


def test_a_text_that_is_too_short_to_be_a_secret_is_not_searched_for() -> None:
    for short in ("", "a", "test"):
        hide(Secret(short))
        assert redact("a test") == "a test"
        forget(Secret(short))


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Basic {KEY}",
        f"authorization: Bearer {KEY}",
        f"{{'Authorization': 'Basic {KEY}'}}",
        f'{{"authorization":"token {KEY}"}}',
        f"Authorization={KEY}",
        f"sent Bearer {KEY} there",
        f"WANDB_API_KEY={KEY}",
        f"WANDB_API_KEY='{KEY}'",
        f"wandb_api_key: {KEY}",
        f'"_wandb_api_key": "{KEY}"',
        f"{{'_wandb_api_key': '{KEY}'}}",
        f"X-Api-Key: {KEY}",
        f"api-key={KEY}&x=1",
        f"apikey={KEY}",
        f"password={KEY}",
        f'"password": "{KEY}"',
        f"AWS_SECRET_ACCESS_KEY={KEY}",
        f"aws_session_token={KEY}",
        f'"identitytoken": "{KEY}"',
        f"https://user:{KEY}@host/path",
        f"https://{KEY}@github.com/a/b",
        f"git clone https://oauth2:{KEY}@host/x.git failed",
        f"https://bucket/x?X-Amz-Credential=a&X-Amz-Signature={KEY}",
        f"https://x.blob.core.windows.net/c?sv=1&sig={KEY}",
        f"https://storage.googleapis.com/b/o?X-Goog-Signature={KEY}&a=b",
    ],
)
def test_what_stands_where_a_credential_stands_is_masked(text: str) -> None:
    assert KEY not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        f"checked out commit {KEY}",
        "git@github.com:team/repo.git",
        "ssh://git@github.com/team/repo.git",
        "https://registry.example.com:5000/team/app@sha256:abc",
        "the basic idea of a token",
        "invalid token: it expired",
        "password is wrong",
        "mail to alice@example.com, see https://example.com/a",
        "12 keys, 3 tokens",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=60))
def test_redacting_twice_changes_no_more(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "https://",
        "token",
        "x.",
        "api_key ",
        "authorization ",
        "=",
        "://a:",
        "basic ",
        "password  ",
        "a://b:",
    ],
)
def test_a_long_line_takes_time_in_proportion(unit: str) -> None:
    start = time.process_time()
    redact(unit * (200_000 // len(unit)))
    assert time.process_time() - start < 2
