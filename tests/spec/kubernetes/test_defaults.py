"""What is added to a queue's configuration, what is left alone, and what would contradict it."""

from __future__ import annotations

from typing import Any

import pytest

from launch_agent.errors import SubmitRejected
from launch_agent.spec.kubernetes.defaults import with_defaults
from launch_agent.spec.kubernetes.review import review

Json = dict[str, Any]
SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def job(container: Any = None, **pod: Any) -> Json:
    return {"spec": {"template": {"spec": {"containers": [container or {}], **pod}}}}


def context(args: Json) -> Any:
    return with_defaults(args)["spec"]["template"]["spec"]["containers"][0].get("securityContext")


@pytest.mark.req("K8S-8", "K8S-9", "K8S-10", "K8S-11", "K8S-12", "K8S-13", "K8S-14", "K8S-15", "SEC-7")
@pytest.mark.parametrize(
    "args", [{}, {"spec": None}, {"spec": {"template": None}}, {"spec": {"template": {"spec": {}}}}, job()]
)
def test_a_queue_that_says_nothing_gets_the_documents_defaults(args: Json) -> None:
    assert with_defaults(args) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 60,
            "template": {
                "spec": {"restartPolicy": "Never", "containers": [{"securityContext": SECURITY}]},
            },
        },
    }


@pytest.mark.req("K8S-16")
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"runAsUser": 5}, {"runAsUser": 5, **SECURITY}),
        ({"allowPrivilegeEscalation": True}, {**SECURITY, "allowPrivilegeEscalation": True}),
        ({"capabilities": {"add": ["CHOWN"]}}, {**SECURITY, "capabilities": {"add": ["CHOWN"]}}),
        ({"capabilities": {}}, {**SECURITY, "capabilities": {}}),
        ({"seccompProfile": {"type": "Unconfined"}}, {**SECURITY, "seccompProfile": {"type": "Unconfined"}}),
        ({"seccompProfile": None}, SECURITY),
        # The API server refuses these together with what would be added.
        ({"privileged": True}, {"privileged": True}),
        (
            {"capabilities": {"add": ["CAP_SYS_ADMIN"]}},
            {
                "capabilities": {"add": ["CAP_SYS_ADMIN"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        ),
    ],
)
def test_what_a_container_says_is_left_alone(given: Json, wanted: Json) -> None:
    assert context(job({"securityContext": given})) == wanted


def test_a_pods_own_filter_holds_for_its_containers() -> None:
    profile = {"type": "Localhost", "localhostProfile": "a.json"}
    found = context(job(securityContext={"seccompProfile": profile}))
    assert found == {key: value for key, value in SECURITY.items() if key != "seccompProfile"}


def test_windows_knows_none_of_it() -> None:
    assert context(job(os={"name": "windows"})) is None


@pytest.mark.req("CON-32")
def test_fields_of_a_job_are_moved_to_their_place() -> None:
    template = {"backOffLimit": 3, "ttlSecondsAfterFinished": 5, "completions": 2, "spec": {}}
    spec = with_defaults({"spec": {"template": template}})["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"], spec["completions"]) == (3, 5, 2)
    assert spec["template"].keys() == {"spec"}
    assert with_defaults({"spec": {"backOffLimit": 3, "backoffLimit": 3}})["spec"]["backoffLimit"] == 3
    for twice in (
        {"backOffLimit": 1, "backoffLimit": 2},
        {"template": {"backoffLimit": 1}, "backoffLimit": 2},
    ):
        with pytest.raises(SubmitRejected, match="is 1, and backoffLimit is 2"):
            with_defaults({"spec": twice})


def test_a_deadline_of_the_pod_is_not_taken_for_the_jobs() -> None:
    found = with_defaults(job(activeDeadlineSeconds=9))
    assert "activeDeadlineSeconds" not in found["spec"]
    assert found["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 9


def test_other_kinds_get_security_and_keep_their_own_ends() -> None:
    jobset = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "spec": {"replicatedJobs": [{"name": "a", "template": job()}]},
    }
    inner = with_defaults(jobset)["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert inner.keys() == {"template"}
    assert inner["template"]["spec"] == {"containers": [{"securityContext": SECURITY}]}


def test_a_job_within_a_wrapper_is_not_removed_under_it() -> None:
    wrapper = {
        "apiVersion": "workload.codeflare.dev/v1beta2",
        "kind": "AppWrapper",
        "spec": {"components": [{"template": {"apiVersion": "batch/v1", "kind": "Job", **job()}}]},
    }
    inner = with_defaults(wrapper)["spec"]["components"][0]["template"]["spec"]
    assert inner["backoffLimit"] == 0
    assert "ttlSecondsAfterFinished" not in inner


def test_a_reference_to_a_job_is_no_job() -> None:
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "x"}
    thing = {"apiVersion": "x/v1", "kind": "X", "spec": {"after": reference, "pod": {"containers": [{}]}}}
    assert with_defaults(thing)["spec"]["after"] == reference


def test_a_review_finds_what_no_job_can_change() -> None:
    assert review(job()) == []
    found = review({"kind": "Job", "metadata": {"labels": {"a": "b c"}}, "spec": {"template": []}})
    assert {each.place for each in found} == {"spec.template", "spec", "metadata.labels.a"}
