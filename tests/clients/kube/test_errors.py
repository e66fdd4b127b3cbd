"""What an API server says becomes the right error, whatever it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.clients.kube.channel import secret_texts
from launch_agent.clients.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    KubeError,
    NotFound,
    Unauthorized,
    Unavailable,
    of_answer,
    of_status,
)


@pytest.mark.parametrize(
    ("status", "reason", "kind", "retryable"),
    [
        (400, "BadRequest", Invalid, False),
        (401, "Unauthorized", Unauthorized, False),
        (403, "Forbidden", Forbidden, False),
        (404, "NotFound", NotFound, False),
        (409, "AlreadyExists", AlreadyExists, False),
        (409, "Conflict", Conflict, False),
        (410, "Expired", Gone, False),
        (410, "Gone", Gone, False),
        (413, "RequestEntityTooLarge", Invalid, False),
        (422, "Invalid", Invalid, False),
        (429, "TooManyRequests", Unavailable, True),
        (500, "InternalError", Unavailable, True),
        (500, "ServerTimeout", Unavailable, True),
        (501, "NotImplemented", KubeError, False),
        (503, "ServiceUnavailable", Unavailable, True),
        (504, "Timeout", Unavailable, True),
        (418, "", KubeError, False),
    ],
)
def test_each_refusal_has_its_kind(status: int, reason: str, kind: type, retryable: bool) -> None:
    body = {"kind": "Status", "message": "no", "reason": reason, "code": status}
    error = of_answer(status, json.dumps(body).encode(), content="application/json")
    assert type(error) is kind
    assert (error.status, error.reason, error.message, error.retryable) == (status, reason, "no", retryable)


def test_causes_name_the_fields() -> None:
    causes = [{"field": "spec.a", "message": "bad", "reason": "FieldValueInvalid"}, {"message": "odd"}, 3]
    error = of_status({"code": 422, "reason": "Invalid", "details": {"name": "x", "causes": causes}})
    assert error.fields == ("spec.a",)
    assert [cause.message for cause in error.details.causes] == ["bad", "odd"]
    assert error.details.name == "x"


def test_unknown_fields_are_found_in_the_sentence() -> None:
    said = 'strict decoding error: unknown field "spec.foo", duplicate field "metadata.name"'
    assert of_status({"code": 400, "message": said}).fields == ("spec.foo", "metadata.name")


def test_an_error_says_what_was_being_done() -> None:
    error = of_status({"code": 404, "message": "not there"}, action="read Job a/b")
    assert str(error) == "cannot read Job a/b: not there"
    assert error.message == "not there"


def test_an_answer_that_is_no_status_is_not_quoted() -> None:
    """It may be the object itself."""
    page = of_answer(502, b"<html>hunter22</html>", content="text/html")
    assert page.message == "the API server answers 502"
    assert of_answer(404, b"404 page\nnot found", content="text/plain; charset=utf-8").message == (
        "404 page not found"
    )


def test_what_a_secret_holds_is_masked() -> None:
    manifest = {"kind": "Secret", "stringData": {"a": "hunter22"}, "data": {"b": "aHVudGVyMjI=", "c": "x"}}
    hidden = secret_texts(manifest)
    said = 'data.b: "aHVudGVyMjI=" is not hunter22'
    error = of_status(
        {"code": 422, "message": said, "details": {"causes": [{"message": said}]}}, hidden=hidden
    )
    assert error.message == error.details.causes[0].message == 'data.b: "***" is not ***'
    assert secret_texts({**manifest, "kind": "ConfigMap"}) == ()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
_status = st.dictionaries(
    st.sampled_from(["code", "reason", "message", "details", "kind"]), _json
) | st.builds(
    lambda causes, wait: {"kind": "Status", "details": {"causes": causes, "retryAfterSeconds": wait}},
    st.lists(st.dictionaries(st.sampled_from(["field", "message", "reason"]), _json) | _json),
    _json,
)


@given(_status, st.integers(300, 599))
def test_any_status_is_an_error(answer: dict[str, Any], status: int) -> None:
    body = json.dumps({**answer, "kind": "Status"}).encode()
    for error in (of_status(answer), of_answer(status, body, content="application/json")):
        assert isinstance(error, KubeError)
        assert isinstance(error.message, str)
        assert error.message
        assert all(isinstance(field, str) for field in error.fields)
        assert error.details.retry_after >= 0


@given(st.binary(), st.integers(300, 599), st.sampled_from(["text/plain", "application/json", ""]))
def test_any_bytes_are_an_error(body: bytes, status: int, content: str) -> None:
    assert of_answer(status, body, content=content).message
