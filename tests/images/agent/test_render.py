"""The folder that an image is built of: golden for each example, and what keeps it from being written."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from launch_agent.config import load
from launch_agent.errors import ConfigError, ImageError, LaunchError
from launch_agent.images.agent import choose, needs, render, wheel
from launch_agent.images.agent.choose import Choices
from launch_agent.images.agent.plan import ExtraFile, Index, Plan
from launch_agent.spec.secret import Secret

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "agent-image"
EXAMPLES = sorted(
    [*(ROOT / "examples" / "values").glob("*.yaml"), *(ROOT / "examples" / "launch-configs").glob("*.yaml")]
)
BOTH = ("linux/amd64", "linux/arm64")


def plan_of(file: Path, **choices: object) -> Plan:
    found = needs.read({file.name: load.fetch(file)})
    told = {"python": "3.12", "platforms": BOTH, **choices}
    return choose.make(found, Choices(**told))  # type: ignore[arg-type] # a test's own words


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: f"{file.parent.name}-{file.stem}")
@pytest.mark.req("CARD-1", "CARD-8")
def test_each_example_has_the_folder_that_is_written_down(file: Path) -> None:
    """`UPDATE_GOLDEN=1` writes it down again."""
    plan = plan_of(file)
    folder = GOLDEN / f"{file.parent.name}-{file.stem}"
    names = "".join(f"{each.name}: {', '.join(each.why)}\n" for each in plan.packages)
    made = {
        "Dockerfile": render.dockerfile(plan).replace(f" {plan.version} ", " VERSION "),
        "packages": names,
        "needs": "".join(
            f"{name}: {'; '.join(reasons)}\n"
            for name, reasons in {
                **needs.read({file.name: load.fetch(file)}).extras,
                **needs.read({file.name: load.fetch(file)}).programs,
            }.items()
        ),
    }
    made["Dockerfile"] = made["Dockerfile"].replace(f'"{plan.version}"', '"VERSION"')
    if os.environ.get("UPDATE_GOLDEN"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (folder / name).write_text(text)
    for name, text in made.items():
        assert (folder / name).read_text() == text, f"{folder / name} differs (UPDATE_GOLDEN=1 renews it)"


def test_the_folder_is_whole_or_not_there_at_all(tmp_path: Path) -> None:
    plan = plan_of(EXAMPLES[0])
    own = wheel.write(tmp_path)
    out = tmp_path / "image"
    lost = replace(plan, extra_files=(ExtraFile(source=tmp_path / "none", destination="/x"),))
    with pytest.raises(ImageError, match="is not there"):
        render.render(lost, own, out)
    assert sorted(each.name for each in tmp_path.iterdir()) == [own.name]
    # What a run that was killed left is no hindrance.
    (tmp_path / ".image.part").mkdir()
    (tmp_path / ".image.part" / "Dockerfile").write_text("FROM half")
    render.render(plan, own, out)
    found = {each.name for each in out.iterdir()}
    assert found == {
        "Dockerfile", "requirements.txt", "wheels", "install.py", "sweep.py", "prune.json", ".dockerignore",
    }  # fmt: skip
    assert [each.name for each in (out / "wheels").iterdir()] == [own.name]
    assert not (tmp_path / ".image.part").exists()
    with pytest.raises(ConfigError, match="not empty"):
        render.render(plan, own, out)
    with pytest.raises(ConfigError, match="is a file"):
        render.render(plan, own, own)


def test_all_requirements_are_locked_by_hash_and_say_what_they_are_for() -> None:
    text = render.requirements(plan_of(ROOT / "examples" / "values" / "eks-kaniko.yaml"))
    blocks = [block for block in text.replace("\\\n", " ").split("\n    # for ") if "==" in block]
    assert len(blocks) > 10
    assert all("--hash=sha256:" in block for block in blocks)
    assert "# for extra aws\n" in text
    assert "index" not in text


def test_what_opens_an_index_is_mounted_and_never_written(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----")
    index = Index(
        url="https://pypi.example.com/simple", user="u", password=Secret("sesame"), ca=tmp_path / "ca.crt"
    )
    plan = plan_of(EXAMPLES[0], index=index)
    out = tmp_path / "image"
    render.render(plan, wheel.write(tmp_path), out)
    assert "--mount=type=secret,id=pip" in (out / "Dockerfile").read_text()
    for file in out.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"sesame" not in content
            assert b"pypi.example.com" not in content
    assert "--mount" not in render.dockerfile(plan, is_fetched=True)


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"python": "3.9"}, "no version|not a version"),
        ({"python": "latest"}, "not a version"),
        ({"platforms": ("windows/amd64",)}, "not a platform"),
        ({"extras": ("oracle",)}, "no extra 'oracle'"),
        ({"system": ("git; rm -rf /",)}, "not the name of a Debian package"),
        ({"base": "UPPER/case:1:2"}, "not an image reference"),
        ({"labels": {"a": "b\nRUN evil"}}, "no place in a Dockerfile"),
        ({"labels": {'x"\nRUN y': "b"}}, "no place in a Dockerfile"),
    ],
)
def test_choices_that_are_none_are_one_clear_error(choices: dict[str, object], says: str) -> None:
    with pytest.raises(LaunchError, match=says):
        render.dockerfile(plan_of(EXAMPLES[0], **choices))
