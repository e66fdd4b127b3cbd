"""Training jobs through all of their states, moved by hand on a server of SageMaker's API."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml

from launch_agent.errors import ConfigError, RunnerError, SubmitRejected
from launch_agent.runners import Run
from launch_agent.runners.sagemaker import create
from launch_agent.runners.sagemaker.runner import SageMakerRunner
from launch_agent.spec.model import RunState
from launch_agent.spec.secret import Secret
from tests.contracts.runner import end_of
from tests.fakes.eventually import eventually
from tests.fakes.sagemaker_server import SageMakerServer
from tests.runners.sagemaker.bench import SageMakerBench

EXAMPLE = Path(__file__).parents[3] / "examples" / "queue-configs" / "sagemaker.yaml"
KEY = "a-key-that-nobody-may-see"


def until(run: Run, state: RunState) -> None:
    eventually(lambda: run.status().state is state, within=20, what=f"{run.id} is {state}")


@pytest.mark.req("SM-7", "SM-8")
def test_the_example_becomes_a_training_job(server: SageMakerServer, desk: SageMakerBench) -> None:
    args = yaml.safe_load(EXAMPLE.read_text().replace('"{{instance_type}}"', "ml.g5.xlarge"))
    run = desk.runner().submit(desk.request(resource_args=args, args=["--lr", "0.1"]))
    job = server.jobs[run.id].request
    assert job["ResourceConfig"]["InstanceType"] == "ml.g5.xlarge"
    assert job["AlgorithmSpecification"]["TrainingImage"] == desk.request().image
    assert job["AlgorithmSpecification"]["ContainerArguments"] == ["--lr", "0.1"]


def test_a_job_is_followed_through_its_states(server: SageMakerServer, desk: SageMakerBench) -> None:
    run = desk.runner().submit(desk.request())
    assert run.status().state is RunState.STARTING
    for detail, expected in (
        ("Pending", RunState.PENDING),
        ("DownloadingTrainingImage", RunState.STARTING),
        ("Training", RunState.RUNNING),
        ("Interrupted", RunState.PENDING),
        ("Uploading", RunState.RUNNING),
    ):
        server.move(run.id, "InProgress", detail)
        until(run, expected)
    server.move(run.id, "Completed")
    assert end_of(run).state is RunState.FINISHED
    assert run.status() is run.status()
    assert server.counts["DescribeTrainingJob"] == 0


def test_a_failure_has_its_reason(server: SageMakerServer, desk: SageMakerBench) -> None:
    run = desk.runner().submit(desk.request())
    server.move(run.id, "Failed", reason="CapacityError: Unable to provision requested ML compute capacity.")
    end = end_of(run)
    assert (end.state, end.reason) == (RunState.FAILED, "NoCapacity")
    assert "another instance type" in end.hint


def test_the_same_status_is_the_same_object(server: SageMakerServer, desk: SageMakerBench) -> None:
    run = desk.runner().submit(desk.request())
    server.move(run.id, "InProgress", "Training")
    until(run, RunState.RUNNING)
    first = run.status()
    server.move(run.id, "InProgress", "Training")
    rounds = server.counts["ListTrainingJobs"]
    eventually(lambda: server.counts["ListTrainingJobs"] > rounds + 1)
    assert run.status() is first


@pytest.mark.parametrize("end", ["MaxRuntimeExceeded", "MaxWaitTimeExceeded"])
def test_a_job_that_runs_out_of_time_failed(server: SageMakerServer, desk: SageMakerBench, end: str) -> None:
    run = desk.runner().submit(desk.request())
    server.move(run.id, "Stopped", end)
    assert end_of(run).state is RunState.FAILED
    assert "StoppingCondition" in end_of(run).hint


def test_rows_without_a_secondary_status_do(server: SageMakerServer, desk: SageMakerBench) -> None:
    """The listing's rows have one, says the model; where one does not, the job is asked for itself."""
    server.rows_have_detail = False
    run = desk.runner().submit(desk.request())
    server.move(run.id, "InProgress", "Training")
    until(run, RunState.RUNNING)
    described = server.counts["DescribeTrainingJob"]
    rounds = server.counts["ListTrainingJobs"]
    eventually(lambda: server.counts["ListTrainingJobs"] > rounds + 2)
    assert server.counts["DescribeTrainingJob"] == described
    server.move(run.id, "Stopped", "MaxRuntimeExceeded")
    assert end_of(run).reason == "DeadlineExceeded"


def test_a_stop_returns_at_once_and_is_seen_to(server: SageMakerServer, desk: SageMakerBench) -> None:
    server.fail("StopTrainingJob", "ThrottlingException", times=5)
    run = desk.runner().submit(desk.request())
    run.cancel()
    run.cancel()
    assert run.status().state is RunState.STOPPING
    eventually(lambda: server.jobs[run.id].status == "Stopping", within=60)
    server.move(run.id, "Stopped")
    assert end_of(run).state is RunState.STOPPED


def test_a_stop_comes_too_late_for_a_job_that_has_ended(
    server: SageMakerServer, desk: SageMakerBench
) -> None:
    run = desk.runner(fresh=60.0).submit(desk.request())
    eventually(lambda: server.counts["ListTrainingJobs"])
    server.move(run.id, "Completed")
    run.cancel()
    eventually(lambda: server.counts["StopTrainingJob"])
    (again,) = desk.runner().adopt(desk.agent)
    assert again.status().state is RunState.FINISHED


