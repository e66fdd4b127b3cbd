"""The lint command from its arguments to its output and exit code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.cli import report
from launch_agent.cli.lint import command
from launch_agent.config.finding import Finding, Severity
from launch_agent.config.judge import Kind, kind_of

ROOT = Path(__file__).parents[2]
GOOD = "queues: [gpu]\n"
WARNS = "queue: gpu\n"
BAD = "queues: [gpu]\nmax-job: 2\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lint(*arguments: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(command, arguments, input=stdin)


def write(**files: str) -> None:
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "strict", "code"),
    [
        (GOOD, True, 0),
        (WARNS, False, 0),
        (WARNS, True, 1),
        (BAD, False, 1),
        ("", False, 1),
        ("max_jobs: 1", True, 0),
    ],
)
def test_exit_codes(text: str, strict: bool, code: int) -> None:
    write(file=text)
    assert lint("file.yaml", *["--strict"] * strict).exit_code == code


def test_text() -> None:
    write(bad=BAD, good=GOOD)
    result = lint("bad.yaml", "good.yaml")
    assert result.stdout == (
        "bad.yaml:2:1: error: max-job: there is no key 'max-job' here [unknown-key]\n"
        "    hint: did you mean 'max_jobs'?\n"
    )
    assert result.stderr == "2 files: 1 error\n"


def test_nothing_to_say() -> None:
    write(good=GOOD)
    result = lint("good.yaml")
    assert (result.stdout, result.stderr) == ("", "1 file: no findings\n")


def test_json() -> None:
    write(bad=BAD, good=GOOD)
    result = lint("bad.yaml", "good.yaml", "--format", "json")
    assert json.loads(result.stdout) == {
        "version": 1,
        "files": ["bad.yaml", "good.yaml"],
        "findings": [
            {
                "file": "bad.yaml",
                "line": 2,
                "column": 1,
                "severity": "error",
                "code": "unknown-key",
                "key": "max-job",
                "message": "there is no key 'max-job' here",
                "hint": "did you mean 'max_jobs'?",
                "meant": "max_jobs",
            }
        ],
    }
    assert result.stderr == ""


def test_github() -> None:
    write(**{"a,b": BAD})
    assert lint("a,b.yaml", "--format", "github").stdout == (
        "::error file=a%2Cb.yaml,line=2,col=1,title=unknown-key at max-job"
        "::there is no key 'max-job' here%0Ahint: did you mean 'max_jobs'?\n"
    )


@given(st.text(), st.text(min_size=1))
def test_no_text_breaks_out_of_an_annotation(text: str, file: str) -> None:
    finding = Finding(severity=Severity.NOTE, code="no-queue", message=text, path=(text,), hint=text)
    line = report.render({file: [finding]}, "github")
    assert "\n" not in line
    assert "\r" not in line
    head, _, data = line.removeprefix("::").partition("::")
    properties = dict(part.split("=", 1) for part in head.removeprefix("notice ").split(","))
    assert _unescaped(properties["file"]) == file
    assert _unescaped(data).startswith(text)


def _unescaped(text: str) -> str:
    for code, character in {"%2C": ",", "%3A": ":", "%0A": "\n", "%0D": "\r", "%25": "%"}.items():
        text = text.replace(code, character)
    return text


def test_sarif() -> None:
    write(**{"a b": BAD, "warns": WARNS, "empty": ""})
    log = json.loads(lint("a b.yaml", "warns.yaml", "empty.yaml", "--format", "sarif").stdout)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["older-form", "unknown-key", "unreadable"]
    error, warning, unplaced = run["results"]
    assert (error["level"], warning["level"], unplaced["level"]) == ("error", "warning", "error")
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    place = error["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "a%20b.yaml"},
        "region": {"startLine": 2, "startColumn": 1},
    }
    assert "region" not in unplaced["locations"][0]["physicalLocation"]


def test_gitlab() -> None:
    write(bad=BAD, moved="# a line more\n" + BAD, warns=WARNS, good=GOOD)
    rows = json.loads(lint("bad.yaml", "warns.yaml", "good.yaml", "--format", "gitlab").stdout)
    assert {key: row for key, row in rows[0].items() if key != "fingerprint"} == {
        "description": "max-job: there is no key 'max-job' here (did you mean 'max_jobs'?)",
        "check_name": "unknown-key",
        "severity": "major",
        "location": {"path": "bad.yaml", "lines": {"begin": 2}},
    }
    assert [row["severity"] for row in rows] == ["major", "minor"]
    Path("moved.yaml").rename("bad.yaml")
    (moved,) = json.loads(lint("bad.yaml", "--format", "gitlab").stdout)
    assert (moved["fingerprint"], moved["location"]["lines"]) == (rows[0]["fingerprint"], {"begin": 3})
    assert lint("good.yaml", "--format", "gitlab").stdout == "[]\n"


def test_every_code_has_a_rule() -> None:
    pattern = re.compile(r"\"([a-z]+-[a-z-]+|placeholder|contradiction|unreadable)\"")
    used = set()
    for path in (ROOT / "agent/launch_agent/config").rglob("*.py"):
        used |= set(pattern.findall(path.read_text(encoding="utf-8"))) & set(report.RULES)
    assert used == set(report.RULES)
    golden = (ROOT / "tests/golden").glob("*/*/findings.txt")
    seen = {code for file in golden for code in re.findall(r"\[([a-z-]+)\]$", file.read_text(), re.MULTILINE)}
    assert seen <= set(report.RULES)


def test_standard_input() -> None:
    result = lint("-", stdin=BAD)
    assert result.stdout.startswith("<stdin>:2:1: error: max-job")
    assert lint("-", stdin=b"\xff").stdout.startswith("<stdin>:1:1: error: the byte 0xff is not UTF-8")


def test_standard_input_is_not_read_without_end() -> None:
    assert "larger than 1024 KiB" in lint("-", stdin="#" * 2_000_000).stdout


def test_folders_and_patterns() -> None:
    write(a=GOOD, sub__b=GOOD, sub__deep__c=BAD)
    Path("sub/notes.txt").write_text("no config")
    assert lint(".").stderr == "3 files: 1 error\n"
    assert lint("sub").stderr == "2 files: 1 error\n"
    assert lint("sub/**/*.yaml").stderr == "2 files: 1 error\n"
    assert lint("*.yaml", "a.yaml", str(Path("a.yaml"))).stderr == "1 file: no findings\n"


def test_a_file_whose_name_is_a_pattern() -> None:
    write(**{"a[1]": BAD})
    assert lint("a[1].yaml").exit_code == 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [("*.yaml", "no file matches *.yaml"), ("empty", "the folder empty holds no .yaml, .yml or .json file")],
)
def test_nothing_to_read_is_wrong_usage(argument: str, message: str) -> None:
    Path("empty").mkdir()
    result = lint(argument)
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_other_files_are_checked_though_one_is_missing() -> None:
    write(bad=BAD)
    result = lint("missing.yaml", "bad.yaml")
    assert result.exit_code == 2
    assert result.stdout.startswith("bad.yaml:2:1: error: max-job")
    assert result.stderr.endswith("error: missing.yaml: there is no such file\n  hint: check the path\n")


def test_no_file_is_wrong_usage() -> None:
    assert lint().exit_code == 2


def test_the_kind_can_be_said() -> None:
    write(file="namespace: jobs\n")
    assert lint("file.yaml").exit_code == 0
    assert lint("file.yaml", "--kind", "launch-config").exit_code == 1
    write(both="queues: [gpu]\n")
    assert lint("both.yaml", "--kind", "queue-config").exit_code == 1


VALUES = "agent: {apiKeySecret: {name: wandb}}\nlaunchConfig:\n  queues: [gpu]\n"


@pytest.mark.req("CARD-9")
@pytest.mark.parametrize("form", ["text", "json", "github", "gitlab", "sarif"])
def test_values_files_have_all_formats(form: str) -> None:
    write(values="agent: {}\nlaunchConfig: |\n  queues: [gpu]\n  max_jobs: 0\n")
    result = lint("values.yaml", "--format", form)
    assert result.exit_code == 1
    place = {
        "text": "values.yaml:4:13:",
        "github": "line=4,col=13,",
        "gitlab": '"begin": 4',
        "json": '"line": 4,',
    }
    assert place.get(form, '"startLine": 4,') in result.stdout


@pytest.mark.req("CARD-8", "CARD-9")
def test_merged_values_are_judged_as_one() -> None:
    write(
        base="launchConfig: {builder: {type: noop}}\nkanikoPvcName: a\nagent: {apiKeySecret: {name: w}}\n",
        cluster="launchConfig: {queues: [gpu]}\n",
    )
    result = lint("--merge", "base.yaml", "cluster.yaml", "--strict")
    assert result.stdout.startswith("base.yaml:2:1: warning: kanikoPvcName: it has no effect")
    assert (result.exit_code, result.stderr) == (1, "2 files: 1 warning\n")
    assert lint("--merge", "cluster.yaml", "base.yaml", "--strict").exit_code == 1


def test_the_order_of_merged_files_counts() -> None:
    write(one="launchConfig: {queues: [gpu], max_jobs: 0}\n", two="launchConfig: {max_jobs: 1}\n")
    assert lint("--merge", "one.yaml", "two.yaml").exit_code == 0
    assert lint("--merge", "two.yaml", "one.yaml").exit_code == 1


@pytest.mark.req("CARD-8", "CARD-9")
def test_each_file_over_the_bases() -> None:
    write(
        base="launchConfig: {max_jobs: 1}\nvolcano: true\nagent: {apiKeySecret: {name: w}}\n",
        clusters__a=VALUES,
        clusters__b="launchConfig: {queues: [gpu], max_jobs: 0}\n",
        clusters__notes="some: thing\n",
        clusters__queue="spec: {template: {}}\n",
    )
    result = lint("--base", "base.yaml", "clusters/a.yaml", "clusters/b.yaml")
    assert result.exit_code == 1
    assert [line for line in result.stdout.splitlines() if "hint" not in line] == [
        "base.yaml:2:1: warning: volcano: 'volcano' has no effect: the chart installs no scheduler "
        "[unused-key]",
        "clusters/b.yaml:1:41: error: launchConfig.max_jobs: must be a whole number of at least 1, or -1 for "
        "no limit, not 0 [wrong-value]",
    ]
    assert result.stderr == "3 files: 1 error, 1 warning\n"
    assert "clusters/queue.yaml: note: " in lint("--base", "base.yaml", "clusters").stdout.replace(":1:1", "")


def test_a_base_is_not_one_of_the_files() -> None:
    write(base="launchConfig: {max_jobs: 1}\n", cluster=VALUES)
    result = lint("--base", "base.yaml", "*.yaml", "--strict")
    assert (result.exit_code, result.stderr) == (0, "2 files: no findings\n")


def test_several_bases() -> None:
    write(base="launchConfig: {max_jobs: 0}\n", region="launchConfig: {max_jobs: 1}\n", cluster=VALUES)
    assert lint("--base", "base.yaml", "--base", "region.yaml", "cluster.yaml").exit_code == 0
    assert lint("--base", "region.yaml", "--base", "base.yaml", "cluster.yaml").exit_code == 1


@pytest.mark.parametrize("option", ["--merge", "--base=good.yaml"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "bad.yaml:2:1: error: this is not YAML"),
        ("- 1", "bad.yaml:1:1: error: values must be a mapping"),
    ],
)
def test_what_cannot_be_merged(option: str, text: str, says: str) -> None:
    write(good=VALUES, bad=text)
    result = lint(option, "good.yaml", "bad.yaml")
    assert result.exit_code == 1
    assert result.stdout.startswith(says)


def test_what_cannot_be_read_is_not_merged() -> None:
    write(values=VALUES)
    for arguments in (("--merge", "values.yaml", "gone.yaml"), ("--base", "gone.yaml", "values.yaml")):
        result = lint(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "gone.yaml: there is no such file" in result.stderr


def test_an_empty_file_adds_nothing() -> None:
    write(values=VALUES, empty="", comments="---\n# later\n")
    assert lint("--merge", "values.yaml", "empty.yaml", "comments.yaml", "--strict").exit_code == 0


def test_values_from_standard_input_are_a_layer() -> None:
    write(base="launchConfig: {max_jobs: 0}\n")
    result = lint("--merge", "base.yaml", "-", stdin=VALUES)
    assert result.stdout.startswith("base.yaml:1:26: error: launchConfig.max_jobs")


@pytest.mark.parametrize(
    "arguments", [("--merge", "--base", "a.yaml", "b.yaml"), ("--merge", "--kind", "queue-config", "a.yaml")]
)
def test_options_that_exclude_each_other(arguments: tuple[str, ...]) -> None:
    write(a=VALUES, b=VALUES)
    assert lint(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("agent: {apiKey: ''}", Kind.CHART_VALUES),
        ("serviceAccount: {annotations: {a: b}}", Kind.CHART_VALUES),
        ("kanikoPvcName: a", Kind.CHART_VALUES),
        ("agent: {sidecars: []}\nmetrics: {enabled: true}", Kind.CHART_VALUES),
        ("metrics: {port: 1}", Kind.LAUNCH_CONFIG),
        ("namespace: jobs", Kind.QUEUE_CONFIG),
        ("apiVersion: v1\nkind: ConfigMap\ndata: {launchConfig: x}", Kind.QUEUE_CONFIG),
        ("image: {tag: x}\nreplicaCount: 1", None),
    ],
)
def test_values_are_known_by_their_keys(text: str, kind: Kind | None) -> None:
    assert kind_of(yaml.safe_load(text)) is kind


def test_values_of_other_charts_are_left_alone_in_folders() -> None:
    write(
        a__values="serviceAccount: {name: x, roles: []}\n",
        b__values="agent: {sidecars: []}\n",
        templates__role="{{- if .Values.create }}\na: b\n{{- end }}\n",
        manifests="a: 1\n---\na: 2\n",
        action="name: x\ndescription: y\n",
    )
    result = lint(".", "--strict")
    assert result.exit_code == 0
    assert result.stdout.count("[not-checked]") == 5
    assert lint("templates/role.yaml").exit_code == 1


@pytest.mark.req("CARD-9")
def test_the_examples_are_in_order() -> None:
    result = lint(
        "--strict", str(ROOT / "examples" / "launch-configs"), str(ROOT / "examples" / "queue-configs")
    )
    assert (result.exit_code, result.stdout) == (0, "")
