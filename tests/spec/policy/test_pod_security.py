"""What the policy accepts by default, Pod Security's `baseline` admits: held against a real API server.

Every field of a pod that the server knows, by its own OpenAPI document, is set to values that could mean
something; then hypothesis sets several at once. A pod that passes the policy is composed as a run's and sent
to the server, as a dry run into a namespace that enforces `baseline`; a Job of it must not be warned of.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch_agent.errors import LaunchError, Refused
from launch_agent.runners.kubernetes.manifest import compose
from launch_agent.runners.kubernetes.namespaces import Namespaces
from launch_agent.spec.model import RunSpec
from launch_agent.spec.policy import Policy, check
from tests.fakes.control_plane import Cluster
from tests.fakes.kube import ApiError, Kube
from tests.fixtures.cluster import await_account
from tests.runners.kubernetes.requests import request

BASELINE = {f"pod-security.kubernetes.io/{mode}": "baseline" for mode in ("enforce", "warn")}
Path = tuple[str, ...]
Json = dict[str, Any]

# Values by which a text, number or switch could open something. Others are made by the field's type.
TEXTS: Mapping[str, tuple[Any, ...]] = {
    "type": ("Unconfined", "Localhost", "spc_t", "container_t"),
    "procMount": ("Unmasked", "Default"),
    "path": ("/", "/etc"),
    "host": ("", "10.0.0.1", "localhost"),
    "mountPropagation": ("Bidirectional", "HostToContainer"),
    "add": ("SYS_ADMIN", "NET_RAW", "CHOWN", "ALL"),
    "name": ("kernel.shm_rmid_forced", "net.core.somaxconn"),
    "user": ("", "root"),
    "role": ("", "sysadm_r"),
}
ANNOTATIONS = (
    ("container.apparmor.security.beta.kubernetes.io/main", "unconfined"),
    ("container.apparmor.security.beta.kubernetes.io/main", "runtime/defaults"),
    ("container.apparmor.security.beta.kubernetes.io/main", "localhost/x"),
    ("container.apparmor.security.beta.kubernetes.io/main", ""),
    ("seccomp.security.alpha.kubernetes.io/pod", "unconfined"),
    ("container.seccomp.security.alpha.kubernetes.io/main", "unconfined"),
)


@dataclass(slots=True, kw_only=True)
class Judge:
    """Both judges of a pod: the policy and the server; `admitted` counts what passed both."""

    kube: Kube
    namespace: str
    admitted: int = 0

    def compare(self, pod: Json, annotations: Mapping[str, str] | None = None) -> None:
        """Fails where the policy accepts what `baseline` refuses."""
        metadata = {"annotations": dict(annotations or {})}
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}
        job = {"spec": {"template": {"metadata": copy.deepcopy(metadata), "spec": copy.deepcopy(pod)}}}
        for manifest in (whole, job):
            spec = RunSpec(entity="e", project="p", resource="kubernetes", resource_args=manifest)
            try:
                check(spec, Policy())
                made = compose(request(manifest), allowed=Namespaces(default=self.namespace))
            except LaunchError:
                return
            said = self.answer(made.manifest)
            assert "PodSecurity" not in said, f"{said}\n{manifest}"

    def answer(self, manifest: Mapping[str, Any]) -> str:
        """What the server says of a manifest: warnings and the refusal; empty where it takes it as it is."""
        where = self.kube.path(manifest["apiVersion"], manifest["kind"], self.namespace)
        self.kube.warnings.clear()
        try:
            self.kube.call("POST", where, manifest, query={"dryRun": "All"})
        except ApiError as error:
            return str(error)
        self.admitted += 1
        return "; ".join(self.kube.warnings)


@pytest.fixture(scope="module")
def judge(cluster: Cluster) -> Iterator[Judge]:
    name = f"test-{uuid.uuid4().hex[:10]}"
    cluster.kube.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": BASELINE}}
    )
    await_account(cluster.kube, name)
    yield Judge(kube=cluster.kube, namespace=name)
    cluster.kube.delete("v1", "Namespace", "", name)


@pytest.fixture(scope="module")
def fields(judge: Judge) -> dict[Path, tuple[Any, ...]]:
    """Every leaf below a pod's spec, with values to try. Lists are one step, `*`."""
    schemas = judge.kube.call("GET", "/openapi/v3/api/v1")["components"]["schemas"]
    found: dict[Path, tuple[Any, ...]] = {}
    _leaves("io.k8s.api.core.v1.PodSpec", schemas, (), found)
    return found


