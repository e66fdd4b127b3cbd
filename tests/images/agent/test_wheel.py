"""The agent's own wheel: what the build of the package makes, from a checkout and from an installation."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from launch_agent.images.agent import wheel
from tests.fakes import image_parts

_META = ("/RECORD", "/WHEEL", "/LICENSE", "licenses/LICENSE")


def contents(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith(_META)}


def test_it_holds_what_the_package_s_build_takes(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    ours = contents(wheel.write(tmp_path / "ours"))
    theirs = contents(image_parts.own_wheel(tmp_path / "theirs"))
    assert ours.keys() == theirs.keys()
    differing = {name for name, content in ours.items() if theirs[name] != content}
    # The installation's description may be of an earlier state of the checkout.
    assert {name.rpartition("/")[2] for name in differing} <= {"METADATA"}


def test_it_is_the_same_at_each_time_and_from_an_installation_of_itself(tmp_path: Path) -> None:
    for name in ("one", "two", "site", "three"):
        (tmp_path / name).mkdir()
    one = wheel.write(tmp_path / "one")
    assert one.read_bytes() == wheel.write(tmp_path / "two").read_bytes()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(tmp_path / "site"), str(one)], check=True, timeout=100)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "from pathlib import Path\n"
        "from launch_agent.images.agent import wheel\n"
        f"assert wheel.__file__.startswith({str(tmp_path)!r})\n"
        f"wheel.write(Path({str(tmp_path / 'three')!r}))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=100)
    assert (tmp_path / "three" / one.name).read_bytes() == one.read_bytes()