def test_a_job_that_somebody_deletes_has_failed(server: SageMakerServer, desk: SageMakerBench) -> None:
    run = desk.runner().submit(desk.request())
    del server.jobs[run.id]
    end = end_of(run)
    assert (end.state, end.reason) == (RunState.FAILED, "JobDeleted")
    run.release()


def test_a_name_that_is_somebody_elses_is_refused(server: SageMakerServer, desk: SageMakerBench) -> None:
    request = desk.request()
    run = desk.runner().submit(request)
    server.jobs[run.id].tags = {"team": "other"}
    with pytest.raises(SubmitRejected, match="it is not this job's"):
        desk.runner().submit(request)


def test_a_kept_job_is_marked_and_found_no_more(server: SageMakerServer, desk: SageMakerBench) -> None:
    run = desk.runner(keep=True).submit(desk.request())
    server.move(run.id, "Completed")
    end_of(run)
    run.release()
    run.release()
    assert server.counts["AddTags"] == 1
    assert run.id in server.jobs
    assert desk.runner().adopt(desk.agent) == []


def test_what_was_created_by_another_program_is_left_alone(
    server: SageMakerServer, desk: SageMakerBench
) -> None:
    run = desk.runner().submit(desk.request())
    server.jobs["by-hand"] = server.jobs[run.id]
    tags = server.jobs[run.id].tags
    server.jobs[run.id].tags = {key: value for key, value in tags.items() if not key.endswith("item-id")}
    assert desk.runner().adopt(desk.agent) == []


def test_the_log_is_the_end_of_every_instance(server: SageMakerServer, desk: SageMakerBench) -> None:
    run = desk.runner().submit(desk.request())
    assert run.logs(10) == ""
    server.stream_page = 1
    for instance in ("algo-1", "algo-2", "algo-3"):
        server.jobs[run.id].streams[f"{run.id}/{instance}-1"] = [f"{instance} {n}" for n in range(2_500)]
    text = run.logs(2)
    assert text.splitlines() == [
        line
        for instance in ("algo-1", "algo-2", "algo-3")
        for line in (f"==> {instance}-1 <==", f"{instance} 2498", f"{instance} 2499")
    ]
    assert len(run.logs(1_500).splitlines()) == 3 * 1_501
    assert len(run.logs(10_000).splitlines()) == 3 * 2_501


def test_what_the_apis_model_does_not_know_is_refused_before_a_byte_is_sent(
    server: SageMakerServer, desk: SageMakerBench
) -> None:
    args = {"Nonsense": 1, "VpcConfig": {"Subnets": "x"}}
    with pytest.raises(SubmitRejected, match=r"sagemaker\.Nonsense") as refused:
        desk.runner().submit(desk.request(resource_args=args))
    assert "VpcConfig.SecurityGroupIds is missing" in refused.value.message
    assert not server.counts


def test_the_api_key_is_in_no_message_and_no_log(
    server: SageMakerServer, desk: SageMakerBench, caplog: pytest.LogCaptureFixture
) -> None:
    """The service prints the variables that it refuses, all of them."""
    caplog.set_level(logging.DEBUG, logger="launch_agent")
    # The server's own model refuses the name of the variable, and with it prints the map.
    request = desk.request(env={"A-B": "x"}, secret_env={"WANDB_API_KEY": Secret(KEY)})
    with pytest.raises(SubmitRejected) as refused:
        desk.runner().submit(request)
    error: BaseException | None = refused.value
    assert "environment" in str(error)
    while error is not None:
        assert KEY not in f"{error!r} {error} {error.args}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert KEY not in caplog.text


def test_a_missing_right_is_found_before_any_job(server: SageMakerServer, desk: SageMakerBench) -> None:
    runner = desk.runner()
    runner.verify()
    said = "User: x is not authorized to perform: sagemaker:DescribeTrainingJob on resource: arn:aws:x"
    server.fail("DescribeTrainingJob", "AccessDeniedException", said)
    with pytest.raises(RunnerError) as refused:
        runner.verify()
    assert "sagemaker:DescribeTrainingJob" in refused.value.hint


def test_without_aws_there_is_no_runner() -> None:
    with pytest.raises(ConfigError, match="credentials of AWS"):
        create({"environment": {"type": "gcp"}})


@pytest.mark.req("SM-1")
def test_a_runner_is_made_of_the_config(
    server: SageMakerServer, desk: SageMakerBench, bare_environment: pytest.MonkeyPatch
) -> None:
    bare_environment.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    bare_environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    runner = create(
        {
            "environment": {"type": "aws", "region": "us-east-1", "role": ""},
            "endpoints": {"sagemaker": server.url, "logs": server.url},
            "api-key-secret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:wandb",
            "keep": True,
        }
    )
    assert isinstance(runner, SageMakerRunner)
    run = runner.submit(desk.request(secret_env={"WANDB_API_KEY": Secret(KEY)}))
    assert KEY not in str(server.jobs[run.id].request)
    assert set(server.keys) == {"of-the-environment"}
    runner.close()
