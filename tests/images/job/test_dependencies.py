"""Which files say what is installed, and what they draw in."""

from __future__ import annotations

import pytest

from launch_agent.errors import ImageError
from launch_agent.images.job.dependencies import find
from launch_agent.images.job.requirements import frozen, needs_of


@pytest.mark.parametrize(
    ("line", "files", "local"),
    [
        ("-r a.txt", ["a.txt"], []), ("-ra.txt", ["a.txt"], []), ("--requirement a.txt", ["a.txt"], []),
        ("--requirement=a.txt", ["a.txt"], []), ("-c  a.txt # why", ["a.txt"], []),
        ("-r \\\n a.txt", ["a.txt"], []), ("--constraint 'a.txt'", ["a.txt"], []),
        ("-r https://x.example/a.txt", [], []), ("# -r b.txt", [], []), ("-e .", [], ["."]),
        ("-e ./lib[x,y]", [], ["lib"]), ("--editable=lib", [], ["lib"]), (".", [], ["."]),
        (".[gpu]", [], ["."]), ("./lib ; python_version > '3'", [], ["lib"]),
        ("lib/x.whl", [], ["lib/x.whl"]), ("x-1.tar.gz", [], ["x-1.tar.gz"]),
        ("x @ file:lib", [], ["lib"]), ("--find-links wheels", [], ["wheels"]),
        ("-f https://x.example/wheels", [], []), ("-e git+https://x.example/y#egg=y", [], []),
        ("numpy", [], []), ("x @ https://x.example/x.whl", [], []), ("numpy==1 --hash=sha256:00", [], []),
        ("--pre", [], []), ("git+https://x.example/y@v1", [], []),
        ("a[b]>=1,<2 ; os_name == 'x/y'", [], []),
    ],
)  # fmt: skip
def test_what_a_line_draws_in(line: str, files: list[str], local: list[str]) -> None:
    needs = needs_of("requirements.txt", {"requirements.txt": line, "a.txt": "numpy\n"}.get)
    assert (needs.files[1:], needs.local) == (files, local)


def test_files_draw_in_one_another_once() -> None:
    files = {
        "requirements.txt": "-r d/a.txt\nx",
        "d/a.txt": "-r ../requirements.txt\n-c b.txt\ny",
        "d/b.txt": "y<2",
    }
    needs = needs_of("requirements.txt", files.get)
    assert (needs.files, needs.constraints) == (["requirements.txt", "d/a.txt", "d/b.txt"], ["d/b.txt"])
    assert needs.lines == ["--constraint ../d/b.txt", "y", "x"]


@pytest.mark.parametrize("line", ["-r /etc/x", "-e ..", "../x.whl", "-r a/../../x", "x @ file:///home/me/x"])
def test_what_leads_out_is_refused(line: str) -> None:
    with pytest.raises(ImageError, match="outside of its code"):
        needs_of("requirements.txt", {"requirements.txt": line}.get)


def test_a_frozen_list_keeps_what_others_can_install() -> None:
    text, dropped = frozen(
        "# made\na==1\nb[x]===2.0+local\n-e .\nc @ file:///x\n--index-url x\ntorch==2+cpu\n"
    )
    assert (
        text
        == "--extra-index-url https://download.pytorch.org/whl/cpu\na==1\nb[x]===2.0+local\ntorch==2+cpu\n"
    )
    assert dropped == 3


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"pyproject.toml": "[project"}, "not TOML"),
        ({"pyproject.toml": "", "uv.lock": "="}, "not TOML"),
        ({"pyproject.toml": "", "uv.lock": "package=[{source={path='../x'}}]"}, "outside of the code"),
        ({"environment.yml": "[]"}, "no list of dependencies"),
        ({"pyproject.toml": "[project]\ndependencies='x'"}, "that is none"),
        ({"pyproject.toml": "[project]\ndependencies=['--index-url x']"}, "that is none"),
    ],
)
def test_files_that_cannot_be_used(files: dict[str, str], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        find(files.get)


def test_the_order_of_precedence() -> None:
    files = {
        "requirements.txt": "x", "uv.lock": "", "poetry.lock": "", "environment.yml": "dependencies: []",
        "pyproject.toml": "[project]\ndependencies=['x']", "requirements.frozen.txt": "x==1",
    }  # fmt: skip
    said = []
    while files:
        said.append(find(files.get).file)
        del files[next(iter(files))]
    assert said == [
        "requirements.txt", "uv.lock", "poetry.lock", "environment.yml", ".launch-agent/requirements.txt",
        ".launch-agent/requirements.frozen.txt",
    ]  # fmt: skip
