"""Image references: ports, nested repositories, every cloud's hosts; and what is none."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from launch_agent.errors import ImageError
from launch_agent.spec.image import ImageRef

SHA = "sha256:" + "a1" * 32

GOOD = [
    # text, host, path, tag, digest
    ("ubuntu", "", "ubuntu", "", ""),
    ("ubuntu:22.04", "", "ubuntu", "22.04", ""),
    ("team/app", "", "team/app", "", ""),
    ("localhost/app", "localhost", "app", "", ""),
    ("localhost:5000/app", "localhost:5000", "app", "", ""),
    ("localhost:5000", "", "localhost", "5000", ""),
    ("registry:5000/app", "registry:5000", "app", "", ""),
    ("registry.example.com:5000/team/app:v1", "registry.example.com:5000", "team/app", "v1", ""),
    (f"registry.example.com:5000/team/app:v1@{SHA}", "registry.example.com:5000", "team/app", "v1", SHA),
    (f"app@{SHA}", "", "app", "", SHA),
    ("127.0.0.1:5000/a/b/c/d", "127.0.0.1:5000", "a/b/c/d", "", ""),
    ("[::1]:5000/app", "[::1]:5000", "app", "", ""),
    ("[fd00::1]/app:x", "[fd00::1]", "app", "x", ""),
    ("Registry/app", "Registry", "app", "", ""),
    (
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:t",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "team/app",
        "t",
        "",
    ),
    (
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        "app",
        "",
        "",
    ),
    ("europe-docker.pkg.dev/proj/repo/sub/app", "europe-docker.pkg.dev", "proj/repo/sub/app", "", ""),
    ("gcr.io/example.com/proj/app", "gcr.io", "example.com/proj/app", "", ""),
    ("name.azurecr.io/a/b/app:x_1.2-3", "name.azurecr.io", "a/b/app", "x_1.2-3", ""),
    ("a__b/c--d/e.f_g", "", "a__b/c--d/e.f_g", "", ""),
]


@pytest.mark.parametrize(("text", "host", "path", "tag", "digest"), GOOD)
def test_references_that_people_write(text: str, host: str, path: str, tag: str, digest: str) -> None:
    """openings C4."""
    ref = ImageRef.parse(text)
    assert (ref.host, ref.path, ref.tag, ref.digest) == (host, path, tag, digest)
    assert str(ref) == text
    assert ref.repository == (f"{host}/{path}" if host else path)


def test_space_around_a_reference_is_no_part_of_it() -> None:
    assert str(ImageRef.parse(" ubuntu:22.04\n")) == "ubuntu:22.04"


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest"),
        ("team/app:v1", "docker.io/team/app:v1"),
        (f"ubuntu@{SHA}", f"docker.io/library/ubuntu@{SHA}"),
        ("index.docker.io/team/app", "docker.io/team/app:latest"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("gcr.io/app", "gcr.io/app:latest"),
    ],
)
def test_what_docker_fills_in(text: str, full: str) -> None:
    assert str(ImageRef.parse(text).canonical()) == full


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "repository"),
        ("   ", "repository"),
        ("UPPER", "repository"),
        ("team/UPPER", "repository"),
        ("UPPER case", "repository"),
        ("app:", "tag"),
        ("app:-x", "tag"),
        ("app:" + "x" * 129, "tag"),
        ("app:a:b", "tag"),
        ("app@", "digest"),
        ("app@sha256:abc", "digest"),
        (f"app@sha256:{'g' * 64}", "digest"),
        (f"app@sha256:{'a' * 63}", "digest"),
        (f"app@{SHA}@{SHA}", "digest"),
        ("https://registry/app", "scheme"),
        ("docker://app", "scheme"),
        ("/app", "repository"),
        ("host.com/", "repository"),
        ("host.com//app", "repository"),
        ("-host.com/app", "host"),
        ("host.com:port/app", "host"),
        ("host_name.com/app", "host"),
        ("a..b", "repository"),
        ("a___b", "repository"),
        ("app/", "repository"),
        ("_app", "repository"),
        ("x" * 256, "repository"),
        ("app --privileged", "repository"),
        ("app\nother", "repository"),
        ("${run_name}", "repository"),
        ("x" * 2000, "characters"),
    ],
)
def test_what_is_no_reference_is_said_with_the_part(text: str, part: str) -> None:
    with pytest.raises(ImageError) as raised:
        ImageRef.parse(text)
    assert part in raised.value.message
    assert raised.value.hint


HOST = st.from_regex(r"[a-z0-9]{1,6}(\.[a-z0-9]{1,6}){1,3}(:[0-9]{1,5})?", fullmatch=True)
PART = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
DIGEST = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@given(
    st.just("") | HOST,
    st.lists(PART, min_size=1, max_size=4).map("/".join),
    st.just("") | TAG,
    st.just("") | DIGEST,
)
def test_a_reference_prints_as_it_was_read(host: str, path: str, tag: str, digest: str) -> None:
    # A dot in the first of several parts makes it a host, and nothing else.
    assume(host or "/" not in path or "." not in path.partition("/")[0])
    text = (f"{host}/" if host else "") + path + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    ref = ImageRef.parse(text)
    assert str(ref) == text
    assert (ref.tag, ref.digest) == (tag, digest)
    if host:
        assert (ref.host, ref.path) == (host, path)
    full = ref.canonical()
    assert full.canonical() == full
    assert ImageRef.parse(str(full)) == full


@given(st.text(alphabet="ab1.:/@_-A[]\n \0é", max_size=30) | st.text(max_size=30))
def test_any_text_is_a_reference_that_prints_back_or_an_error(text: str) -> None:
    try:
        ref = ImageRef.parse(text)
    except ImageError:
        return
    assert str(ref) == text.strip()
    assert ImageRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text", ["a" * 1000 + "!", "a-" * 500, "a." * 500 + "/x", "a" * 10_000_000, "-" * 1000]
)
def test_a_long_text_is_judged_at_once(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ImageError):
        ImageRef.parse(text)
    assert time.process_time() - start < 0.5
