"""What the documents tell a reader to type or to open is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from launch_agent.cli.main import COMMANDS
from tests.fakes.command import Ran, command
from tests.fakes.own_server import KEY, OwnServer

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(path.name for path in ROOT.glob("*.md"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE))


def make(*arguments: str) -> str:
    """Run make and return what it prints. The tests may themselves run below make: it must not know."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in {"STAGES", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS"}
    }
    done = subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_that_are_named_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^ {4,})make ([a-z][a-z0-9-]*)", text, re.MULTILINE))
    assert named <= TARGETS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_within_the_repository_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith("#")]
    assert [link for link in local if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md"])
def test_commands_that_are_named_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    # In code only: prose says "a launch-agent config".
    named = set(re.findall(r"(?:`|^ {4,}\$? ?|^\$ )launch-agent ([a-z]+)\b", text, re.MULTILINE))
    assert named <= set(COMMANDS)


def test_every_make_target_is_listed_by_help_and_can_be_planned() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE.replace("\\\n", " "), re.MULTILINE)
    assert set(phony.split()) == TARGETS
    listed = make("-s", "help")
    assert {line.split()[0] for line in listed.splitlines()} == TARGETS
    for target in sorted(TARGETS):
        make("-n", target)


def test_the_hook_and_the_action_call_the_lint() -> None:
    hook, values = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["entry"] == "launch-agent lint"
    assert re.search(hook["files"], "clusters/a/launch-config.yaml")
    assert not re.search(hook["files"], "docs/launch-config.md")
    assert values["entry"] == "launch-agent lint --kind chart-values"
    for file in ("launch-agent.yaml", "clusters/eu/launch-agent-values.yml", "launch-agent/eu-1.yaml"):
        assert re.search(values["files"], file)
    assert not re.search(values["files"], "clusters/eu/values.yaml")
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    script = action["runs"]["steps"][-1]["run"]
    assert 'launch-agent" lint --format github' in script
    # An expression inside of a script would let an input become program text.
    assert not any("${{" in step.get("run", "") for step in action["runs"]["steps"])


PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md"))
_FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def _anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make, as GitHub names them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_lead_to_pages_and_headings_that_are_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_every_page_is_on_the_map() -> None:
    on_it = set(re.findall(r"\]\(([^)#\s]+)", _page("README.md")))
    written = {str(page.relative_to(ROOT / "docs")) for page in PAGES}
    assert written - {"README.md"} <= on_it


@pytest.mark.parametrize("page", ["set-up.md", "clouds.md", "sagemaker.md"])
def test_the_configs_on_the_pages_are_in_order(page: str, tmp_path: Path) -> None:
    configs = [text for text in _FENCE.findall(_page(page)) if "queues:" in text]
    assert configs
    for text in configs:
        file = tmp_path / "launch-config.yaml"
        file.write_text(text)
        ran = command("lint", "--strict", str(file), env={})
        assert ran.code == 0, ran.out


@pytest.mark.req("DOC-1", "DOC-3", "AGT-9")
def test_a_queue_and_an_agent_are_set_up_in_two_steps() -> None:
    heads = re.findall(r"^#+ (.+)$", _page("set-up.md"), re.MULTILINE)
    steps = [head for head in heads if head[0].isdigit()]
    assert steps == ["1. A queue", "2. An agent"]
    assert heads.index("1. A queue") < heads.index("Templates") < heads.index("2. An agent")
    assert "docs/README.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "charts/launch-agent/README.md" in _page("set-up.md"), "how an agent runs within a cluster"