def _leaves(name: str, schemas: Mapping[str, Any], path: Path, found: dict[Path, tuple[Any, ...]]) -> None:
    for key, schema in schemas[name].get("properties", {}).items():
        # Of containers the first kind is enough to find a field; the others are tried by hypothesis.
        if not path and key in ("ephemeralContainers", "initContainers"):
            continue
        _leaf(schema, schemas, (*path, key), found)


def _leaf(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], path: Path, found: dict[Path, tuple[Any, ...]]
) -> None:
    schema = next(iter(schema.get("allOf", [schema])))
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if "properties" in schemas[name]:
            _leaves(name, schemas, path, found)
        else:
            found[path] = (80, "1Gi")
    elif schema.get("type") == "array":
        _leaf(schema["items"], schemas, (*path, "*"), found)
    elif schema.get("type") == "boolean":
        found[path] = (True,)
    elif schema.get("type") in ("integer", "number"):
        found[path] = (0, 80)
    elif schema.get("type") == "string":
        key = next(part for part in reversed(path) if part != "*")
        found[path] = TEXTS.get(key, (schema.get("enum", ["x"])[0],))


# What must be there besides, for a field to be legal: the longest beginning of its path counts.
BESIDES: Mapping[str, Json] = {
    "containers.*.livenessProbe.httpGet": {"port": 80},
    "containers.*.livenessProbe.tcpSocket": {"port": 80},
    "containers.*.readinessProbe.httpGet": {"port": 80},
    "containers.*.readinessProbe.tcpSocket": {"port": 80},
    "containers.*.startupProbe.httpGet": {"port": 80},
    "containers.*.startupProbe.tcpSocket": {"port": 80},
    "containers.*.lifecycle.postStart.httpGet": {"port": 80},
    "containers.*.lifecycle.postStart.tcpSocket": {"port": 80},
    "containers.*.lifecycle.preStop.httpGet": {"port": 80},
    "containers.*.lifecycle.preStop.tcpSocket": {"port": 80},
    "containers.*.ports.*": {"containerPort": 80},
    "containers.*.volumeMounts.*": {"name": "v", "mountPath": "/v"},
    "containers.*.volumeDevices.*": {"name": "v", "devicePath": "/v"},
    "volumes.*": {"name": "v"},
    "volumes.*.hostPath": {"path": "/"},
    "volumes.*.nfs": {"server": "x", "path": "/x"},
    "volumes.*.csi": {"driver": "x.example.com"},
    "volumes.*.persistentVolumeClaim": {"claimName": "x"},
    "volumes.*.projected.sources.*.serviceAccountToken": {"path": "x"},
    "securityContext.sysctls.*": {"value": "1"},
}


def place(pod: Json, path: Path, value: Any) -> None:
    """Set the field in a pod, with what has to stand beside it."""
    here: Any = pod
    for number, part in enumerate(path):
        last = number == len(path) - 1
        after = value if last else [] if path[number + 1] == "*" else {}
        if part == "*":
            if not here:
                here.append(after)
            elif last:
                here[0] = after
            here = here[0]
        else:
            here = here.setdefault(part, after) if not last else here.__setitem__(part, after)
        if isinstance(here, dict):
            for key, item in BESIDES.get(".".join(path[: number + 1]), {}).items():
                here.setdefault(key, item)


def base() -> Json:
    return {"containers": [{"name": "main"}]}


@pytest.mark.req("SEC-7")
def test_no_field_of_a_pod_passes_the_policy_that_baseline_refuses(
    judge: Judge, fields: dict[Path, tuple[Any, ...]]
) -> None:
    judge.admitted = 0
    for path, values in fields.items():
        for value in values:
            pod = base()
            place(pod, path, value)
            judge.compare(pod)
    for key, value in ANNOTATIONS:
        judge.compare(base(), {key: value})
    assert len(fields) > 300
    assert judge.admitted > 150, "the server has looked at too few for this to mean anything"


