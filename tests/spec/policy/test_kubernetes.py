"""Kubernetes manifests of any kind: what reaches beyond the job's pods is shut, wherever it stands."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_agent.errors import Refused
from launch_agent.spec.model import RunSpec
from launch_agent.spec.policy import PROTECTED_SECRETS, Policy, check
from launch_agent.spec.policy.kubernetes_rules import RULES, SECRET_NAMES

Json = dict[str, Any]


def judge(manifest: Json, allow: Json | None = None, **policy: Any) -> None:
    spec = RunSpec(entity="e", project="p", resource="kubernetes", image="i", resource_args=manifest)
    check(spec, Policy(allow={"kubernetes": allow or {}}, **policy))


def job(pod: Json) -> Json:
    return {"spec": {"template": {"spec": pod}}}


# Where a pod spec stands in the kinds that people launch.
PLACES: dict[str, Callable[[Json], Json]] = {
    "Job": job,
    "Job in full": lambda pod: {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, **job(pod)},
    "Pod": lambda pod: {"apiVersion": "v1", "kind": "Pod", "spec": pod},
    "CronJob": lambda pod: {"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": job(pod)}},
    "RayJob": lambda pod: {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "spec": {"rayClusterSpec": {"workerGroupSpecs": [{"template": {"spec": pod}}]}},
    },
    "PyTorchJob": lambda pod: {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "spec": {"pytorchReplicaSpecs": {"Worker": {"template": {"spec": pod}}}},
    },
    "JobSet": lambda pod: {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "spec": {"replicatedJobs": [{"template": {"spec": {"template": {"spec": pod}}}}]},
    },
    "TrainJob": lambda pod: {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "spec": {"podTemplateOverrides": [{"targetJobs": [{"name": "node"}], "spec": pod}]},
    },
    "SparkApplication": lambda pod: {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "spec": {"driver": pod},
    },
    "AppWrapper": lambda pod: {
        "apiVersion": "workload.codeflare.dev/v1beta2",
        "kind": "AppWrapper",
        "spec": {"components": [{"template": {"apiVersion": "batch/v1", "kind": "Job", **job(pod)}}]},
    },
}


def container(**fields: Any) -> Json:
    return {"containers": [{"name": "main"}, fields]}


def context(**fields: Any) -> Json:
    return container(securityContext=fields)


def volume(**fields: Any) -> Json:
    return {"volumes": [{"name": "v", **fields}], "containers": [{}]}


# pod spec, what the refusal names, and what opens it
SHUT: list[tuple[Json, str, Json]] = [
    ({"hostNetwork": True}, "hostNetwork", {"hostNetwork": True}),
    ({"hostNetwork": "yes"}, "hostNetwork", {"hostNetwork": True}),
    ({"hostPID": True}, "hostPID", {"hostPID": True}),
    ({"hostIPC": True}, "hostIPC", {"hostIPC": True}),
    (container(ports=[{"hostPort": 80}]), "containers[1].ports[0].hostPort", {"hostPort": ["80"]}),
    (volume(hostPath={"path": "/dev/shm"}), "volumes[0].hostPath", {"hostPath": ["/dev/shm"]}),
    (volume(hostPath={"path": "/data/x"}), "volumes[0].hostPath", {"hostPath": ["/data/*"]}),
    (volume(hostPath={}), "", {}),
    (volume(csi={"driver": "x"}), "volumes[0]", {"volumes": ["csi"]}),
    (volume(nfs={"server": "x"}), "volumes[0]", {"volumes": ["nfs", "iscsi"]}),
    (
        container(volumeMounts=[{"mountPropagation": "Bidirectional"}]),
        "mountPropagation",
        {"mountPropagation": ["Bidirectional"]},
    ),
    (context(privileged=True), "containers[1].securityContext.privileged", {"privileged": True}),
    ({"initContainers": [{"securityContext": {"privileged": True}}]}, "privileged", {"privileged": True}),
    (
        {"ephemeralContainers": [{"securityContext": {"privileged": True}}]},
        "privileged",
        {"privileged": True},
    ),
    (context(allowPrivilegeEscalation=True), "allowPrivilegeEscalation", {"allowPrivilegeEscalation": True}),
    (context(capabilities={"add": ["IPC_LOCK"]}), "capabilities.add", {"capabilities": ["IPC_LOCK"]}),
    ({"securityContext": {"runAsUser": 0}}, "securityContext.runAsUser", {"runAsUser": ["0"]}),
    (context(runAsUser="0"), "runAsUser", {"runAsUser": True}),
    (context(seccompProfile={"type": "Unconfined"}), "seccompProfile.type", {"seccompProfile": True}),
    (context(appArmorProfile={"type": "Unconfined"}), "appArmorProfile", {"appArmorProfile": True}),
    (context(seLinuxOptions={"type": "spc_t"}), "seLinuxOptions", {"seLinuxOptions": True}),
    (context(procMount="Unmasked"), "procMount", {"procMount": ["Unmasked"]}),
    (context(windowsOptions={"hostProcess": True}), "hostProcess", {"hostProcess": True}),
    ({"securityContext": {"sysctls": [{"name": "a", "value": "1"}]}}, "sysctls", {"sysctls": True}),
    ({"serviceAccountName": "admin"}, "serviceAccountName", {"serviceAccountName": ["adm*"]}),
    ({"serviceAccount": "admin"}, "serviceAccount", {"serviceAccountName": ["admin"]}),
    (
        {"automountServiceAccountToken": True},
        "automountServiceAccountToken",
        {"automountServiceAccountToken": True},
    ),
    (
        volume(projected={"sources": [{"serviceAccountToken": {"audience": "sts", "path": "t"}}]}),
        "sources[0].serviceAccountToken",
        {"serviceAccountToken": ["sts"]},
    ),
    (
        volume(projected={"sources": [{"podCertificate": {"signerName": "kubernetes.io/a"}}]}),
        "sources[0].podCertificate",
        {"podCertificate": ["kubernetes.io/*"]},
    ),
    (
        container(livenessProbe={"httpGet": {"host": "10.0.0.1", "port": 80}}),
        "livenessProbe.httpGet.host",
        {"probeHost": ["10.0.0.*"]},
    ),
    (
        container(startupProbe={"tcpSocket": {"host": "x"}}),
        "startupProbe.tcpSocket.host",
        {"probeHost": True},
    ),
    (
        container(lifecycle={"preStop": {"httpGet": {"host": "x"}}}),
        "lifecycle.preStop.httpGet.host",
        {"probe-host": ["x"]},
    ),
    (container(livenessProbe={"httpGet": {"host": "", "port": 80}}), "", {}),
    ({"metadata": {"finalizers": ["a/b"]}}, "metadata.finalizers", {"finalizers": ["a/*"]}),
    ({"metadata": {"ownerReferences": [{"uid": "1"}]}}, "ownerReferences", {"ownerReferences": True}),
    ({"nodeName": "node-1"}, "nodeName", {"nodeName": ["node-*"]}),
    (
        {"priorityClassName": "system-node-critical"},
        "priorityClassName",
        {"priorityClassName": ["system-node-critical"]},
    ),
    ({"priorityClassName": "${run_name}"}, "priorityClassName", {"priorityClassName": True}),
]


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize(("pod", "named", "opens"), SHUT, ids=lambda value: str(value)[:50])
def test_what_reaches_outside_is_shut_in_every_kind(
    place: Callable[[Json], Json], pod: Json, named: str, opens: Json
) -> None:
    """openings K10."""
    manifest = place(pod)
    before = copy.deepcopy(manifest)
    if named:
        with pytest.raises(Refused) as raised:
            judge(manifest)
        assert named in raised.value.message
        assert "policy: {allow: {kubernetes: {" in raised.value.hint
    judge(manifest, opens)
    assert manifest == before


@pytest.mark.parametrize(
    "annotation",
    [
        {"container.apparmor.security.beta.kubernetes.io/main": "unconfined"},
        {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"},
        {"container.seccomp.security.alpha.kubernetes.io/main": "unconfined"},
        {"launch-agent/item-id": "another"},
    ],
)
def test_annotations_that_mean_something_are_shut(annotation: Json) -> None:
    for manifest in (
        {"metadata": {"annotations": annotation}},
        {"spec": {"template": {"metadata": {"annotations": annotation}}}},
    ):
        with pytest.raises(Refused, match=next(iter(annotation))):
            judge(manifest)


@pytest.mark.req("K8S-2", "K8S-3", "K8S-4", "K8S-5", "K8S-6", "K8S-7")
def test_the_documents_queue_config_passes() -> None:
    pod = {
        "containers": [
            {
                "env": [{"name": "MY_ENV_VAR", "value": "some-value"}],
                "resources": {"requests": {"cpu": "1000m", "memory": "1Gi"}},
            }
        ]
    }
    judge({**job(pod), "metadata": {"labels": {"queue": "k8s-test"}}, "namespace": "wandb"})


@pytest.mark.req("K8S-8", "K8S-16")
def test_a_security_context_that_hardens_passes() -> None:
    hardened = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
        "appArmorProfile": {"type": "RuntimeDefault"},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "procMount": "Default",
    }
    pod_wide = {"fsGroup": 1000, "runAsUser": 1000, "supplementalGroups": [1], "sysctls": []}
    pod = {
        "containers": [{"securityContext": hardened}],
        "initContainers": [{"securityContext": hardened}],
        "securityContext": pod_wide,
        "hostNetwork": False,
        "hostUsers": False,
        "automountServiceAccountToken": False,
        "serviceAccountName": "default",
        "priorityClassName": "research",
    }
    spec = {"backoffLimit": 0, "ttlSecondsAfterFinished": 60, "template": {"spec": pod}}
    judge({"spec": spec})


def test_ordinary_work_passes() -> None:
    pod = {
        "containers": [
            {
                "name": "main",
                "image": "${image_uri}",
                "command": ["sh", "-c", "echo hostPath"],
                "env": [
                    {"name": "hostPath", "value": "x"},
                    {"name": "S", "valueFrom": {"secretKeyRef": {"name": "team-creds", "key": "k"}}},
                ],
                "envFrom": [{"secretRef": {"name": "team-env"}}, {"configMapRef": {"name": "wandb-api-key"}}],
                "volumeMounts": [{"name": "d", "mountPath": "/d", "mountPropagation": "HostToContainer"}],
                "ports": [{"containerPort": 8080, "hostPort": 0}],
                "resources": {"limits": {"nvidia.com/gpu": 1}},
            }
        ],
        "volumes": [
            {"name": "a", "emptyDir": {"medium": "Memory"}},
            {"name": "b", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "c", "secret": {"secretName": "team-creds"}},
            {"name": "d", "configMap": {"name": "x"}},
            {
                "name": "e",
                "projected": {"sources": [{"secret": {"name": "team-creds"}}, {"downwardAPI": {}}]},
            },
            {"name": "f", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
            {"name": "g", "image": {"reference": "x"}},
        ],
        "nodeSelector": {"hostNetwork": "true", "nodeName": "x"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    }
    labels = {"hostPath": "yes", "privileged": "true", "hostNetwork": "true", "volumes": "x", "kind": "x"}
    for place in PLACES.values():
        judge({"metadata": {"labels": labels, "annotations": labels}, **place(pod)})


def test_a_job_cannot_take_another_jobs_identity() -> None:
    with pytest.raises(Refused, match="ties objects to queue items"):
        judge({"spec": {"template": {"metadata": {"labels": {"launch-agent/run-id": "x"}}}}})


def test_a_map_that_only_calls_itself_labels_hides_nothing() -> None:
    with pytest.raises(Refused, match="hostNetwork"):
        judge({"spec": {"labels": {"spec": {"hostNetwork": True}}}})


@pytest.mark.parametrize(
    "kind",
    [
        ("v1", "Secret"),
        ("v1", "ServiceAccount"),
        ("v1", "PersistentVolume"),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("certificates.k8s.io/v1", "CertificateSigningRequest"),
        ("coordination.k8s.io/v1", "Lease"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("${run_name}", "ClusterRoleBinding"),
        ("batch/v1", "${run_name}"),
    ],
)
def test_a_job_makes_workloads_and_nothing_else(kind: tuple[str, str]) -> None:
    thing = {"apiVersion": kind[0], "kind": kind[1], "metadata": {"name": "x"}}
    wrapped = {"apiVersion": "workload.codeflare.dev/v1beta2", "kind": "AppWrapper", "spec": {"c": [thing]}}
    for manifest in (thing, wrapped, {**thing, "name": "x"}):
        with pytest.raises(Refused, match="no workload"):
            judge(manifest)
        judge(manifest, {"kind": True})


def test_a_reference_to_an_object_is_no_object() -> None:
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "data"}
    judge({"spec": {"dataSourceRef": reference, "ownerReferences": [{**reference, "uid": "1"}]}})


OWN = "wandb-api-key-release"
SECRET_PLACES: list[Callable[[str], Json]] = [
    lambda name: container(env=[{"name": "K", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]),
    lambda name: {"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": name}}}]}]},
    lambda name: container(envFrom=[{"secretRef": {"name": name}}]),
    lambda name: volume(secret={"secretName": name}),
    lambda name: volume(projected={"sources": [{"secret": {"name": name}}]}),
    lambda name: volume(csi={"driver": "d", "nodePublishSecretRef": {"name": name}}),
    lambda name: volume(azureFile={"secretName": name, "shareName": "s"}),
    lambda name: volume(cephfs={"secretRef": {"name": name}}),
    lambda name: {"envSecretKeyRefs": {"K": {"name": name, "key": "k"}}},
    lambda name: {"secrets": [{"name": name, "path": "/x", "secretType": "Generic"}]},
    lambda name: {"imagePullSecrets": [{"name": name}]},
    lambda name: {"imagePullSecrets": [name]},
    lambda name: {"initializer": {"dataset": {"secretRef": {"name": name}}}},
    lambda name: {"redisPassword": {"valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}},
]


@pytest.mark.parametrize("pod", SECRET_PLACES)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_the_agents_own_secrets_are_never_reachable(
    place: Callable[[Json], Json], pod: Callable[[str], Json]
) -> None:
    """openings K10."""
    everything = {rule.key: True for rule in RULES} | {"secret": True}
    for name in (OWN, "launch-proj-ab12cd34-0123456789", "prod-launch-agent-git", "${run_name}"):
        with pytest.raises(Refused, match="own secrets") as raised:
            judge(place(pod(name)), everything)
        assert "protected-secrets" in raised.value.hint
    judge(place(pod("team-creds")), everything)
    judge(place(pod(OWN)), everything, protected_secrets=())


@pytest.mark.parametrize(
    ("manifest", "named", "opens"),
    [
        (
            {
                "sparkConf": {
                    "spark.kubernetes.driver.secrets.launch-x": "/etc/x",
                    "spark.executor.cores": "1",
                }
            },
            "sparkConf.spark.kubernetes.driver.secrets.launch-x",
            {"sparkConf": True},
        ),
        (
            {"rayClusterSpec": {"headGroupSpec": {"serviceType": "LoadBalancer"}}},
            "headGroupSpec.serviceType",
            {"serviceType": ["LoadBalancer"]},
        ),
        ({"headService": {"spec": {"type": "NodePort"}}}, "spec.type", {"serviceType": ["NodePort"]}),
        ({"headService": {"spec": {"externalIPs": ["1.2.3.4"]}}}, "externalIPs", {"externalIPs": True}),
    ],
)
def test_custom_resources_have_ways_out_of_their_own(manifest: Json, named: str, opens: Json) -> None:
    with pytest.raises(Refused) as raised:
        judge({"apiVersion": "x/v1", "kind": "X", "spec": manifest})
    assert named in raised.value.message
    judge({"apiVersion": "x/v1", "kind": "X", "spec": manifest}, opens)


SERVICE: Json = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}
DEPLOYMENT: Json = {"apiVersion": "apps/v1", "kind": "Deployment", **job({"containers": [{}]})}


def services(*configs: Any, allow: Json | None = None, **policy: Any) -> None:
    listed = [{"name": "x", "config": config} for config in configs]
    spec = RunSpec(entity="e", project="p", resource="kubernetes", image="i", services=listed)
    check(spec, Policy(allow={"kubernetes": allow or {}}, **policy))


def test_objects_beside_the_run_are_refused_until_their_kind_is_opened() -> None:
    with pytest.raises(Refused, match=r"additional_services\[1\] puts an object of its own") as raised:
        services(SERVICE, DEPLOYMENT)
    assert "additional_services: [v1/Service, apps/v1/Deployment]" in raised.value.hint
    services(SERVICE, DEPLOYMENT, allow={"additional_services": ["v1/Service", "apps/v1/*"]})
    services(SERVICE, DEPLOYMENT, allow={"additional-services": True})
    with pytest.raises(Refused, match=r"refuses additional_services\[1\]"):
        services(SERVICE, DEPLOYMENT, allow={"additional_services": ["v1/Service"]})


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({**DEPLOYMENT, **job({"hostNetwork": True})}, "config.spec.template.spec.hostNetwork"),
        ({**SERVICE, "spec": {"type": "LoadBalancer"}}, "config.spec.type"),
        ({"apiVersion": "v1", "kind": "Secret"}, "it is no workload"),
        ({**DEPLOYMENT, **job({"imagePullSecrets": [{"name": "launch-x"}]})}, "own secrets"),
    ],
)
def test_objects_beside_the_run_may_no_more_than_the_run(config: Json, named: str) -> None:
    with pytest.raises(Refused) as raised:
        services(config, allow={"additional_services": True})
    assert named in raised.value.message


def test_own_secrets_are_named_by_the_administrator() -> None:
    manifest = job(container(envFrom=[{"secretRef": {"name": "vault-key"}}]))
    judge(manifest)
    with pytest.raises(Refused):
        judge(manifest, protected_secrets=(*PROTECTED_SECRETS, "vault-*"))


@pytest.mark.parametrize(
    "pod",
    [
        {"hostNetwork": True},
        {"initContainers": [{"name": "x"}]},
        container(command=["sh"]),
        container(lifecycle={"postStart": {"exec": {"command": ["sh"]}}}),
        container(startupProbe={"exec": {"command": ["sh"]}}),
    ],
)
def test_secure_mode_shuts_what_allow_opens(pod: Json) -> None:
    allow = {"hostNetwork": True, "initContainers": True, "command": True, "lifecycle": True, "exec": True}
    judge(job(pod), allow)
    with pytest.raises(Refused) as raised:
        judge(job(pod), allow, secure_mode=True)
    assert "secure_mode: false" in raised.value.hint


def test_patterns_do_not_follow_paths_up_nor_macros() -> None:
    allow = {"hostPath": ["/data/*"]}
    judge(job(volume(hostPath={"path": "/data/a"})), allow)
    for path in ("/data/../etc", "/data/..", "/data/${author}"):
        with pytest.raises(Refused):
            judge(job(volume(hostPath={"path": path})), allow)


WORDS = [rule.at.split(" > ")[-1] for rule in RULES if rule.at and "/" not in rule.at]
FIELDS = st.sampled_from(
    [*WORDS, *(part for at in SECRET_NAMES for part in at.split(" > ")), "spec", "template", "containers"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(FIELDS | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=25,
)


@given(st.dictionaries(FIELDS, JSON, max_size=4), st.booleans())
def test_any_object_is_judged_and_none_breaks_the_judge(manifest: Json, secure: bool) -> None:
    with contextlib.suppress(Refused):
        judge(manifest, secure_mode=secure)


@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_everything_opened_leaves_the_own_secrets_shut_only(manifest: Json) -> None:
    judge(manifest, {rule.key: True for rule in RULES}, protected_secrets=())


def test_a_large_object_is_judged_at_once() -> None:
    start = time.process_time()
    judge({"spec": [{"a": 1, "b": 2, "c": 3} for _ in range(50_000)]})
    assert time.process_time() - start < 2


def test_a_deep_object_and_a_wide_one_are_judged() -> None:
    deep: Json = {"hostNetwork": True}
    for _ in range(5000):
        deep = {"a": [deep]}
    with pytest.raises(Refused):
        judge(deep)
    wide = {"spec": [{"hostNetwork": True}] * 1000}
    with pytest.raises(Refused, match=r"refuses 1000 things.*and 950 more") as raised:
        judge(wide)
    assert len(str(raised.value)) < 10_000
