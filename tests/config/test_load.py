"""File < environment < flags, the API key from three places, and one clear error for everything else."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.config import load as loading
from launch_agent.config.load import Flags
from launch_agent.config.model import AgentConfig, summary
from launch_agent.errors import ConfigError
from launch_agent.spec.policy import PROTECTED_SECRETS
from launch_agent.spec.secret import Secret

KEY = "0123456789" * 4


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def load(home: Path, text: str = "", flags: Flags | None = None, **env: str) -> AgentConfig:
    """Load the text as the file at the default place; no file where the text is empty."""
    file = home / ".config" / "wandb" / "launch-config.yaml"
    if text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return loading.load(None, {"HOME": str(home), "WANDB_API_KEY": KEY, **env}, flags)


def refusal(home: Path, text: str = "", flags: Flags | None = None, **env: str) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        load(home, text, flags, **env)
    return raised.value


@pytest.mark.req("CFG-2", "CLI-7")
def test_the_default_place_is_read(home: Path) -> None:
    assert load(home, "queues: [from-file]").queues == ("from-file",)


@pytest.mark.req("CFG-10", "CLI-2", "CLI-3", "CLI-4", "CLI-5", "CON-7")
def test_no_file_at_the_default_place_is_no_error(home: Path) -> None:
    config = load(home, flags=Flags(queues=("one", "two", "one"), entity="team", max_jobs=5))
    assert (config.queues, config.entity, config.max_jobs) == (("one", "two"), "team", 5)


@pytest.mark.req("CFG-1", "CFG-3", "CLI-6", "CON-7")
def test_a_path_is_a_file_or_a_folder(home: Path) -> None:
    (home / "launch-config.yaml").write_text("queues: [gpu]")
    (home / "other.yaml").write_text("queues: [cpu]")
    env = {"HOME": str(home), "WANDB_API_KEY": KEY}
    assert loading.load(home, env).queues == ("gpu",)
    assert loading.load(home / "other.yaml", env).queues == ("cpu",)
    assert loading.load(Path("~/other.yaml"), env).queues == ("cpu",)


@pytest.mark.req("CON-7")
@pytest.mark.parametrize("name", ["missing.yaml", "empty-folder"])
def test_a_named_file_that_is_missing_is_an_error(home: Path, name: str) -> None:
    (home / "empty-folder").mkdir()
    with pytest.raises(ConfigError, match="there is no such file") as raised:
        loading.load(home / name, {"HOME": str(home)})
    assert name in raised.value.file


def test_a_file_that_cannot_be_read_is_an_error(home: Path) -> None:
    (home / "loop.yaml").symlink_to(home / "loop.yaml")
    with pytest.raises(ConfigError, match="the file cannot be read: too many levels of symbolic links"):
        loading.load(home / "loop.yaml", {"HOME": str(home)})


def test_a_default_place_that_cannot_be_looked_at_is_an_error(home: Path) -> None:
    (home / ".config").symlink_to(home / ".config")
    error = refusal(home, flags=Flags(queues=("gpu",)))
    assert error.message == "the file cannot be read: too many levels of symbolic links"


def test_a_file_of_10_mb_is_refused_without_reading_it_all(home: Path) -> None:
    file = home / "large.yaml"
    with file.open("wb") as stream:
        stream.truncate(10_000_000)
    assert len(loading.fetch(file)) == 1024 * 1024 + 1
    with pytest.raises(ConfigError, match="larger than 1024 KiB"):
        loading.load(file, {"HOME": str(home)})


@pytest.mark.req("GAP-3")
def test_environment_goes_before_file_and_flags_before_both(home: Path) -> None:
    text = "queues: [file]\nentity: file\nmax_jobs: 1\nstart-timeout: 1\nbase_url: https://file.example.com"
    env = {
        "WANDB_ENTITY": "environment",
        "WANDB_LAUNCH_MAX_JOBS": " 2 ",
        "WANDB_LAUNCH_START_TIMEOUT": "0.5",
        "WANDB_BASE_URL": "https://environment.example.com/",
    }
    config = load(home, text, None, **env)
    assert (config.entity, config.max_jobs, config.start_timeout) == ("environment", 2, 0.5)
    assert config.base_url == "https://environment.example.com"
    config = load(home, text, Flags(queues=("flag",), entity="flag", max_jobs=-1), **env)
    assert (config.queues, config.entity, config.max_jobs) == (("flag",), "flag", -1)


@pytest.mark.req("CON-19", "GAP-1")
def test_max_jobs_is_one_where_nobody_says_otherwise(home: Path) -> None:
    assert load(home, "queues: [gpu]").max_jobs == 1


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("WANDB_LAUNCH_MAX_JOBS", "many", 'at least 1, or -1 for no limit, not the text "many"'),
        ("WANDB_LAUNCH_MAX_JOBS", "0", "at least 1, or -1 for no limit, not 0"),
        ("WANDB_LAUNCH_START_TIMEOUT", "-1", "must be at least 0, not -1.0"),
        ("WANDB_LAUNCH_START_TIMEOUT", "nan", 'must be a number, not the text "nan"'),
        ("WANDB_BASE_URL", "api.wandb.ai", "begins with https:// or http://"),
        ("LAUNCH_AGENT_NAME", "a b", "letters, digits"),
        ("LAUNCH_AGENT_METRICS_PORT", "http", 'a whole number, not the text "http"'),
        ("LAUNCH_AGENT_METRICS_PORT", "70000", "at most 65535, not 70000"),
        ("LAUNCH_AGENT_LEASE", "launch-agent", "a namespace and a name"),
    ],
)
def test_junk_in_the_environment_is_named(home: Path, variable: str, text: str, message: str) -> None:
    error = refusal(home, "queues: [gpu]", None, **{variable: text})
    assert str(error).startswith(f"environment variable {variable}: must be ")
    assert message in error.message


def test_the_environment_reaches_nested_keys(home: Path) -> None:
    text = "queues: [gpu]\nmetrics: {host: 127.0.0.2, port: 1}"
    metrics = load(home, text, None, LAUNCH_AGENT_METRICS_PORT="8080").metrics
    assert (metrics.host, metrics.port) == ("127.0.0.2", 8080)
    assert load(home, "queues: [gpu]", None, LAUNCH_AGENT_METRICS_PORT="8080").metrics.port == 8080


def test_agents_that_share_a_name_have_a_lease(home: Path) -> None:
    alone = load(home, "queues: [gpu]").leader_election
    assert (alone.lease, alone.duration) == ("", 15)
    text = "queues: [gpu]\nleader-election: {duration: 30, credentials: ~/account}"
    shared = load(home, text, None, LAUNCH_AGENT_LEASE="wandb/launch-agent").leader_election
    assert (shared.lease, shared.duration) == ("wandb/launch-agent", 30)
    assert shared.credentials == home / "account"


def test_lists_of_the_environment_are_added_to_the_files(home: Path) -> None:
    text = "queues: [gpu]\nrunner: {kubernetes: {target-namespaces: [b, a]}}"
    env = {"LAUNCH_AGENT_TARGET_NAMESPACES": "a, c,,c", "LAUNCH_AGENT_PROTECTED_SECRETS": "mine"}
    config = load(home, text, None, **env)
    assert config.runner["kubernetes"]["target-namespaces"] == ["b", "a", "c"]
    assert config.policy.protected_secrets == (*PROTECTED_SECRETS, "mine")
    assert load(home, "queues: [gpu]", None, **env).runner["kubernetes"]["target-namespaces"] == ["a", "c"]


def test_junk_in_flags_is_named(home: Path) -> None:
    error = refusal(home, flags=Flags(queues=("gpu",), max_jobs=-2))
    assert str(error).startswith("option --max-jobs: must be a whole number of at least 1")
    error = refusal(home, flags=Flags(queues=("",)))
    assert str(error) == 'option --queue: must be a text that is not empty, not the text ""'


@pytest.mark.parametrize(
    ("text", "flags", "level", "file"),
    [
        ("", Flags(), "info", ""),
        ("verbosity: 0", Flags(), "info", ""),
        ("verbosity: 2", Flags(), "debug", ""),
        ("verbosity: 2\nlog: {level: error}", Flags(), "error", ""),
        ("log: {level: error, file: a.log}", Flags(verbose=1, log_file="b.log"), "debug", "b.log"),
        ("log: {file: a.log}", Flags(), "info", "a.log"),
    ],
)
def test_how_much_is_logged(home: Path, text: str, flags: Flags, level: str, file: str) -> None:
    log = load(home, f"queues: [gpu]\n{text}", flags).log
    assert (log.level, log.file) == (level, file)


def test_the_name_is_given_or_the_releases_or_the_hosts(home: Path) -> None:
    text = "queues: [gpu]"
    assert load(home, f"{text}\nname: mine", WANDB_RELEASE_NAME="release").name == "mine"
    assert load(home, text, WANDB_RELEASE_NAME="release").name == "release"
    assert load(home, f"{text}\nname: mine", LAUNCH_AGENT_NAME="other").name == "other"
    assert load(home, text).name == socket.gethostname()


def test_the_home_folder_is_filled_in(home: Path) -> None:
    assert load(home, "queues: [gpu]").state_dir == home / ".local/state/launch-agent"
    assert load(home, "queues: [gpu]", LAUNCH_AGENT_STATE_DIR="~/x").state_dir == home / "x"


def test_no_queue_names_both_ways_to_name_one(home: Path) -> None:
    error = refusal(home)
    assert error.message == "no queue is named"
    assert "-q <queue>" in error.hint
    assert "queues: [<queue>]" in error.hint


class TestKey:
    def test_the_environment_goes_before_the_file(self, home: Path) -> None:
        (home / "key").write_text("from-file")
        assert load(home, "queues: [gpu]\napi-key-file: ~/key").api_key == Secret(KEY)

    def test_a_relative_file_lies_beside_the_config(self, home: Path) -> None:
        (home / ".config/wandb").mkdir(parents=True)
        (home / ".config/wandb/key").write_text(" from-file\n")
        config = load(home, "queues: [gpu]\napi-key-file: key", WANDB_API_KEY="")
        assert config.api_key == Secret("from-file")

    def test_the_netrc_file_is_the_last_resort(self, home: Path) -> None:
        (home / ".netrc").write_text("machine wandb.example.com login user password from-netrc\n")
        text = "queues: [gpu]\nbase_url: https://wandb.example.com:8080"
        assert load(home, text, WANDB_API_KEY="").api_key == Secret("from-netrc")

    def test_another_netrc_file_can_be_named(self, home: Path) -> None:
        (home / "netrc").write_text("machine api.wandb.ai login user password from-netrc\n")
        config = load(home, "queues: [gpu]", WANDB_API_KEY="", NETRC=str(home / "netrc"))
        assert config.api_key == Secret("from-netrc")

    def test_no_key_names_all_three_ways(self, home: Path) -> None:
        (home / ".netrc").write_text("machine other.example.com login user password x\n")
        error = refusal(home, "queues: [gpu]", WANDB_API_KEY="")
        assert error.message == "there is no API key for api.wandb.ai"
        assert all(way in error.hint for way in ("WANDB_API_KEY", "api-key-file", "~/.netrc"))

    @pytest.mark.parametrize(
        ("content", "message"),
        [(None, "no such file"), (b"", "is empty"), (b"\xff", "it is not a text"), (b"a b", "holds spaces")],
    )
    def test_a_useless_key_file(self, home: Path, content: bytes | None, message: str) -> None:
        if content is not None:
            (home / "key").write_bytes(content)
        error = refusal(home, "queues: [gpu]\napi-key-file: ~/key", WANDB_API_KEY="")
        assert message in error.message

    def test_a_broken_netrc_file(self, home: Path) -> None:
        (home / ".netrc").write_text("\nnonsense api.wandb.ai\n")
        error = refusal(home, "queues: [gpu]", WANDB_API_KEY="")
        assert error.file == str(home / ".netrc")
        assert error.line > 0

    def test_a_netrc_file_that_cannot_be_read(self, home: Path) -> None:
        (home / ".netrc").symlink_to(home / ".netrc")
        error = refusal(home, "queues: [gpu]", WANDB_API_KEY="")
        assert str(error) == f"{home}/.netrc: the file cannot be read: too many levels of symbolic links"

    @pytest.mark.req("ENV-1")
    def test_the_key_is_never_shown(self, home: Path) -> None:
        config = load(home, "queues: [gpu]")
        assert KEY not in repr(config)
        assert KEY not in json.dumps(summary(config))


def test_the_summary_is_json_without_secrets(home: Path) -> None:
    config = load(home, "queues: [gpu]\nname: a\nbuilder: {type: noop}\nenvironment: {type: azure}")
    assert json.loads(json.dumps(summary(config))) == {
        "name": "a",
        "entity": "",
        "queues": ["gpu"],
        "max_jobs": 1,
        "max_schedulers": 1,
        "secure_mode": False,
        "environment": {"type": "azure"},
        "builder": {"type": "noop"},
    }


def test_warnings_about_the_file_go_with_the_config(home: Path) -> None:
    config = load(home, "queue: gpu\n")
    file = home / ".config" / "wandb" / "launch-config.yaml"
    assert config.warnings == (
        f"{file}:1:1: queue: 'queue' is an older form (the newer form is queues: [<name>])",
    )


def test_queue_adds_to_queues_without_repetitions(home: Path) -> None:
    assert load(home, "queues: [a, b]\nqueue: [b, c, c]").queues == ("a", "b", "c")


def test_a_user_without_a_home_has_the_root_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert loading.home_of({}) == Path("/")


OLDER = [
    ("type: ecr\nuri: {ecr}", "type: aws\nregion: us-east-1", "{ecr}"),
    ("type: ecr\naccount_id: 123456789012\nrepo_name: jobs", "type: aws\nregion: us-east-1", "{ecr}"),
    ("type: gcr\nuri: {gar}", "type: gcp\nregion: us-west1\nproject: p", "{gar}"),
    ("type: gar\nrepository: r\nimage-name: i", "type: gcp\nregion: us-west1\nproject: p", "{gar}"),
    ("type: acr\nuri: https://r.azurecr.io/jobs/", "type: azure", "r.azurecr.io/jobs"),
]


@pytest.mark.req("CON-1", "CFG-13", "CFG-21")
@pytest.mark.parametrize(("registry", "environment", "destination"), OLDER)
@pytest.mark.parametrize("older_form_too", [False, True])
def test_both_dialects_mean_the_same(
    home: Path, registry: str, environment: str, destination: str, older_form_too: bool
) -> None:
    names = {
        "ecr": "123456789012.dkr.ecr.us-east-1.amazonaws.com/jobs",
        "gar": "us-west1-docker.pkg.dev/p/r/i",
    }
    value: dict[str, Any] = {"queues": ["gpu"], "environment": yaml.safe_load(environment)}
    registry_block = yaml.safe_load(registry.format(**names))
    older = load(home, yaml.safe_dump({**value, "registry": registry_block}))
    builder = {"destination": destination.format(**names)}
    both = {"registry": registry_block} if older_form_too else {}
    newer = load(home, yaml.safe_dump({**value, **both, "builder": builder}))
    assert (older.builder, older.environment) == (newer.builder, newer.environment)
    assert bool(newer.warnings) is older_form_too


def test_importing_it_is_cheap() -> None:
    code = "import sys, launch_agent.config.load; print([m for m in sys.modules if 'jsonschema' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


names = st.text(alphabet="abcdefghij-", min_size=1, max_size=20)
durations = st.floats(min_value=0.1, max_value=300)
configs = st.fixed_dictionaries(
    {"queues": st.lists(names, min_size=1, max_size=5, unique=True)},
    optional={
        "entity": names,
        "max_jobs": st.just(-1) | st.integers(1, 10_000),
        "max_schedulers": st.integers(-1, 100),
        "secure_mode": st.booleans(),
        "stopped_run_timeout": durations,
        "poll-interval": durations,
        "poll-wait": durations,
        "start-timeout": durations,
        "drain-timeout": durations,
        "ready-after": durations,
        "max-concurrent-launches": st.integers(1, 256),
        "log-tail": st.integers(0, 10_000),
        "metrics": st.fixed_dictionaries({}, optional={"port": st.integers(0, 65535)}),
        "log": st.fixed_dictionaries({"level": st.sampled_from(["debug", "info", "warning", "error"])}),
        "policy": st.fixed_dictionaries(
            {"allow": st.dictionaries(st.just("kubernetes"), st.dictionaries(names, st.booleans()))}
        ),
        "builder": st.sampled_from(
            [{}, {"type": "noop"}, {"type": "docker"}, {"type": "docker", "destination": "r.example.com/x"}]
        ),
    },
)


@given(configs)
def test_what_is_written_is_what_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, value: Mapping[str, Any]
) -> None:
    home = tmp_path_factory.getbasetemp()
    config = load(home, yaml.safe_dump(dict(value)))
    fields = {"stopped_run_timeout": "stop_timeout", "queues": "queues"}
    for key, item in value.items():
        if not isinstance(item, dict | list) and key != "secure_mode":
            assert getattr(config, fields.get(key, key.replace("-", "_"))) == item
    assert list(config.queues) == value["queues"]
    assert config.policy.secure_mode == value.get("secure_mode", False)
    assert config.builder.type == value.get("builder", {}).get("type", "")


def test_a_volume_claim_takes_the_place_of_store_and_environment(home: Path) -> None:
    text = "queues: [gpu]\nbuilder: {type: kaniko, destination: registry.example.com/jobs}\n"
    assert refusal(home, text).path == "builder"
    config = load(home, text, WANDB_LAUNCH_KANIKO_PVC_NAME="builds")
    assert config.builder.type == "kaniko"