RISKY: tuple[tuple[str, Any], ...] = (
    ("hostNetwork", True),
    ("hostPID", True),
    ("hostUsers", False),
    ("shareProcessNamespace", True),
    ("securityContext.runAsUser", 0),
    ("securityContext.runAsNonRoot", False),
    ("securityContext.seccompProfile.type", "Unconfined"),
    ("securityContext.seccompProfile.type", "RuntimeDefault"),
    ("securityContext.appArmorProfile.type", "Unconfined"),
    ("securityContext.seLinuxOptions.type", "container_t"),
    ("securityContext.sysctls.*.name", "kernel.shm_rmid_forced"),
    ("securityContext.windowsOptions.hostProcess", True),
    ("volumes.*.hostPath.path", "/"),
    ("volumes.*.emptyDir.medium", "Memory"),
    ("volumes.*.image.reference", "x"),
    ("containers.*.ports.*.hostPort", 80),
    ("containers.*.livenessProbe.httpGet.host", "10.0.0.1"),
    ("containers.*.lifecycle.preStop.httpGet.host", "10.0.0.1"),
    ("containers.*.securityContext.privileged", True),
    ("containers.*.securityContext.allowPrivilegeEscalation", True),
    ("containers.*.securityContext.allowPrivilegeEscalation", False),
    ("containers.*.securityContext.capabilities.add.*", "CHOWN"),
    ("containers.*.securityContext.capabilities.drop.*", "ALL"),
    ("containers.*.securityContext.procMount", "Unmasked"),
    ("containers.*.securityContext.seccompProfile.type", "Unconfined"),
    ("containers.*.securityContext.runAsUser", 1000),
    ("initContainers.*.securityContext.privileged", True),
    ("initContainers.*.restartPolicy", "Always"),
    ("initContainers.*.command.*", "sh"),
    ("initContainers.*.livenessProbe.tcpSocket.host", "10.0.0.1"),
    ("terminationGracePeriodSeconds", 5),
    ("tolerations.*.operator", "Exists"),
    ("priorityClassName", "system-node-critical"),
)
# Harmless ones are among them so that several together reach the server.
SEVERAL = st.lists(st.sampled_from(RISKY), min_size=1, max_size=6)


@given(SEVERAL, st.dictionaries(st.sampled_from([key for key, _ in ANNOTATIONS]), st.sampled_from(["", "x"])))
@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_several_fields_together_pass_no_more(
    judge: Judge, chosen: list[tuple[str, Any]], annotations: dict[str, str]
) -> None:
    pod = base()
    for path, value in chosen:
        place(pod, tuple(path.split(".")), value)
    judge.compare(pod, annotations)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hostNetwork", True),
        ("hostPID", True),
        ("hostIPC", True),
        ("volumes.*.hostPath.path", "/"),
        ("securityContext.seLinuxOptions.user", "root"),
        ("securityContext.sysctls.*.name", "net.core.somaxconn"),
        ("containers.*.ports.*.hostPort", 80),
        ("containers.*.livenessProbe.httpGet.host", "10.0.0.1"),
        ("containers.*.lifecycle.preStop.tcpSocket.host", "10.0.0.1"),
        ("containers.*.securityContext.privileged", True),
        ("containers.*.securityContext.capabilities.add.*", "SYS_ADMIN"),
        ("containers.*.securityContext.seccompProfile.type", "Unconfined"),
        ("containers.*.securityContext.appArmorProfile.type", "Unconfined"),
    ],
)
def test_both_judges_refuse_what_reaches_outside(judge: Judge, path: str, value: Any) -> None:
    pod = base()
    place(pod, tuple(path.split(".")), value)
    manifest = {"apiVersion": "v1", "kind": "Pod", "spec": pod}
    spec = RunSpec(entity="e", project="p", resource="kubernetes", resource_args=manifest)
    with pytest.raises(Refused):
        check(spec, Policy())
    made = compose(request(manifest), allowed=Namespaces(default=judge.namespace))
    # So the server would have said it where the policy had missed it.
    assert "PodSecurity" in judge.answer(made.manifest)
