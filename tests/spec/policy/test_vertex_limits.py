"""The administrator's bounds for jobs on Vertex AI."""

from __future__ import annotations

from typing import Any

import pytest

from launch_agent.errors import Refused
from launch_agent.spec.model import Resource, RunSpec
from launch_agent.spec.policy import Policy, check
from launch_agent.spec.policy.vertex_limits import VertexLimits


def pool(machines: Any = 1, accelerators: Any = None, **machine: Any) -> dict[str, Any]:
    spec = {"machine_type": "a2-highgpu-1g", **machine}
    if accelerators is not None:
        spec |= {"accelerator_type": "NVIDIA_TESLA_A100", "accelerator_count": accelerators}
    return {"machine_spec": spec, "replica_count": machines, "container_spec": {"image_uri": "${image_uri}"}}


def refusal(limits: dict[str, Any], *pools: Any, run: Any = None, **spec: Any) -> str:
    """What a job is refused for; empty where it is taken."""
    whole = {"staging_bucket": "gs://mine", "worker_pool_specs": list(pools or [pool()]), **spec}
    args = {"spec": whole, "run": run}
    asked = RunSpec(entity="e", project="p", resource=Resource.VERTEX, resource_args=args, image="x")
    # Whatever is opened, bounds hold.
    policy = Policy(allow={"vertex": {"*": True}}, vertex=VertexLimits.of(limits))
    try:
        check(asked, policy)
    except Refused as error:
        return f"{error.message} / {error.hint}"
    return ""


def test_nothing_is_bounded_by_itself() -> None:
    assert refusal({}, pool(1_000, 16), run={"service_account": "anybody", "network": "any"}) == ""


def test_machines_and_accelerators_count_over_all_pools() -> None:
    pools = [pool(1, 8), {}, pool("3", "8")]
    assert refusal({"max-replicas": 4, "max-accelerators": 32}, *pools) == ""
    assert "4 machines in all, and this agent allows 3" in refusal({"max-replicas": 3}, *pools)
    said = refusal({"max-accelerators": 31}, *pools)
    assert "32 accelerators in all" in said
    assert "policy.vertex.max-accelerators" in said
    assert refusal({"max-replicas": 1}, {"container_spec": {}}) == ""


@pytest.mark.parametrize("count", [True, "many", "${run_id}", -0.5])
def test_what_is_no_number_is_within_no_bound(count: Any) -> None:
    assert "is no number" in refusal({"max-replicas": 9}, pool(count))
    assert refusal({}, pool(count)) == ""


@pytest.mark.parametrize(
    ("limits", "fine", "refused"),
    [
        ({"machine-types": ["a2-*"]}, pool(), pool(machine_type="a3-highgpu-8g")),
        ({"accelerators": ["NVIDIA_TESLA_*"]}, pool(1, 1), pool(accelerator_type="TPU_V3")),
        ({"machine-types": ["a2-*"]}, pool(), pool(machine_type="a2-${author}")),
    ],
)
def test_machines_are_those_that_are_listed(limits: Any, fine: Any, refused: Any) -> None:
    assert refusal(limits, fine) == ""
    assert "this agent allows" in refusal(limits, fine, refused)


def test_a_job_without_an_account_would_run_as_the_projects_own() -> None:
    limits = {"service-accounts": ["trainer@*"]}
    assert refusal(limits, run={"service_account": "trainer@p.iam"}) == ""
    assert refusal(limits, serviceAccount="trainer@p.iam") == ""
    assert refusal(limits, jobSpec={"serviceAccount": "trainer@p.iam"}) == ""
    assert "is missing" in refusal(limits)
    assert "'admin@p.iam'" in refusal(limits, run={"serviceAccount": "admin@p.iam"})
    # What run says is laid over what spec says.
    assert refusal(limits, run={"service_account": "admin@p.iam"}, service_account="trainer@p.iam")


def test_output_goes_where_it_may_in_every_spelling() -> None:
    limits = {"output-locations": ["gs://mine", "gs://mine/*"]}
    assert refusal(limits) == ""
    assert refusal(limits, base_output_dir="mine/x") == ""
    assert "gs://theirs" in refusal(limits, staging_bucket="theirs")
    assert "gs://theirs/x" in refusal(limits, baseOutputDir="gs://theirs/x")
    assert "gs://theirs" in refusal(limits, base_output_directory={"output_uri_prefix": "gs://theirs"})
    assert refusal(limits, base_output_dir="gs://mine/../theirs")
    assert refusal(limits, jobSpec={"baseOutputDirectory": {"outputUriPrefix": "gs://theirs"}})


def test_networks_and_attachments_are_those_that_are_listed() -> None:
    limits = {"networks": ["projects/1/global/networks/training"]}
    assert refusal(limits) == ""
    assert refusal(limits, run={"network": "projects/1/global/networks/training"}) == ""
    assert refusal(limits, run={"network": "projects/1/global/networks/other"})
    attachment = {"network_attachment": "projects/1/regions/r/networkAttachments/x"}
    assert refusal(limits, psc_interface_config=attachment)
