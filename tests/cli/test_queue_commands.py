"""`queue`, `submit`, `status`, `stop` and `logs` against the embedded server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from launch_agent.spec.model import Failure, Outcome, RunState, Stage
from tests.contracts.queue_client import ENTITY, claim_of, registration
from tests.fakes.command import Ran, command
from tests.fakes.eventually import eventually
from tests.fakes.fault_proxy import FaultProxy, lost
from tests.fakes.own_server import KEY, OwnServer

Run = Callable[..., Ran]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OwnServer]:
    made = OwnServer(tmp_path / "server")
    yield made
    made.close()


@pytest.fixture
def run(world: OwnServer, tmp_path: Path) -> Run:
    env = {"WANDB_BASE_URL": world.server.url, "WANDB_API_KEY": KEY, "HOME": str(tmp_path)}
    return lambda *args, stdin="", **more: command(*args, env={**env, **more}, stdin=stdin)


@pytest.fixture
def queue(run: Run) -> str:
    assert run("queue", "create", "gpus", "-r", "local-process").code == 0
    return "gpus"


@pytest.mark.req("QUEUE-3", "QUEUE-5", "QUEUE-7", "QUEUE-16")
def test_a_queue_is_created_with_everything_that_the_web_page_asks_for(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "queue.yaml"
    config.write_text("spec:\n  template:\n    spec:\n      containers: []\nnamespace: '{{namespace}}'\n")
    variables = tmp_path / "variables.json"
    variables.write_text('{"namespace": {"schema": {"type": "string", "default": "jobs"}}}')
    made = run(
        "queue", "create", "big", "-r", "kubernetes", "-c", str(config), "-e", ENTITY,
        "--template-variables", str(variables), "--prioritize",
    )  # fmt: skip
    assert (made.code, made.out) == (0, "queue big of acme is created\n")
    assert run("queue", "show", "big", "--format", "json").json() == {
        "name": "big",
        "resource": "kubernetes",
        "config": {"spec": {"template": {"spec": {"containers": []}}}, "namespace": "{{namespace}}"},
        "prioritized": True,
        "template_variables": {"namespace": {"type": "string", "default": "jobs"}},
    }
    shown = run("queue", "show", "big").out
    assert "resource: kubernetes" in shown
    assert "  namespace: '{{namespace}}'" in shown


@pytest.mark.parametrize(
    "text",
    [
        '{"memory": "2g"}',
        "memory: 2g",
        "local-container: {memory: 2g}",
        '{"resource_args": {"local-container": {"memory": "2g"}}}',
    ],
)
@pytest.mark.req("QUEUE-16")
def test_a_config_is_json_or_yaml_and_may_be_wrapped(run: Run, text: str) -> None:
    assert run("queue", "create", "q", "-r", "local-container", "-c", "-", stdin=text).code == 0
    assert run("queue", "show", "q", "--format", "json").json()["config"] == {"memory": "2g"}


def test_a_config_for_another_resource_is_refused(run: Run) -> None:
    ran = run("queue", "create", "q", "-r", "local-container", "-c", "-", stdin="kubernetes: {namespace: x}")
    assert ran.code == 2
    assert "settings for kubernetes" in ran.err


def test_a_config_that_agents_would_refuse_is_warned_of(run: Run) -> None:
    ran = run("queue", "create", "q", "-r", "local-container", "-c", "-", stdin="privileged: true")
    assert ran.code == 0
    assert "warning:" in ran.err
    assert "privileged" in ran.err


@pytest.mark.parametrize(
    ("args", "stdin", "words"),
    [
        (("-c", "/nowhere.yaml"), "", "no such file"),
        (("-c", "-"), "\ta: 1", "tab"),
        (("-c", "-"), "[1, 2]", "must be a mapping"),
        (("-c", "-"), "a: 1\na: 2", "second time"),
    ],
)
def test_a_config_that_cannot_be_read(run: Run, args: tuple[str, ...], stdin: str, words: str) -> None:
    ran = run("queue", "create", "q", "-r", "local-container", *args, stdin=stdin)
    assert ran.code == 2
    assert words in ran.err


def test_create_does_not_change_a_queue_that_is_there(run: Run, queue: str) -> None:
    ran = run("queue", "create", queue, "-r", "kubernetes")
    assert ran.code == 3
    assert "already" in ran.err
    assert run("queue", "show", queue, "--format", "json").json()["resource"] == "local-process"


def test_update_keeps_what_no_option_names(run: Run) -> None:
    run("queue", "create", "q", "-r", "local-container", "-c", "-", "--prioritize", stdin="memory: 2g")
    assert run("queue", "update", "q", "-c", "-", stdin="memory: 4g").code == 0
    shown = run("queue", "show", "q", "--format", "json").json()
    assert (shown["config"], shown["prioritized"]) == ({"memory": "4g"}, True)
    run("queue", "update", "q", "--no-prioritize")
    shown = run("queue", "show", "q", "--format", "json").json()
    assert (shown["config"], shown["prioritized"]) == ({"memory": "4g"}, False)
    assert run("queue", "update", "r", "--prioritize").code == 3


@pytest.mark.req("QUEUE-8", "QUEUE-9")
def test_queues_are_listed_and_deleted(run: Run, queue: str) -> None:
    run("queue", "create", "another", "-r", "kubernetes", "--prioritize")
    names = [entry["name"] for entry in run("queue", "list", "--format", "json").json()]
    assert names == ["another", "gpus"]
    assert "priority" in run("queue", "list").out
    refused = run("queue", "delete", queue, stdin="n\n")
    assert refused.code == 1
    assert run("queue", "delete", queue, "--yes").code == 0
    assert run("queue", "delete", "another", stdin="y\n").code == 0
    assert "there is no queue" in run("queue", "list").out


@pytest.mark.req("QUEUE-2", "QUEUE-13", "JOB-10")
def test_what_is_submitted_reaches_an_agent(run: Run, world: OwnServer, tmp_path: Path) -> None:
    run(
        "queue",
        "create",
        "q",
        "-r",
        "local-container",
        "-c",
        "-",
        "--prioritize",
        stdin="memory: 2g\ncpus: 1",
    )
    (tmp_path / "args.yaml").write_text("memory: 8g\n")
    (tmp_path / "config.json").write_text('{"lr": 0.1}')
    late = run("submit", "-q", "q", "-d", "img:1", "-p", "p", "-P", "low", "--format", "json").json()["item"]
    ran = run(
        "submit", "-q", "q", "--image", "img:2", "-p", "p", "--priority", "critical", "--name", "first",
        "-E", "python 'a b.py'", "-R", str(tmp_path / "args.yaml"), "-c", str(tmp_path / "config.json"),
        "--", "--epochs", "3",
    )  # fmt: skip
    assert ran.code == 0
    world.client.register(registration("q"))
    first, second = world.client.pop(["q"], 2).leases
    assert second.item_id == late
    assert first.spec["docker"] == {"docker_image": "img:2"}
    assert first.spec["overrides"] == {
        "args": ["--epochs", "3"],
        "entry_point": ["python", "a b.py"],
        "run_config": {"lr": 0.1},
    }
    assert first.spec["resource_args"] == {"local-container": {"memory": "8g", "cpus": 1}}
    assert second.spec["resource_args"] == {"local-container": {"memory": "2g", "cpus": 1}}
    assert (first.spec["entity"], first.spec["project"], first.spec["name"]) == (ENTITY, "p", "first")
    assert first.spec["author"] == "admin"


def test_a_job_artifact_names_its_project(run: Run, world: OwnServer, queue: str) -> None:
    assert run("submit", "-q", queue, "-j", "acme/vision/job-train:v3").code == 0
    assert run("submit", "-q", queue, "-j", "job-train:v3", "-p", "vision").code == 0
    world.client.register(registration(queue))
    for lease in world.client.pop([queue], 2).leases:
        assert (lease.spec["job"], lease.spec["project"]) == ("acme/vision/job-train:v3", "vision")


def test_a_whole_spec_from_standard_input(run: Run, world: OwnServer, queue: str) -> None:
    spec = {"project": "p", "docker": {"docker_image": "x"}, "overrides": {"args": ["a"]}}
    assert run("submit", "-q", queue, "-s", "-", "--name", "n", stdin=json.dumps(spec)).code == 0
    world.client.register(registration(queue))
    [lease] = world.client.pop([queue], 1).leases
    assert (lease.spec["docker"], lease.spec["name"]) == ({"docker_image": "x"}, "n")
    assert lease.spec["overrides"] == {"args": ["a"]}


@pytest.mark.req("QUEUE-15")
def test_template_variables_are_set_and_checked(run: Run, world: OwnServer, tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{"n": {"type": "integer", "maximum": 4}}')
    run(
        "queue", "create", "q", "-r", "local-container", "-c", "-", "--template-variables",
        str(tmp_path / "v.json"), stdin='cpus: "{{n}}"',
    )  # fmt: skip
    job = ("submit", "-q", "q", "-d", "img", "-p", "p")
    assert run(*job, "--set-var", "n=3").code == 0
    too_many = run(*job, "--set-var", "n=9")
    assert too_many.code == 3
    assert "pushing to the queue" in too_many.err
    assert "9" in too_many.err
    assert run(*job, "--set-var", "n").code == 2
    world.client.register(registration("q"))
    [lease] = world.client.pop(["q"], 5).leases
    assert lease.spec["resource_args"] == {"local-container": {"cpus": 3}}


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("-d", "img", "-j", "job", "-p", "p"),
        ("-d", "img"),
        ("-d", "img", "-p", "p", "-P", "urgent"),
        ("-s", "/nowhere.json"),
    ],
)
def test_wrong_usage_of_submit(run: Run, queue: str, args: tuple[str, ...]) -> None:
    assert run("submit", "-q", queue, *args).code == 2


def test_a_queue_that_is_not_there_is_named(run: Run, queue: str) -> None:
    ran = run("submit", "-q", "gpu", "-d", "img", "-p", "p")
    assert ran.code == 3
    assert "'gpu'" in ran.err


@pytest.mark.req("QUEUE-4")
def test_a_push_whose_answer_is_lost_is_one_item(run: Run, world: OwnServer, queue: str) -> None:
    with FaultProxy(world.server.url) as proxy:
        assert isinstance(proxy, FaultProxy)
        proxy.next(lost, on="pushToRunQueueByName")
        ran = run("submit", "-q", queue, "-d", "i", "-p", "p", "--format", "json", WANDB_BASE_URL=proxy.url)
        assert proxy.forwarded.count("pushToRunQueueByName") == 2
    items = run("status", queue, "--format", "json").json()
    assert [item["id"] for item in items] == [ran.json()["item"]]


def submitted(run: Run, queue: str) -> str:
    return str(run("submit", "-q", queue, "-d", "i", "-p", "p", "--format", "json").json()["item"])


def test_status_shows_queues_items_and_one_item(run: Run, queue: str) -> None:
    item = submitted(run, queue)
    assert run("status").out.splitlines()[1].split()[:4] == ["gpus", "local-process", "fifo", "1"]
    assert item in run("status", queue).out
    for args in ((queue, item), (item,)):
        assert "state:     PENDING" in run("status", *args).out
        assert run("status", *args, "--format", "json").json()["state"] == "PENDING"
    ran = run("status", "nothing")
    assert ran.code == 3
    assert "no queue item 'nothing'" in ran.err


def test_a_waiting_item_is_stopped(run: Run, world: OwnServer, queue: str) -> None:
    item = submitted(run, queue)
    assert run("stop", item).out == f"item {item} will not run\n"
    assert run("status", item, "--format", "json").json()["state"] == "STOPPED"
    world.client.register(registration(queue))
    assert world.client.pop([queue], 1).leases == ()
    again = run("stop", item)
    assert (again.code, again.out) == (0, f"item {item} has ended already: STOPPED\n")


def test_a_running_item_is_asked_to_stop(run: Run, world: OwnServer, queue: str) -> None:
    item = submitted(run, queue)
    world.client.register(registration(queue))
    claim = claim_of(world.client.pop([queue], 1).leases[0])
    world.client.ack([claim])
    assert "is asked to stop" in run("stop", item).out
    assert world.client.stop_requested([claim]) == {item}
    assert "(stop requested)" in run("status", item).out


@pytest.mark.parametrize("agent", ["test-agent", "release.namespace", "a machine/of mine"])
def test_the_log_of_a_failure_is_shown(run: Run, world: OwnServer, queue: str, agent: str) -> None:
    item = submitted(run, queue)
    world.client.register(replace(registration(queue), name=agent))
    claim = replace(claim_of(world.client.pop([queue], 1).leases[0]), agent=agent)
    world.client.ack([claim])
    failure = Failure(stage=Stage.RUN, reason="Error", message="exit code 3", log="one\ntwo\nboom\n")
    world.client.finish(claim, Outcome(state=RunState.FAILED, failure=failure))
    shown = run("logs", item, "--tail", "2").out
    assert shown == "error: Error: exit code 3\ntwo\nboom\n"
    assert run("logs", item, "--format", "json").json()["error_log"] == "one\ntwo\nboom"
    assert "exit code 3" in run("status", queue).out


def test_what_a_run_streamed_is_shown(run: Run, world: OwnServer, queue: str) -> None:
    item = submitted(run, queue)
    world.client.register(registration(queue))
    claim = claim_of(world.client.pop([queue], 1).leases[0])
    world.client.ack([claim])
    world.start_run(claim)
    world.stream_output(claim, "one\n", "two\n", "three\n")
    for name in (item, f"p/{claim.run_id}", f"acme/p/{claim.run_id}"):
        assert run("logs", name, "-n", "2").out == "two\nthree\n"


def test_a_run_without_a_log(run: Run, queue: str) -> None:
    ran = run("logs", "p/abcdefgh")
    assert (ran.code, ran.out, ran.err) == (0, "", "nothing is there to read\n")
    assert run("logs", "a/b/c/d").code == 2


@pytest.mark.parametrize(
    ("state", "code"),
    [(RunState.FINISHED, 0), (RunState.FAILED, 1), (RunState.STOPPED, 1)],
)
def test_watch_follows_a_job_to_its_end(
    run: Run, world: OwnServer, queue: str, state: RunState, code: int
) -> None:
    world.client.register(registration(queue))
    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(run, "submit", "-q", queue, "-d", "i", "-p", "p", "--watch")
        lease = eventually(lambda: world.client.pop([queue], 1).leases, what="the item arrives")[0]
        claim = claim_of(lease)
        world.client.ack([claim])
        failure = Failure(stage=Stage.RUN, reason="Error", message="exit code 3")
        outcome = Outcome(state=state, failure=failure if state is RunState.FAILED else None)
        world.client.finish(claim, outcome)
        ran = watching.result(timeout=30)
    assert ran.code == code
    assert state.value in ran.out.splitlines()[-1] or "exit code 3" in ran.out


def test_a_key_comes_from_a_file_or_netrc_and_never_from_an_option(
    run: Run, world: OwnServer, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    wrong = "local-" + "b" * 40
    assert run("queue", "list", WANDB_API_KEY="").code == 2
    assert run("queue", "list", WANDB_API_KEY=wrong).code == 3
    assert run("queue", "list", "--api-key-file", str(tmp_path / "key"), WANDB_API_KEY=wrong).code == 0
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {KEY}\n")
    netrc.chmod(0o600)
    assert run("queue", "list", WANDB_API_KEY="").code == 0
    assert not any("--api-key " in run(name, "--help").out for name in ("submit", "status", "stop", "logs"))


def test_a_backend_that_is_not_there(run: Run) -> None:
    ran = run("status", WANDB_BASE_URL="http://127.0.0.1:9")
    assert ran.code == 3
    assert "Connection refused" in ran.err