@pytest.mark.req("DOC-3", "GAP-10")
def test_the_template_on_the_page_works(tmp_path: Path) -> None:
    for name, text in zip(("queue", "variables"), _FENCE.findall(_page("set-up.md")), strict=False):
        (tmp_path / f"{name}.yaml").write_text(text)
    world = OwnServer(tmp_path / "server")
    env = {"WANDB_BASE_URL": world.server.url, "WANDB_API_KEY": KEY}

    def run(*arguments: str) -> Ran:
        return command(*arguments, env=env)

    try:
        files = ("-c", f"{tmp_path}/queue.yaml", "--template-variables", f"{tmp_path}/variables.yaml")
        assert run("queue", "create", "gpu", "-r", "kubernetes", *files).code == 0
        submit = ("submit", "-q", "gpu", "-d", "registry.example.com/train:1", "-p", "vision")
        refused = run(*submit, "--set-var", "gpus=9", "--set-var", "pool=h100")
        assert refused.code == 3
        assert "9 is greater than the maximum of 8" in refused.err
        taken = run(*submit, "--set-var", "gpus=4", "--set-var", "pool=h100")
        assert taken.code == 0, taken.err
    finally:
        world.close()


@pytest.mark.req("DOC-2")
def test_every_way_to_make_a_job_is_told() -> None:
    text = _page("jobs-from-code.md")
    for kind in ("code", "git", "image"):
        assert f"launch-agent job create {kind} " in text
    assert "### Addresses" in text


@pytest.mark.req("DOC-4", "CON-22")
def test_every_target_resource_has_its_page() -> None:
    on_it = re.findall(r"\]\(([^)#\s]+)", _page("README.md"))
    for page in ("set-up.md", "kubernetes-queues.md", "sagemaker.md", "vertex.md"):
        assert page in on_it
        assert (ROOT / "docs" / page).exists()


@pytest.mark.req("DOC-5", "DOC-9")
def test_registry_environment_and_permissions_are_told_in_one_place() -> None:
    text = _page("clouds.md")
    for cloud in ("Amazon Web Services", "Google Cloud", "Azure"):
        part = text.partition(f"## {cloud}\n")[2].partition("\n## ")[0]
        for what in ("environment:", "destination:", "*Credentials*", "*Rights*"):
            assert what in part, (cloud, what)
    builders = json.loads((ROOT / "schemas/builder.json").read_text())["properties"]["type"]["enum"]
    assert [name for name in builders if f"| `{name}` |" not in text] == []


@pytest.mark.req("DOC-6", "GAP-2")
def test_every_command_is_in_the_reference_with_its_flags() -> None:
    # In a process of its own: a command keeps the help flag that it was first called with.
    check = [sys.executable, "-m", "tools.commands", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    start = _page("reference/commands.md").partition("## launch-agent start\n")[2].partition("\n## ")[0]
    for flags in ("-q, --queue", "-e, --entity", "-j, --max-jobs", "-c, --config"):
        assert flags in start
    assert set(re.findall(r"^## launch-agent ([a-z]+)", _page("reference/commands.md"), re.MULTILINE)) == set(
        COMMANDS
    )


@pytest.mark.req("DOC-7")
def test_what_a_service_account_is_for_is_told() -> None:
    assert "service account" in _page("set-up.md").partition("### Its key")[2].partition("###")[0]


@pytest.mark.req("DOC-8", "CON-17", "GAP-23", "GAP-25")
def test_what_the_clouds_call_things_is_named_as_they_call_it() -> None:
    text = _page("clouds.md")
    for name in (
        "GOOGLE_APPLICATION_CREDENTIALS", "~/.aws/credentials", "boto3", "google-auth", "azure-identity",
        "`AcrPush`", "`Storage Blob Data Contributor`", "`docker`", "`kaniko`", "CoreWeave",
        ":repository/<repository>",
    ):  # fmt: skip
        assert name in text
    assert "`AcrPush` on the registry, for `docker` as for `kaniko`" in text


@pytest.mark.req("GAP-24")
def test_whatever_the_documents_leave_open_about_the_loop_has_a_default() -> None:
    keys = json.loads((ROOT / "schemas/launch-config.json").read_text())["properties"]
    for key in ("poll-interval", "poll-wait", "start-timeout", "drain-timeout", "ready-after", "log-tail"):
        assert "default" in keys[key]
        assert f"| `{key}` |" in _page("reference/launch-config.md")
