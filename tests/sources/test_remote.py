"""Which addresses of repositories are used, and what they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import SourceError
from launch_agent.sources.git.remote import Protocol, Remote

GOOD = {
    "https://github.com/team/code": ("https://github.com/team/code", "https"),
    "https://github.com/team/code.git": ("https://github.com/team/code.git", "https"),
    "https://github.com/team/code/": ("https://github.com/team/code", "https"),
    "HTTPS://git.example:8443/a/b/c": ("https://git.example:8443/a/b/c", "https"),
    "git+https://git.example/code": ("https://git.example/code", "https"),
    "ssh://git@git.example/team/code.git": ("ssh://git@git.example/team/code.git", "ssh"),
    "ssh://git.example:2222/code": ("ssh://git.example:2222/code", "ssh"),
    "git+ssh://git@git.example/code": ("ssh://git@git.example/code", "ssh"),
    "ssh://git@[::1]:2222/code": ("ssh://git@[::1]:2222/code", "ssh"),
    "git@github.com:team/code.git": ("git@github.com:team/code.git", "ssh"),
    "git.example:code": ("git.example:code", "ssh"),
    "git@ssh.dev.azure.com:v3/org/project/code": ("git@ssh.dev.azure.com:v3/org/project/code", "ssh"),
}


@pytest.mark.req("GIT-3", "GIT-4", "GIT-5")
@pytest.mark.parametrize("text", GOOD)
def test_the_form_of_the_address_decides_the_protocol(text: str) -> None:
    remote = Remote.parse(text)
    assert (remote.url, remote.protocol) == GOOD[text]
    assert not remote.password


PAGES = {
    "https://github.com/team/code/tree/main": ("https://github.com/team/code", "main", False),
    "https://github.com/team/code/tree/feature/x/train": (
        "https://github.com/team/code", "feature/x/train", False,
    ),
    "https://github.com/team/code/blob/v1/a%20b/run.py": (
        "https://github.com/team/code", "v1/a b/run.py", True,
    ),
    "https://gitlab.example/group/sub/code/-/tree/main/train": (
        "https://gitlab.example/group/sub/code", "main/train", False,
    ),
    "https://bitbucket.org/team/code/src/main/train/": (
        "https://bitbucket.org/team/code", "main/train", False,
    ),
}  # fmt: skip


@pytest.mark.req("GIT-5")
@pytest.mark.parametrize("text", PAGES)
def test_a_page_of_a_repository_names_its_repository(text: str) -> None:
    remote = Remote.parse(text)
    assert (remote.url, remote.place, remote.is_file) == PAGES[text]


def test_a_commits_page_and_a_fragment_name_a_ref() -> None:
    assert Remote.parse("https://github.com/team/code/commit/" + "ab" * 20).ref == "ab" * 20
    remote = Remote.parse("https://git.example/code.git#v1:train")
    assert (remote.ref, remote.subdirectory) == ("v1", "train")
    assert Remote.parse("git@git.example:code#v1").ref == "v1"


BAD = [
    "", " ", "-oProxyCommand=x", "--upload-pack=x", "file:///etc", "/etc", "./code", "../code", "~/code",
    "code",
    "http://git.example/code", "git://git.example/code", "ext::sh -c x", "ext::sh", "fd::17", "ftp://a/b",
    "https://-git.example/code", "ssh://-oProxyCommand=x/code", "ssh://git@-host/code", "-user@host:code",
    "git@-host:code", "git@host:-code", "ssh://-user@host/code", "https://git.example", "https://git.example/",
    "https:///code", "https://git.example/code?x=1", "https://git.example:port/code", "git@host:co de",
    "https://git.example/co\nde", "https://user name@git.example/code", "javascript:alert(1)//@x:y",
    "https://git.example\\@evil/code", "C:\\code", "ssh://a b/c",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_refused(text: str) -> None:
    if text == "javascript:alert(1)//@x:y":
        # The form of scp: a host called `javascript`. ssh will not find it, and nothing runs here.
        assert Remote.parse(text).protocol is Protocol.SSH
        return
    with pytest.raises(SourceError):
        Remote.parse(text)


def test_a_password_is_taken_out_of_the_address_and_shown_nowhere() -> None:
    remote = Remote.parse("https://bob:p%40ss@git.example/code")
    assert (remote.url, remote.username, remote.password.reveal()) == (
        "https://git.example/code", "bob", "p@ss",
    )  # fmt: skip
    assert "p@ss" not in repr(remote)
    with pytest.raises(SourceError) as refused:
        Remote.parse("https://bob:hunter2@git.example/code?x")
    assert "hunter2" not in str(refused.value)


@given(st.text(max_size=60) | st.from_regex(r"[a-z+]{0,8}:{0,2}/{0,2}-?[a-z@:.\-]{0,20}/-?[a-z]{0,9}"))
def test_no_address_is_anything_that_git_takes_for_something_else(text: str) -> None:
    try:
        remote = Remote.parse(text)
    except SourceError:
        return
    url = remote.url
    assert not url.startswith("-")
    assert not remote.host.startswith("-")
    assert not any(character.isspace() and ord(character) < 128 for character in url)
    if remote.protocol is Protocol.HTTPS:
        assert url.startswith("https://")
    else:
        # Git reads `word::…` as the name of a program, and a text with a slash before its colon as a path.
        assert url.startswith("ssh://") or "/" not in url.split(":", 1)[0]
        assert "::" not in url.split("/", 1)[0].partition("]")[2] or url.startswith("ssh://[")
