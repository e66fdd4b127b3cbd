"""Commits come from real servers, over SSH and HTTPS, into a folder; every way to fail says what it is."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from launch_agent.errors import SourceDenied, SourceError, SourceNotFound
from launch_agent.sources import Checkout, git
from launch_agent.sources.git.access import Access
from launch_agent.sources.git.command import explain
from tests.fakes.eventually import eventually
from tests.fakes.git_servers import PASSWORD, USER, HttpsServer, Repository, SshServer


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def access(home: Path, ssh: SshServer, https: HttpsServer) -> Access:
    """What opens both servers, but for what is private over HTTPS."""
    import os

    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_SSL_CAINFO": str(https.authority)}
    return Access(environment=environment, keys={"127.0.0.1": ssh.key}, known_hosts=ssh.known_hosts)


def with_(access: Access, **changes: object) -> Access:
    from dataclasses import replace

    return replace(access, **changes)  # type: ignore[arg-type] # the tests' own words


def fetch(into: Path, address: str, access: Access, **options: object) -> Checkout:
    into.mkdir()
    return git.create(address, access=access, **options).fetch(into)  # type: ignore[arg-type] # as above


def read(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def opened(repository: Repository, server: HttpsServer | SshServer) -> str:
    return server.url(f"open/{repository.path.name}")


@pytest.fixture(params=["ssh", "https"])
def server(request: pytest.FixtureRequest) -> SshServer | HttpsServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, SshServer | HttpsServer)
    return found


@pytest.mark.req("JOB-1", "GIT-3", "GIT-4")
def test_every_way_to_name_a_commit(
    repository: Repository, server: SshServer | HttpsServer, access: Access, tmp_path: Path
) -> None:
    first = repository.commit({"train.py": "1"}, tag="v1")
    repository.commit({"train.py": "2", "lib/a.py": "a"}, branch="feature/x")
    repository.commit({"train.py": "3"}, branch="main")
    url = opened(repository, server)
    wanted = {
        "": "3",
        "main": "3",
        "feature/x": "2",
        "v1": "1",
        "refs/tags/v1": "1",
        first: "1",
        first[:9]: "1",
    }
    for number, (ref, text) in enumerate(wanted.items()):
        found = fetch(tmp_path / str(number), url, access, ref=ref)
        assert (found.directory / "train.py").read_text() == text, ref
        assert not (found.directory / ".git").exists()
        assert found.origin == url
    assert read(tmp_path / "2") == {"train.py": "2", "lib/a.py": "a"}


def test_a_short_id_within_the_history_and_a_tag_that_looks_like_one(
    repository: Repository, https: HttpsServer, access: Access, tmp_path: Path
) -> None:
    first = repository.commit({"a": "1"})
    repository.commit({"a": "2"})
    url = opened(repository, https)
    found = fetch(tmp_path / "short", url, access, ref=first[:8])
    assert (found.revision, read(found.directory)) == (first, {"a": "1"})
    repository.git("tag", first[:8], "HEAD")
    repository.push()
    assert read(fetch(tmp_path / "tag", url, access, ref=first[:8]).directory) == {"a": "2"}
    with pytest.raises(SourceNotFound):
        fetch(tmp_path / "none", url, access, ref="beef00" if not first.startswith("beef00") else "beef01")


def test_only_the_one_commit_is_fetched(
    repository: Repository,
    https: HttpsServer,
    access: Access,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository.commit({"big": "x" * 100})
    head = repository.commit({"big": "y"})
    counts: list[str] = []
    forget = git._forget_history

    def counting(into: Path) -> None:
        done = subprocess.run(
            ["git", "rev-list", "--count", "HEAD"], cwd=into, capture_output=True, text=True, check=True
        )
        counts.append(done.stdout.strip())
        forget(into)

    monkeypatch.setattr(git, "_forget_history", counting)
    fetch(tmp_path / "a", opened(repository, https), access, ref=head)
    assert counts == ["1"]


def test_a_server_that_hands_out_branches_only(
    repository: Repository, https: HttpsServer, access: Access, tmp_path: Path
) -> None:
    first = repository.commit({"a": "1"})
    repository.commit({"a": "2"})
    # Before the second version of Git's protocol a commit could only be had by the name that ends in it.
    (Path(access.environment["HOME"]) / ".gitconfig").write_text("[protocol]\n version = 0\n")
    found = fetch(tmp_path / "a", opened(repository, https), access, ref=first)
    assert read(found.directory) == {"a": "1"}


@pytest.mark.req("GIT-5")
def test_a_page_with_a_branch_of_several_parts(
    repository: Repository, https: HttpsServer, access: Access, tmp_path: Path
) -> None:
    repository.commit({"train/run.py": "1", "train/deep/x": ""}, branch="feature/x")
    url = opened(repository, https).removesuffix("/")
    folder = fetch(tmp_path / "a", f"{url}/tree/feature/x/train/deep", access).directory
    assert (folder.name, read(folder)) == ("deep", {"x": ""})
    assert fetch(tmp_path / "b", f"{url}/blob/feature/x/train/run.py", access).directory.name == "train"
    with pytest.raises(SourceNotFound, match="no folder 'train/no'"):
        fetch(tmp_path / "c", f"{url}/tree/feature/x/train/no", access)
    with pytest.raises(SourceNotFound, match="no branch, tag or commit"):
        fetch(tmp_path / "d", f"{url}/tree/other/train", access)


@pytest.mark.req("JOB-8")
def test_the_id_names_the_content_and_not_how_it_came(
    repository: Repository, https: HttpsServer, ssh: SshServer, access: Access, tmp_path: Path
) -> None:
    repository.commit({"a": "1", "sub/b": "2"})
    one = fetch(tmp_path / "1", opened(repository, https), access)
    repository.commit({"a": "2", "sub/b": "2"})
    other = fetch(tmp_path / "2", opened(repository, https), access)
    repository.commit({"a": "1", "sub/b": "2"})
    again = fetch(tmp_path / "3", opened(repository, ssh), access)
    folder = fetch(tmp_path / "4", opened(repository, ssh), access, subdirectory="sub")
    assert one.id == again.id
    assert one.revision != again.revision
    assert len({one.id, other.id, folder.id}) == 3
    assert read(folder.directory) == {"b": "2"}


def test_what_was_not_committed_comes_as_a_patch(
    repository: Repository, https: HttpsServer, access: Access, tmp_path: Path
) -> None:
    commit = repository.commit({"a.py": "one\n"})
    (repository.work / "a.py").write_text("two\n")
    (repository.work / "new.py").write_text("new\n")
    repository.git("add", "-N", "new.py")
    patch = (repository.git("diff") + "\n").encode()
    url = opened(repository, https)
    found = fetch(tmp_path / "a", url, access, ref=commit, patch=patch)
    assert read(found.directory) == {"a.py": "two\n", "new.py": "new\n"}
    assert found.id != fetch(tmp_path / "b", url, access, ref=commit).id
    with pytest.raises(SourceError, match=r"diff\.patch does not fit"):
        fetch(tmp_path / "c", url, access, ref=commit, patch=patch.replace(b"one", b"three"))
    outside = patch.replace(b"a/new.py", b"a/../../new.py").replace(b"b/new.py", b"b/../../new.py")
    with pytest.raises(SourceError, match=r"diff\.patch"):
        fetch(tmp_path / "d", url, access, ref=commit, patch=outside)
    assert not (tmp_path.parent / "new.py").exists()


def test_submodules_come_when_asked_for_and_from_https_and_ssh_only(
    repository: Repository, git_root: Path, https: HttpsServer, access: Access, tmp_path: Path
) -> None:
    inner = Repository(git_root / "open" / "inner.git")
    inner.commit({"inner.py": "in"})
    repository.commit({"a": "1"})
    repository.git("submodule", "--quiet", "add", https_path(inner), "lib")
    repository.git("config", "-f", ".gitmodules", "submodule.lib.url", "../inner.git")
    repository.commit({"a": "2"})
    url = opened(repository, https)
    without = fetch(tmp_path / "a", url, access)
    assert list((without.directory / "lib").iterdir()) == []
    found = fetch(tmp_path / "b", url, access, submodules=True)
    assert (found.directory / "lib" / "inner.py").read_text() == "in"
    assert not list(found.directory.rglob(".git"))
    assert found.id != without.id
    repository.git("config", "-f", ".gitmodules", "submodule.lib.url", https_path(inner))
    repository.commit({"a": "3"})
    with pytest.raises(SourceError, match="neither https nor ssh"):
        fetch(tmp_path / "c", url, access, submodules=True)


def https_path(repository: Repository) -> str:
    return f"file://{repository.path}"


@pytest.fixture
def private(git_root: Path, request: pytest.FixtureRequest) -> Repository:
    made = Repository(git_root / "private" / f"{request.node.name}.git")
    made.commit({"secret.py": "1"})
    return made


def login_line(https: HttpsServer) -> str:
    return f"https://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{https.server_address[1]}"


@pytest.mark.req("GIT-1", "GIT-2", "GIT-6", "GIT-7")
def test_a_private_repository_over_https_needs_the_credentials_file(
    private: Repository, https: HttpsServer, access: Access, tmp_path: Path
) -> None:
    url = https.url(f"private/{private.path.name}")
    with pytest.raises(SourceDenied) as denied:
        fetch(tmp_path / "a", url, access)
    assert "gitCreds" in denied.value.hint
    file = tmp_path / "git credentials"
    file.write_text(login_line(https) + "\n")
    assert fetch(tmp_path / "b", url, with_(access, credentials=file)).revision
    wrong = tmp_path / "wrong"
    wrong.write_text(f"https://{USER}:swordfish@127.0.0.1:{https.server_address[1]}\n")
    with pytest.raises(SourceDenied) as denied:
        fetch(tmp_path / "c", url, with_(access, credentials=wrong))
    assert "swordfish" not in str(denied.value)
    # Git asks a helper to erase what did not work; ours does not.
    assert "swordfish" in wrong.read_text()


def test_a_password_in_the_address_reaches_the_server_and_nothing_else(
    private: Repository, https: HttpsServer, access: Access, tmp_path: Path
) -> None:
    name = f"private/{private.path.name}"
    login = login_line(https).removeprefix("https://").partition("127.")[0]
    seen = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for entry in Path("/proc").glob("[0-9]*"):
                for part in ("cmdline", "environ"):
                    try:
                        seen.add((entry / part).read_bytes())
                    except OSError:
                        continue
            done.wait(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        found = fetch(tmp_path / "a", https.url(name, login), access)
    finally:
        done.set()
        watcher.join()
    assert found.origin == https.url(name)
    assert any(b"ls-remote" in each for each in seen)
    forms = [PASSWORD.encode(), quote(PASSWORD, safe="").encode()]
    assert not [
        each for each in seen if any(form in each for form in forms) and b"GIT_ALLOW_PROTOCOL" in each
    ]
    with pytest.raises(SourceDenied) as denied:
        fetch(tmp_path / "b", https.url(name, f"{USER}:swordfish@"), access)
    assert "swordfish" not in f"{denied.value} {denied.value.__cause__!r}"


@pytest.mark.req("GIT-1", "GIT-2")
def test_a_key_that_is_not_known_and_a_server_that_is_not(
    repository: Repository, ssh: SshServer, access: Access, tmp_path: Path
) -> None:
    repository.commit({"a": "1"})
    url = opened(repository, ssh)
    with pytest.raises(SourceDenied) as denied:
        fetch(tmp_path / "a", url, with_(access, keys={"127.0.0.1": ssh.other_key}))
    assert "sshAuthSecrets" in denied.value.hint
    empty = tmp_path / "known"
    empty.touch()
    with pytest.raises(SourceError, match="host key is not known") as unknown:
        fetch(tmp_path / "b", url, with_(access, known_hosts=empty))
    assert "knownHosts" in unknown.value.hint
    changed = tmp_path / "changed"
    other = ssh.other_key.with_suffix(".pub").read_text().split()
    changed.write_text(f"[127.0.0.1]:{ssh.port} {other[0]} {other[1]}\n")
    with pytest.raises(SourceError, match="not the one in known_hosts"):
        fetch(tmp_path / "c", url, with_(access, known_hosts=changed))
    found = fetch(tmp_path / "d", url, with_(access, known_hosts=empty, check_hosts=False))
    assert read(found.directory) == {"a": "1"}
    assert empty.read_text() == ""


@pytest.mark.req("GIT-6", "GIT-7")
def test_the_files_that_the_chart_mounts_are_enough(
    private: Repository, ssh: SshServer, https: HttpsServer, access: Access, home: Path, tmp_path: Path
) -> None:
    """The chart's `_files.tpl`: a ~/.gitconfig with a helper that reads, and an ssh configuration."""
    (tmp_path / "credentials").write_text(login_line(https) + "\n")
    helper = f'!f() {{ test \\"$1\\" != get || git credential-store --file {tmp_path}/credentials get; }}; f'
    (home / ".gitconfig").write_text(f'[credential]\n    helper = "{helper}"\n')
    (tmp_path / "ssh_config").write_text(
        f"Host gitserver\n    HostName 127.0.0.1\n    Port {ssh.port}\n    IdentityFile {ssh.key}\n"
        f"    IdentitiesOnly yes\nHost *\n    BatchMode yes\n    StrictHostKeyChecking yes\n"
        f"    UserKnownHostsFile {ssh.known_hosts}\n    GlobalKnownHostsFile /dev/null\n"
    )
    environment = {**access.environment, "GIT_SSH_COMMAND": f"ssh -F {tmp_path}/ssh_config"}
    mounted = Access(environment=environment)
    before = (home / ".gitconfig").read_text()
    over_https = fetch(tmp_path / "a", https.url(f"private/{private.path.name}"), mounted)
    over_scp = fetch(tmp_path / "b", f"root@gitserver:{private.path}", mounted)
    assert over_https.id == over_scp.id
    assert (home / ".gitconfig").read_text() == before
    assert sorted(path.name for path in home.iterdir()) == [".gitconfig"]


