"""The builder of the Go programs knows its pins, says what it leaves out, and makes modules of Kubernetes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import go_tools, kubernetes_module

UPSTREAM = """module k8s.io/kubernetes

go 1.26.0

godebug default=go1.26

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/sample-controller => ./staging/src/k8s.io/sample-controller
)
"""


@pytest.mark.parametrize("tool", go_tools.TOOLS, ids=lambda tool: tool.name)
def test_every_tool_is_pinned_with_hashes(tool: go_tools.Tool) -> None:
    module = go_tools.HERE / tool.module
    pinned = go_tools.version(tool, module)
    assert f"{tool.versioned} v{pinned} h1:" in (module / "go.sum").read_text()


def test_the_pinned_kubernetes_is_what_its_generator_writes() -> None:
    """Whoever raises the version by hand forgets one of the thirty replacements."""
    module = go_tools.HERE / "kubernetes"
    tool = next(tool for tool in go_tools.TOOLS if tool.module == "kubernetes")
    version = go_tools.version(tool, module)
    replaced = [line for line in (module / "go.mod").read_text().splitlines() if " => " in line]
    assert len(replaced) > 20
    staged = version.replace("1.", "v0.", 1)
    assert all(line.endswith(f" {staged}") for line in replaced)


def test_a_module_of_another_kubernetes_version() -> None:
    assert kubernetes_module.text("1.34.4", UPSTREAM).splitlines() == [
        "module launch-agent/tools/kubernetes",
        "",
        "go 1.26.0",
        "",
        "godebug default=go1.26",
        "",
        "tool (",
        "\tk8s.io/kubernetes/cmd/kube-apiserver",
        "\tk8s.io/kubernetes/cmd/kube-controller-manager",
        "\tk8s.io/kubernetes/cmd/kube-scheduler",
        "\tk8s.io/kubernetes/cmd/kubelet",
        "\tk8s.io/kubernetes/cmd/kube-proxy",
        ")",
        "",
        "require k8s.io/kubernetes v1.34.4",
        "",
        "replace (",
        "\tk8s.io/api => k8s.io/api v0.34.4",
        ")",
    ]


@pytest.mark.parametrize("version", ["1.34", "v1.34.4", "2.0.0", "1.34.4; rm"])
def test_what_is_no_version_of_kubernetes_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match="is not a version of Kubernetes"):
        kubernetes_module.text(version, UPSTREAM)


def test_what_cannot_be_built_is_left_out_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool = go_tools.Tool(name="nothing", module="empty", package="./nowhere", versioned="x", without="a test")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "go.mod").write_text("module empty\n\ngo 1.26.0\n\nrequire x v1.0.0\n")
    (tmp_path / "bin").mkdir()
    if not go_tools.shutil.which("go"):
        pytest.skip("no Go here")
    assert not go_tools.make([tool], tmp_path / "made", tmp_path)
    assert capsys.readouterr().out.startswith("left out: a test: cannot build nothing: ")
    assert not list((tmp_path / "made").rglob("nothing"))


def test_what_only_root_can_use_is_named_and_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(go_tools.os, "getuid", lambda: 1000)
    tools = [tool for tool in go_tools.TOOLS if tool.root_only]
    assert {tool.name for tool in tools} >= {"kubelet", "containerd", "runc"}
    assert go_tools.make(tools, tmp_path / "made", tmp_path / "no-modules")
    assert capsys.readouterr().out == (
        "left out: tests on a real Kubernetes node: only root on Linux can run one\n"
    )


def test_what_is_there_is_not_built_again(tmp_path: Path) -> None:
    tool = go_tools.TOOLS[0]
    target = go_tools.program(tool, tmp_path)
    target.parent.mkdir(parents=True)
    target.touch()
    assert go_tools.make([tool], tmp_path, tmp_path / "no-modules")


def test_an_unknown_program_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        go_tools.main(["kubectl"])
    assert "no such program: kubectl" in capsys.readouterr().err
