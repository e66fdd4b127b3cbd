"""Metrics: right numbers, and labels that no submitter can grow."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from launch_agent.errors import QueueUnavailable
from launch_agent.spec.model import RunState
from launch_agent.telemetry.metrics import Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_jobs_by_queue_and_state() -> None:
    metrics = Metrics()
    metrics.set_live({("a", RunState.RUNNING): 3, ("b", RunState.PENDING): 1})
    assert value(metrics, "launch_agent_jobs", queue="a", state="running") == 3
    metrics.set_live({("a", RunState.STARTING): 2})
    assert value(metrics, "launch_agent_jobs", queue="a", state="running") == 0
    assert value(metrics, "launch_agent_jobs", queue="a", state="starting") == 2
    assert value(metrics, "launch_agent_jobs", queue="b", state="pending") == 0


def test_ends_by_queue_state_and_reason() -> None:
    metrics = Metrics()
    metrics.job_ended("q", RunState.FINISHED, "")
    metrics.job_ended("q", RunState.FAILED, "OOMKilled")
    metrics.job_ended("q", RunState.FAILED, "OOMKilled")
    ended = "launch_agent_jobs_ended_total"
    assert value(metrics, ended, queue="q", state="finished", reason="") == 1
    assert value(metrics, ended, queue="q", state="failed", reason="OOMKilled") == 2


def test_the_age_of_the_last_poll() -> None:
    now = 1000.0
    metrics = Metrics(clock=lambda: now)
    assert metrics.poll_age(now) == float("inf")
    assert value(metrics, "launch_agent_last_poll_age_seconds") == float("inf")
    assert value(metrics, "launch_agent_last_poll_timestamp_seconds") == 0
    metrics.polled(995.0)
    assert metrics.poll_age(now) == 5
    assert value(metrics, "launch_agent_last_poll_age_seconds") == 5
    assert value(metrics, "launch_agent_last_poll_timestamp_seconds") == 995
    assert metrics.poll_age(990.0) == 0, "a clock that was set back gives no negative age"


def test_latencies_errors_and_room() -> None:
    metrics = Metrics()
    metrics.poll_took(0.3)
    metrics.launch_step("build", 45.0)
    metrics.backend_error("pop", QueueUnavailable("down"))
    metrics.set_room(4, 2)
    assert value(metrics, "launch_agent_poll_duration_seconds_count") == 1
    assert value(metrics, "launch_agent_poll_duration_seconds_bucket", le="0.25") == 0
    assert value(metrics, "launch_agent_poll_duration_seconds_bucket", le="0.5") == 1
    assert value(metrics, "launch_agent_launch_step_duration_seconds_sum", step="build") == 45
    assert value(metrics, "launch_agent_backend_errors_total", operation="pop", kind="QueueUnavailable") == 1
    assert value(metrics, "launch_agent_room") == 4
    assert value(metrics, "launch_agent_launches_in_flight") == 2
    metrics.set_room(-3, 0)
    assert value(metrics, "launch_agent_room") == 0


def test_labels_stay_bounded_whatever_comes() -> None:
    metrics = Metrics()
    for number in range(2000):
        metrics.job_ended(f"queue-{number}", RunState.FAILED, f"Reason{number}")
    metrics.job_ended("q", RunState.FAILED, "a sentence\nof two lines")
    metrics.job_ended("q" * 1000, RunState.FAILED, "x" * 1000)
    families = {family.name: family for family in metrics.registry.collect()}
    samples = [s for s in families["launch_agent_jobs_ended"].samples if s.name.endswith("_total")]
    assert len({sample.labels["queue"] for sample in samples}) <= 201
    assert len({sample.labels["reason"] for sample in samples}) <= 201
    assert sum(sample.value for sample in samples) == 2002


def test_two_agents_in_one_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.job_ended("q", RunState.FINISHED, "")
    assert value(two, "launch_agent_jobs_ended_total", queue="q", state="finished", reason="") is None


def test_the_exposition_is_what_was_asked_for() -> None:
    metrics = Metrics()
    metrics.job_ended('q"\\', RunState.FINISHED, "")
    text, content_type = metrics.exposition()
    assert content_type.startswith("text/plain")
    names = {family.name for family in text_string_to_metric_families(text.decode())}
    assert {"launch_agent_info", "launch_agent_jobs_ended", "launch_agent_last_poll_age_seconds"} <= names
    open_metrics, content_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert open_metrics.endswith(b"# EOF\n")