@pytest.mark.parametrize("kind", ["ssh", "https"])
def test_a_repository_that_is_not_there(
    kind: str, access: Access, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(kind)
    with pytest.raises(SourceNotFound) as missing:
        fetch(tmp_path / "a", server.url("open/nowhere.git"), access)
    assert server.url("open/nowhere.git") in missing.value.message
    assert "private" in missing.value.hint


def test_refs_and_folders_that_are_none(
    repository: Repository, https: HttpsServer, access: Access, tmp_path: Path
) -> None:
    repository.commit({"a": "1", "sub/x": ""})
    (repository.work / "out").symlink_to("/etc")
    repository.commit({})
    url = opened(repository, https)
    missing = ("no-such", "ab" * 20)
    for number, ref in enumerate(missing):
        with pytest.raises(SourceNotFound):
            fetch(tmp_path / f"m{number}", url, access, ref=ref)
    for number, ref in enumerate(("--upload-pack=touch x", "-x", "a..b", "a b", "HEAD^", "@{1}", "a:b", "*")):
        with pytest.raises(SourceError, match="is not the name"):
            fetch(tmp_path / f"b{number}", url, access, ref=ref)
    for number, folder in enumerate(("..", "/etc", "sub/../../x", "out")):
        with pytest.raises(SourceError, match="not within"):
            fetch(tmp_path / f"f{number}", url, access, subdirectory=folder)


def test_an_empty_repository(
    repository: Repository, https: HttpsServer, access: Access, tmp_path: Path
) -> None:
    with pytest.raises(SourceNotFound, match="empty"):
        fetch(tmp_path / "a", opened(repository, https), access)


def test_a_certificate_that_nobody_vouches_for(
    repository: Repository, https: HttpsServer, access: Access, tmp_path: Path
) -> None:
    environment = {name: value for name, value in access.environment.items() if name != "GIT_SSL_CAINFO"}
    with pytest.raises(SourceError, match="certificate is not trusted"):
        fetch(tmp_path / "a", opened(repository, https), with_(access, environment=environment))
    environment["SSL_CERT_FILE"] = str(https.authority)
    repository.commit({"a": "1"})
    assert fetch(tmp_path / "b", opened(repository, https), with_(access, environment=environment)).revision


def test_a_server_that_never_answers_costs_the_deadline_and_leaves_no_process(
    access: Access, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/code"
        since = time.monotonic()
        with pytest.raises(SourceError, match="within 1 s") as late:
            fetch(tmp_path / "a", url, access, timeout=1.0)
        assert late.value.retryable
        assert time.monotonic() - since < 20
        eventually(lambda: not _processes(str(listening.getsockname()[1])), what="no process is left")


def test_a_stop_ends_a_fetch(access: Access, tmp_path: Path) -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def stop_it() -> None:
            eventually(lambda: _processes(str(port)), within=30)
            stop.set()

        stopper = threading.Thread(target=stop_it)
        stopper.start()
        with pytest.raises(SourceError, match="was stopped"):
            fetch(tmp_path / "a", f"https://127.0.0.1:{port}/code", access, stop=stop, timeout=60.0)
        stopper.join()
        eventually(lambda: not _processes(str(port)), what="no process is left")


def _processes(needle: str) -> list[int]:
    """Git's children that have a text on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"remote-https" in line and needle.encode() in line:
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    ("said", "kind", "meant"),
    [
        ("fatal: write error: No space left on device", SourceError, "no space left"),
        (
            "fatal: unable to access 'https://a/': Could not resolve host: a",
            SourceError,
            "cannot be resolved",
        ),
        (
            "fatal: unable to access 'https://u:p@a/': The requested URL returned error: 403",
            SourceDenied,
            "let us",
        ),
        ("remote: The project you were looking for could not be found", SourceNotFound, "no such repository"),
        (
            "fatal: unable to access 'https://a/': The requested URL returned error: 503",
            SourceError,
            "answer",
        ),
        ("something new", SourceError, "something new"),
        ("", SourceError, "did not say why"),
    ],
)
def test_what_git_says_is_understood(said: str, kind: type[SourceError], meant: str) -> None:
    error = explain(said, "fetching a commit of X")
    assert type(error) is kind
    assert meant in error.message
    assert "u:p" not in error.message
