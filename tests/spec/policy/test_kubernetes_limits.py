"""The administrator's bounds for jobs on Kubernetes: what is counted, in which kind, and what is said."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import Refused
from launch_agent.spec.model import RunSpec
from launch_agent.spec.policy import Policy, check
from launch_agent.spec.policy.kubernetes_limits import Limits
from launch_agent.spec.policy.kubernetes_totals import totals
from launch_agent.spec.policy.quantity import java_size, quantity

Json = dict[str, Any]
ROOT = "resource_args.kubernetes"


def judge(manifest: Json, services: Any = (), image: str = "", **bounds: Any) -> None:
    config = {key.replace("_", "-"): value for key, value in bounds.items()}
    spec = RunSpec(
        entity="e", project="p", resource="kubernetes", resource_args=manifest, services=services, image=image
    )
    check(spec, Policy(kubernetes=Limits.of(config), allow={"kubernetes": {"additional_services": True}}))


def pod(cpu: Any = 1, memory: Any = "1Gi", gpu: Any = 1) -> Json:
    limits = {"cpu": cpu, "memory": memory, "nvidia.com/gpu": gpu}
    return {"spec": {"containers": [{"resources": {"limits": limits}}]}}


def of(api_version: str, kind: str, **spec: Any) -> Json:
    return {"apiVersion": api_version, "kind": kind, "spec": spec}


# A workload of each kind, and how many pods of one CPU, one GPU and 1 GiB it makes.
KINDS: dict[str, tuple[Json, int]] = {
    "Job": ({"spec": {"template": pod()}}, 1),
    "parallel Job": ({"spec": {"parallelism": 4, "completions": 100, "template": pod()}}, 4),
    "Pod": ({"apiVersion": "v1", "kind": "Pod", **pod()}, 1),
    "Volcano": (
        of(
            "batch.volcano.sh/v1alpha1",
            "Job",
            tasks=[{"replicas": 2, "template": pod()}, {"replicas": 3, "template": pod()}],
        ),
        5,
    ),
    "PyTorchJob": (
        of(
            "kubeflow.org/v1",
            "PyTorchJob",
            pytorchReplicaSpecs={"Master": {"template": pod()}, "Worker": {"replicas": 7, "template": pod()}},
        ),
        8,
    ),
    "elastic PyTorchJob": (
        of(
            "kubeflow.org/v1",
            "PyTorchJob",
            elasticPolicy={"minReplicas": 1, "maxReplicas": 16},
            pytorchReplicaSpecs={"Worker": {"replicas": 2, "template": pod()}},
        ),
        16,
    ),
    "JobSet": (
        of(
            "jobset.x-k8s.io/v1alpha2",
            "JobSet",
            replicatedJobs=[
                {"replicas": 2, "template": {"spec": {"parallelism": 3, "template": pod()}}},
                {"template": {"spec": {"template": pod()}}},
            ],
        ),
        7,
    ),
    "RayJob": (
        of(
            "ray.io/v1",
            "RayJob",
            rayClusterSpec={
                "headGroupSpec": {"template": pod()},
                "workerGroupSpecs": [
                    {"replicas": 1, "maxReplicas": 4, "numOfHosts": 2, "template": pod()},
                ],
            },
        ),
        9,
    ),
    "TrainJob": (
        of(
            "trainer.kubeflow.org/v1alpha1",
            "TrainJob",
            trainer={
                "numNodes": 3,
                "resourcesPerNode": {"limits": {"cpu": 1, "memory": "1Gi", "nvidia.com/gpu": 1}},
            },
        ),
        3,
    ),
    "SparkApplication": (
        of(
            "sparkoperator.k8s.io/v1beta2",
            "SparkApplication",
            driver={"cores": 1, "memory": "1g", "gpu": {"name": "nvidia.com/gpu", "quantity": 1}},
            executor={
                "instances": 4,
                "cores": 1,
                "memory": "1024m",
                "gpu": {"name": "nvidia.com/gpu", "quantity": 1},
            },
        ),
        5,
    ),
    "Spark that grows": (
        of(
            "sparkoperator.k8s.io/v1beta2",
            "SparkApplication",
            dynamicAllocation={"enabled": True, "maxExecutors": 9},
            executor={"cores": 1, "memory": "1g", "gpu": {"name": "nvidia.com/gpu", "quantity": 1}},
        ),
        9,
    ),
    "AppWrapper": (
        of(
            "workload.codeflare.dev/v1beta2",
            "AppWrapper",
            components=[{"template": of("batch/v1", "Job", parallelism=2, template=pod())}],
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_run_asks_for_in_all_is_bounded(name: str) -> None:
    manifest, pods = KINDS[name]
    judge(manifest, max_cpu=pods, max_memory=f"{pods}Gi", max_gpus=pods, max_pods=pods)
    for bound, text in (
        ({"max_cpu": pods - 0.5}, f"asks for {pods} CPUs in all"),
        ({"max_memory": f"{pods * 1024 - 1}Mi"}, "bytes of memory in all"),
        ({"max_gpus": pods - 1}, f"asks for {pods} GPUs in all"),
        ({"max_pods": pods - 1}, f"asks for {pods} pods in all"),
    ):
        with pytest.raises(Refused, match=text) as raised:
            judge(manifest, **bound)
        assert "policy: {kubernetes:" in raised.value.hint
        assert "allow:" not in raised.value.hint


def test_all_bounds_are_named_at_once() -> None:
    with pytest.raises(Refused, match=r"refuses 3 things.*CPUs.*memory.*GPUs"):
        judge({"spec": {"template": pod(8, "64Gi", 8)}}, max_cpu=4, max_memory="32Gi", max_gpus=4)


def test_a_pod_asks_for_the_larger_of_what_runs_before_and_what_runs_then() -> None:
    def container(cpu: Any, **fields: Any) -> Json:
        return {"resources": {"requests": {"cpu": cpu}}, **fields}

    inside = {
        "initContainers": [container(5), container(2, restartPolicy="Always")],
        "containers": [container("1500m"), {"resources": {"requests": {"cpu": 3}, "limits": {"cpu": 2}}}],
    }
    assert totals(inside, ROOT).cpu == Decimal("6.5")
    inside["containers"] = [container(1)]
    assert totals(inside, ROOT).cpu == 5
    assert totals({**inside, "resources": {"limits": {"cpu": 9}}}, ROOT).cpu == 9


@pytest.mark.parametrize(
    "name",
    ["nvidia.com/gpu", "amd.com/gpu", "nvidia.com/mig-1g.5gb", "nvidia.com/gpu.shared", "google.com/tpu"],
)
def test_accelerators_of_any_maker_count(name: str) -> None:
    manifest = {"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {name: "2"}}}]}}}}
    with pytest.raises(Refused, match="2 GPUs"):
        judge(manifest, max_gpus=1)
    judge(manifest, max_cpu=1)


@pytest.mark.parametrize(
    ("inside", "place"),
    [
        ({"resourceClaims": [{"name": "gpu"}]}, "resourceClaims"),
        ({"containers": [{"resources": {"claims": [{"name": "gpu"}]}}]}, "resources.claims"),
    ],
)
def test_devices_that_cannot_be_counted_are_refused_where_they_are_bounded(inside: Json, place: str) -> None:
    manifest = {"spec": {"template": {"spec": {"containers": [{}], **inside}}}}
    judge(manifest, max_cpu=1)
    with pytest.raises(Refused, match=place):
        judge(manifest, max_gpus=8)


@pytest.mark.parametrize(
    ("manifest", "place"),
    [
        ({"spec": {"template": pod(cpu="many")}}, "containers[0].resources.limits.cpu"),
        ({"spec": {"template": pod(memory="${run_name}")}}, "limits.memory"),
        ({"spec": {"parallelism": "${run_name}", "template": pod()}}, "spec.parallelism"),
        (of("x/v1", "X", executor={"cores": "1", "memory": "lots"}), "executor.memory"),
    ],
)
def test_what_cannot_be_counted_is_refused_where_something_is_bounded(manifest: Json, place: str) -> None:
    judge(manifest)
    with pytest.raises(Refused) as raised:
        judge(manifest, max_pods=100)
    assert place in raised.value.message


def test_none_counts_as_one() -> None:
    with pytest.raises(Refused, match="1 pods"):
        judge({"spec": {"parallelism": 0, "template": pod(cpu=-5)}}, max_pods=Decimal(0))


def test_what_accompanies_the_run_counts_too() -> None:
    service = {"config": of("apps/v1", "Deployment", replicas=3, template=pod())}
    with pytest.raises(Refused, match="4 GPUs"):
        judge({"spec": {"template": pod()}}, [service], max_gpus=3)
    judge({"spec": {"template": pod()}}, [service], max_gpus=4)


@pytest.mark.parametrize(
    "manifest",
    [
        {"spec": {"template": {"spec": {"priorityClassName": "urgent"}}}},
        {"metadata": {"labels": {"kueue.x-k8s.io/priority-class": "urgent"}}},
        of("batch.volcano.sh/v1alpha1", "Job", priorityClassName="urgent"),
        of("kubeflow.org/v1", "PyTorchJob", runPolicy={"schedulingPolicy": {"priorityClass": "urgent"}}),
    ],
)
def test_priority_classes_are_those_that_are_listed(manifest: Json) -> None:
    judge(manifest)
    judge(manifest, priority_classes=["low", "urg*"])
    with pytest.raises(Refused, match="names the priority class 'urgent', and this agent allows low"):
        judge(manifest, priority_classes=["low"])


@pytest.mark.parametrize("manifest", [{"namespace": "team-b"}, {"metadata": {"namespace": "team-b"}}])
def test_namespaces_are_those_that_are_listed(manifest: Json) -> None:
    judge(manifest, namespaces=["team-*"])
    judge({}, namespaces=["team-a"])
    with pytest.raises(Refused, match="namespace 'team-b', and this agent allows team-a"):
        judge(manifest, namespaces=["team-a"])


def test_kinds_are_those_that_are_listed() -> None:
    judge({}, kinds=["batch/v1/Job"])
    judge(of("kubeflow.org/v1", "PyTorchJob"), kinds=["kubeflow.org/*"])
    wrapped = of("workload.codeflare.dev/v1beta2", "AppWrapper", components=[{"template": of("a/v1", "B")}])
    for manifest, kind in (
        (of("kubeflow.org/v1", "PyTorchJob"), "kubeflow.org/v1/PyTorchJob"),
        (wrapped, "a/v1/B"),
        (of("${run_name}", "Job"), "run_name"),
    ):
        with pytest.raises(Refused, match=kind):
            judge(manifest, kinds=["batch/v1/Job", "workload.codeflare.dev/*"])


IMAGES: list[Json] = [
    {"spec": {"template": {"spec": {"containers": [{"image": "ghcr.io/other/x:1"}]}}}},
    {"spec": {"template": {"spec": {"initContainers": [{"image": "ghcr.io/other/x:1"}]}}}},
    {"spec": {"template": {"spec": {"volumes": [{"image": {"reference": "ghcr.io/other/x:1"}}]}}}},
    of("sparkoperator.k8s.io/v1beta2", "SparkApplication", image="ghcr.io/other/x:1"),
]


@pytest.mark.parametrize("manifest", IMAGES)
def test_images_are_those_that_are_listed(manifest: Json) -> None:
    judge(manifest, images=["ghcr.io/other/*"])
    with pytest.raises(Refused, match=r"names the image 'ghcr\.io/other/x:1'"):
        judge(manifest, images=["ghcr.io/team/*"])


def test_the_jobs_own_image_is_judged_and_one_that_is_built_is_not() -> None:
    own = {"spec": {"template": {"spec": {"containers": [{"image": "${image_uri}"}]}}}}
    judge(own, images=["ghcr.io/team/*"])
    judge({}, image="python:3.12", images=["python:*"])
    judge({}, image="python:3.12", images=["docker.io/library/*"])
    for image in ("ghcr.io/other/x", "Not An Image", "ghcr.io/team/../other/x", "${run_name}"):
        with pytest.raises(Refused, match=r"docker\.docker_image"):
            judge({}, image=image, images=["ghcr.io/team/*"])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", "0.5"),
        (2, "2"),
        (0.25, "0.25"),
        ("1Gi", str(2**30)),
        ("1.5k", "1500"),
        ("2e3", "2000"),
        ("1E", "1000000000000000000"),
        (".5", "0.5"),
    ],
)
def test_quantities(text: object, number: str) -> None:
    assert quantity(text) == Decimal(number)


@pytest.mark.parametrize(
    "wrong", ["", "x", "1 Gi", "1Kib", True, None, [], "1e", "--1", "nan", "inf", "1e9999"]
)
def test_what_is_no_quantity(wrong: object) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantity(wrong)


def test_sizes_of_java() -> None:
    assert [java_size(text) for text in ("512m", "1g", "2GB", "100k", 1)] == [
        512 * 2**20,
        2**30,
        2 * 2**30,
        100 * 2**10,
        2**20,
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "spec",
                    "containers",
                    "resources",
                    "limits",
                    "requests",
                    "cpu",
                    "replicas",
                    "parallelism",
                    "cores",
                    "gpu",
                    "elasticPolicy",
                    "maxReplicas",
                    "image",
                    "priorityClassName",
                    "kind",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(["spec", "metadata", "kind", "namespace"]), JSON, max_size=3))
def test_any_object_is_counted_and_none_breaks_the_counting(manifest: Json) -> None:
    with contextlib.suppress(Refused):
        judge(manifest, max_cpu=1, max_gpus=0, images=["x"], kinds=["y"], namespaces=[], priority_classes=[])
