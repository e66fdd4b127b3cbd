"""Pods get the code of a job that runs without a build, and nothing of what fetches it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from launch_agent.errors import SubmitRejected
from launch_agent.runners.kubernetes import code, facts
from launch_agent.runners.kubernetes.code import Fetching
from launch_agent.runners.kubernetes.diagnosis import ended
from launch_agent.runners.kubernetes.manifest import Composition, compose
from launch_agent.runners.kubernetes.namespaces import Namespaces
from launch_agent.spec.code import WORKDIR, Code
from launch_agent.spec.secret import Secret
from tests.fakes.control_plane import Cluster
from tests.runners.kubernetes.requests import request
from tests.runners.kubernetes.test_manifest_golden import CASES

Json = dict[str, Any]
AGENT = "registry.example.com/agent:1"
BASE = "registry.example.com/base:1"
ORDER = {"order.json": Secret('{"job": "j"}'), "api-key": Secret("the-key"), "login": Secret("a-login")}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def made(configuration: Mapping[str, Any] | None = None, **fields: Any) -> Composition:
    given: Json = {
        "image": BASE,
        "entry_point": ["python", "train.py"],
        "code": Code(order=ORDER),
        **fields,
    }
    fetching = given.pop("fetching", Fetching(image=AGENT))
    return compose(
        # As it comes over the wire: no two parts of it are one object.
        request(json.loads(json.dumps(configuration or {})), **given),
        allowed=Namespaces(default="jobs"),
        fetching=fetching,
    )


def pod(composition: Composition) -> Json:
    found: Json = composition.manifest["spec"]["template"]["spec"]
    return found


def mounts(container: Mapping[str, Any]) -> dict[str, str]:
    return {each["mountPath"]: each["name"] for each in container["volumeMounts"]}


def test_an_init_container_of_the_agents_image_fetches_what_the_main_container_runs() -> None:
    composition = made()
    (fetch,), (main,) = pod(composition)["initContainers"], pod(composition)["containers"]
    assert (fetch["image"], fetch["command"][:2]) == (AGENT, ["launch-agent", "fetch"])
    assert (main["image"], main["command"], main["workingDir"]) == (BASE, ["python", "train.py"], WORKDIR)
    assert mounts(main) == {WORKDIR: "launch-agent-code"}
    assert main["volumeMounts"][0]["subPath"] == "job"
    order = next(each for each in pod(composition)["volumes"] if each["name"] == "launch-agent-order")
    assert {each["path"] for each in order["secret"]["items"]} == set(ORDER)


def test_what_opens_the_code_is_in_the_runs_secret_and_nowhere_else() -> None:
    composition = made()
    (secret,) = composition.secrets
    data = {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}
    assert data["launch-agent-order.login"] == "a-login"
    text = json.dumps(composition.manifest)
    assert "a-login" not in text
    assert "the-key" not in text
    (main,) = pod(composition)["containers"]
    assert "launch-agent-order" not in json.dumps(main)


def test_a_proxy_and_authorities_reach_the_fetch() -> None:
    composition = made(
        env={"HTTPS_PROXY": "http://proxy:3128", "WANDB_PROJECT": "x"},
        secret_env={"WANDB_API_KEY": Secret("k"), "http_proxy": Secret("http://u:p@proxy:3128")},
        authorities="trust/ca.crt",
    )
    (fetch,) = pod(composition)["initContainers"]
    env = {entry["name"]: entry for entry in fetch["env"]}
    assert env["HTTPS_PROXY"]["value"] == "http://proxy:3128"
    assert env["http_proxy"]["valueFrom"]["secretKeyRef"]["key"] == "http_proxy"
    assert "SSL_CERT_FILE" in env
    assert not {"WANDB_API_KEY", "WANDB_PROJECT"} & set(env)
    assert [each["name"] for each in pod(composition)["volumes"]].count("launch-agent-ca") == 1
    assert "/etc/launch-agent/ca" in mounts(fetch)


def test_the_operator_chooses_the_volume() -> None:
    volume = {"ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "fast"}}}}
    composition = made(fetching=Fetching(image=AGENT, volume=volume))
    assert {"name": "launch-agent-code", **volume} in pod(composition)["volumes"]


def test_what_the_queue_has_stays_and_comes_first() -> None:
    mesh = {"name": "mesh", "image": "mesh:1", "restartPolicy": "Always"}
    data = {"name": "data", "emptyDir": {}}
    mount = {"name": "data", "mountPath": "/data"}
    main = {"workingDir": "/data", "volumeMounts": [mount]}
    spec = {"initContainers": [mesh], "containers": [main], "volumes": [data]}
    found = pod(made({"spec": {"template": {"spec": spec}}}))
    assert [each["name"] for each in found["initContainers"]] == ["mesh", code.FETCH]
    assert found["volumes"][0] == data
    assert found["containers"][0]["volumeMounts"][0] == mount
    assert found["containers"][0]["workingDir"] == "/data"


def test_packages_are_installed_by_the_runs_own_image_where_that_is_wanted() -> None:
    main = {"securityContext": RESTRICTED, "resources": {"limits": {"memory": "2Gi"}}}
    composition = made(
        {"spec": {"template": {"spec": {"containers": [main]}}}}, code=Code(order=ORDER, requirements=True)
    )
    fetch, install = pod(composition)["initContainers"]
    assert (fetch["name"], install["name"], install["image"]) == (code.FETCH, code.INSTALL, BASE)
    assert install["securityContext"] == RESTRICTED
    assert install["resources"] == main["resources"]
    (worker,) = pod(composition)["containers"]
    assert {"name": "PYTHONPATH", "value": "/home/launch/packages"} in worker["env"]
    assert "/home/launch/packages" in mounts(worker)


def test_every_pod_of_a_kind_of_its_own_gets_it() -> None:
    template = {"spec": {"containers": [{"name": "pytorch", "image": "mine:1"}]}}
    replicas = {role: {"replicas": 1, "template": template} for role in ("Master", "Worker")}
    queue = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "spec": {"pytorchReplicaSpecs": replicas},
    }
    composition = made(queue, image="")
    for role in ("Master", "Worker"):
        spec = composition.manifest["spec"]["pytorchReplicaSpecs"][role]["template"]["spec"]
        assert [each["name"] for each in spec["initContainers"]] == [code.FETCH]
        assert spec["containers"][0]["image"] == "mine:1"
        assert mounts(spec["containers"][0]) == {WORKDIR: "launch-agent-code"}


def test_ray_starts_the_command_where_the_code_is() -> None:
    head = {"template": {"spec": {"containers": [{"name": "ray-head"}]}}}
    cluster = {"headGroupSpec": {"rayStartParams": {}, **head}}
    queue = {"apiVersion": "ray.io/v1", "kind": "RayJob", "spec": {"rayClusterSpec": cluster}}
    assert made(queue).manifest["spec"]["entrypoint"] == f"cd {WORKDIR} && python train.py"


@pytest.mark.parametrize(
    "queue",
    [
        {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "spec": {}},
        {
            "apiVersion": "sparkoperator.k8s.io/v1beta2",
            "kind": "SparkApplication",
            "spec": {"mainApplicationFile": "local:///x.py"},
        },
    ],
)
def test_a_kind_without_pods_is_refused(queue: Json) -> None:
    with pytest.raises(SubmitRejected, match="has no pod that the code of a job could be put into"):
        made(queue)


def test_an_agent_that_does_not_know_its_image_says_so() -> None:
    with pytest.raises(SubmitRejected, match="does not know its own image") as refused:
        made(fetching=Fetching())
    assert "runner.kubernetes.fetch-image" in refused.value.hint


@pytest.mark.parametrize(("key", "item"), [
    ("volumes", {"name": "launch-agent-code", "emptyDir": {}}),
    ("initContainers", {"name": code.FETCH, "image": "mine:1"}),
])  # fmt: skip
def test_our_names_are_ours(key: str, item: Json) -> None:
    with pytest.raises(SubmitRejected, match="the agent's own name"):
        made({"spec": {"template": {"spec": {"containers": [{}], key: [item]}}}})


@pytest.mark.parametrize("where", ["containers", "initContainers"])
def test_nobody_else_mounts_the_order(where: str) -> None:
    spy = {
        "name": "spy",
        "image": "mine:1",
        "volumeMounts": [{"name": "launch-agent-order", "mountPath": "/x"}],
    }
    spec = {"containers": [{"name": "main"}]}
    spec[where] = [*spec.get(where, []), spy]
    with pytest.raises(SubmitRejected, match="is the agent's own 'launch-agent-order'"):
        made({"spec": {"template": {"spec": spec}}})


def test_a_run_with_its_code_in_its_image_has_none_of_this() -> None:
    found = pod(made(code=None))
    assert "initContainers" not in found
    assert "volumes" not in found


@pytest.mark.parametrize(
    "name", ["app-wrapper", "jobset", "mpi-job", "pytorch-job", "ray-job", "volcano-job", "job-empty"]
)
def test_the_server_takes_every_field_of_every_kind(cluster: Cluster, namespace: str, name: str) -> None:
    queue = yaml.safe_load((CASES / name / "queue.yaml").read_text(encoding="utf-8"))
    queue.get("metadata", {}).pop("namespace", None)
    queue.pop("namespace", None)
    composition = made(queue, code=Code(order=ORDER, requirements=True))
    assert json.dumps(composition.manifest).count(f'"name": "{code.FETCH}"') >= 1
    meta = {**composition.manifest["metadata"], "namespace": namespace}
    manifest = {**composition.manifest, "metadata": meta}
    where = cluster.kube.path(composition.api_version, composition.kind, namespace)
    cluster.kube.call("POST", where, manifest, query={"dryRun": "All", "fieldValidation": "Strict"})


def test_the_standard_restricted_lets_it_pass(cluster: Cluster, namespace: str) -> None:
    """Of the pod, as an admission controller sees it: the server makes it, and no node takes it."""
    main = {"securityContext": RESTRICTED}
    queue = {"spec": {"template": {"spec": {"containers": [main]}}}}
    spec = {**pod(made(queue, code=Code(order=ORDER, requirements=True))), "nodeSelector": {"no": "node"}}
    made_pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
    cluster.kube.create(made_pod, namespace)
    assert cluster.kube.get("v1", "Pod", namespace, "one") is not None


@pytest.mark.parametrize(("said", "told"), [
    ("", "ended with exit code 3"),
    ("one\ntwo\n", "exit code 3: two"),
    ("Collecting x\nERROR: no such package\nWARNING: old pip\n", "exit code 3: ERROR: no such package"),
])  # fmt: skip
def test_what_an_init_container_said_last_is_told(said: str, told: str) -> None:
    terminated = {"exitCode": 3, "reason": "Error", "message": said, "finishedAt": "2026-01-01T00:00:00Z"}
    found = facts.pod(
        {
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"initContainers": [{"name": "fetch"}], "containers": [{"name": "main"}]},
            "status": {
                "phase": "Failed",
                "initContainerStatuses": [{"name": "fetch", "state": {"terminated": terminated}}],
            },
        }
    )
    assert found is not None
    finding = ended.explain(found)
    assert finding is not None
    assert finding.message.endswith(told)
