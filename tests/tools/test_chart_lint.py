"""The chart's lint finds what is wrong, and says what it leaves out where its programs are not built."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tools import chart_lint, go_tools


def test_without_its_programs_it_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(go_tools, "home", lambda: tmp_path)
    assert chart_lint.main() == 0
    assert capsys.readouterr().out.startswith("left out: the tests of the Helm chart: helm is not built")


@pytest.mark.chart
@pytest.mark.timeout(300)
def test_a_failing_suite_fails_the_lint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not all(go_tools.program(tool, go_tools.home()).exists() for tool in go_tools.TOOLS[:4]):
        pytest.skip("helm, helm-unittest and ct are not built (`make tools`)")
    root = chart_lint.ROOT
    shutil.copy(root / "ct.yaml", tmp_path)
    shutil.copytree(root / "charts", tmp_path / "charts")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "ct").symlink_to(root / "tools" / "ct")
    suites = tmp_path / "charts" / "launch-agent" / "tests"
    shutil.rmtree(suites)
    suites.mkdir()
    (suites / "wrong_test.yaml").write_text(
        "suite: a wrong one\n"
        "templates: [deployment.yaml]\n"
        "set: {agent.apiKey: key, launchConfig.queues: [gpu]}\n"
        "tests: [{it: is wrong, asserts: [{equal: {path: kind, value: Pod}}]}]\n"
    )
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=30)
    monkeypatch.setattr(chart_lint, "ROOT", tmp_path)
    assert chart_lint.main() != 0
    assert "a wrong one" in capsys.readouterr().out
