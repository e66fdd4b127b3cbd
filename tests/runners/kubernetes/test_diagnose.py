"""Why a run does not start or has failed: pods as the kubelet leaves them, and the reason each gets."""

from __future__ import annotations

from typing import Any

import pytest

from launch_agent.runners.kubernetes import facts
from launch_agent.runners.kubernetes.diagnose import explain
from launch_agent.runners.kubernetes.status import Diagnosis, Observed, gone, status_of
from launch_agent.spec.model import RunState
from tests.fakes import kube_objects as objects
from tests.fakes.kube_objects import T0, condition, event, pod, running, status, terminated, waiting

PENDING = Observed(state=RunState.PENDING, kind="Job")
RUNNING = Observed(state=RunState.RUNNING, kind="Job")
FAILED = Observed(state=RunState.FAILED, kind="Job", reason="BackoffLimitExceeded", message="too many")


def look(
    observed: Observed,
    *pods: objects.Object,
    events: Any = (),
    after: float = 100,
    earlier: Diagnosis | None = None,
) -> Diagnosis | None:
    return explain(
        observed,
        [facts.pod(one) for one in pods],
        [facts.event(one) for one in events],
        T0 + after,
        earlier,
    )


def found(observed: Observed, *pods: objects.Object, **more: Any) -> Diagnosis:
    diagnosis = look(observed, *pods, **more)
    assert diagnosis is not None
    return diagnosis


def stuck(reason: str, message: str = "", **more: Any) -> objects.Object:
    return pod(status("main", waiting(reason, message)), **more)


PULL = 'failed to pull and unpack image "registry.example/team/train:1": failed to resolve reference: '


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("registry.example/team/train:1: not found", "ImageNotFound"),
        ("manifest unknown: manifest unknown", "ImageNotFound"),
        ("pull access denied, repository does not exist or may require authorization", "ImageDenied"),
        ("unexpected status from HEAD request to https://r/v2/: 401 Unauthorized", "ImageDenied"),
        ("failed to authorize: failed to fetch anonymous token: 403 Forbidden", "ImageDenied"),
        ("dial tcp: lookup registry.example on 10.0.0.10:53: no such host", "RegistryUnreachable"),
        ("dial tcp 10.1.1.1:443: i/o timeout", "RegistryUnreachable"),
        ("dial tcp 10.1.1.1:443: connect: connection refused", "RegistryUnreachable"),
        ("tls: failed to verify certificate: x509: unknown authority", "RegistryUnreachable"),
        ("429 Too Many Requests - toomanyrequests: You have reached your pull rate limit", "RegistryLimit"),
        ("no match for platform in manifest: not found", "ImagePlatformMismatch"),
        ("write /var/lib/containerd/x: no space left on device", "NodeDiskFull"),
        ("something else altogether", "ImagePullError"),
    ],
)
def test_why_an_image_cannot_be_pulled_is_told_apart(said: str, reason: str) -> None:
    diagnosis = found(PENDING, stuck("ErrImagePull", f"rpc error: code = Unknown desc = {PULL}{said}"))
    assert diagnosis.reason == reason
    assert "registry.example/team/train:1" in diagnosis.message
    assert diagnosis.hint


def test_a_back_off_that_does_not_say_why_is_explained_by_its_event() -> None:
    events = [
        event("Failed", f'Failed to pull image "registry.example/team/train:1": {PULL}not found', at=20)
    ]
    backing_off = stuck("ImagePullBackOff", 'Back-off pulling image "registry.example/team/train:1"')
    diagnosis = found(PENDING, backing_off, events=events)
    assert (diagnosis.reason, diagnosis.since) == ("ImageNotFound", T0 + 20)


def test_a_pull_that_fails_gets_thirty_seconds() -> None:
    """The kubelet's two reasons take turns; the clock goes on."""
    first = found(PENDING, stuck("ErrImagePull", f"{PULL}not found"), after=10)
    assert (first.fatal, first.since) == (False, T0 + 10)
    second = found(PENDING, stuck("ImagePullBackOff", "Back-off"), after=39, earlier=first)
    assert (second.reason, second.fatal, second.since) == ("ImagePullError", False, T0 + 10)
    third = found(PENDING, stuck("ErrImagePull", f"{PULL}not found"), after=40, earlier=second)
    assert (third.reason, third.fatal) == ("ImageNotFound", True)
    run = status_of(PENDING, third)
    assert (run.state, run.reason) == (RunState.FAILED, "ImageNotFound")
    assert run.hint
    assert status_of(PENDING, first).state is RunState.PENDING


def test_a_registry_that_is_away_gets_longer() -> None:
    first = found(PENDING, stuck("ErrImagePull", f"{PULL}i/o timeout"), after=10)
    assert not found(PENDING, stuck("ErrImagePull", f"{PULL}i/o timeout"), after=200, earlier=first).fatal
    assert found(PENDING, stuck("ErrImagePull", f"{PULL}i/o timeout"), after=311, earlier=first).fatal


@pytest.mark.parametrize(
    ("reason", "message", "expected", "words", "at_once"),
    [
        ("InvalidImageName", "couldn't parse image name", "InvalidImageName", "is not the name", True),
        ("ErrImageNeverPull", "not present", "ImageNotPresent", "Never", False),
        (
            "CreateContainerConfigError",
            'secret "hf-token" not found',
            "CreateContainerConfigError",
            'Secret "hf-token" does not exist',
            False,
        ),
        (
            "CreateContainerConfigError",
            'configmap "params" not found',
            "CreateContainerConfigError",
            'ConfigMap "params" does not exist',
            False,
        ),
        (
            "CreateContainerConfigError",
            "couldn't find key token in Secret team/hf-token",
            "CreateContainerConfigError",
            'Secret "hf-token" has no key "token"',
            False,
        ),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root (pod: x, container: main)",
            "CreateContainerConfigError",
            "runAsNonRoot",
            False,
        ),
        (
            "CreateContainerError",
            "failed to generate container spec: no command specified",
            "ContainerCannotRun",
            "no command specified",
            False,
        ),
        (
            "RunContainerError",
            'exec: "trian.py": executable file not found in $PATH: unknown',
            "ContainerCannotRun",
            "trian.py",
            False,
        ),
        ("PostStartHookError", "", "PostStartHookError", "postStart", False),
    ],
)
def test_why_a_container_cannot_be_started(
    reason: str, message: str, expected: str, words: str, at_once: bool
) -> None:
    first = found(PENDING, stuck(reason, message), after=1)
    assert (first.reason, first.fatal) == (expected, at_once)
    assert words in first.message
    assert found(PENDING, stuck(reason, message), after=61, earlier=first).fatal


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", ""])
def test_what_is_usual_is_no_trouble(reason: str) -> None:
    assert look(PENDING, stuck(reason)) is None


def test_a_runtime_that_is_busy_is_waited_for() -> None:
    slow = stuck("CreateContainerError", "context deadline exceeded")
    first = found(PENDING, slow, after=1)
    assert not found(PENDING, slow, after=1000, earlier=first).fatal


def unschedulable(message: str) -> objects.Object:
    said = condition("PodScheduled", "False", "Unschedulable", message)
    return pod(status("main", {}), node="", conditions=[said])


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes", "nvidia.com/gpu"),
        ("0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu.", "too little memory"),
        ("0/1 nodes are available: 1 node(s) had untolerated taint(s).", "taint that it does not tolerate"),
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: true}. preemption: none",
            "gpu: true",
        ),
        ("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.", "node selector"),
        ("0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.", "pod affinity"),
        ("0/1 nodes are available: 1 node(s) were unschedulable.", "cordoned"),
        ('0/1 nodes are available: persistentvolumeclaim "data" not found.', "volume claim data"),
        ("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.", "volume"),
        ("0/1 nodes are available: 1 Too many pods.", "no room for more pods"),
        ("no nodes available to schedule pods", "no node at all"),
        ("pod group is not ready, 1 Pending, 2 minAvailable", "pod group is not ready"),
        ("", "does not say why"),
    ],
)
def test_why_no_node_takes_a_pod(message: str, words: str) -> None:
    diagnosis = found(PENDING, unschedulable(message), after=100_000)
    assert (diagnosis.reason, diagnosis.fatal) == ("Unschedulable", False)
    assert words in diagnosis.message


def test_numbers_of_nodes_make_no_new_warnings() -> None:
    texts = {
        found(PENDING, unschedulable(f"0/{n} nodes are available: {n} Insufficient cpu.")).message
        for n in range(1, 9)
    }
    assert len(texts) == 1


def refusal(text: str, **more: Any) -> objects.Object:
    said = f"Error creating: {text}"
    return event("FailedCreate", said, kind="Job", name="train", **more)


FORBIDDEN = 'pods "train-x" is forbidden: '


@pytest.mark.parametrize(
    ("text", "reason", "words", "fatal"),
    [
        (
            f"{FORBIDDEN}exceeded quota: gpus, requested: requests.nvidia.com/gpu=8, used: 4, limited: 8",
            "QuotaExceeded",
            "requests.nvidia.com/gpu=8",
            False,
        ),
        (
            f"{FORBIDDEN}failed quota: q: must specify limits.cpu for: main",
            "QuotaNeedsResources",
            "limits.cpu",
            True,
        ),
        (
            f'{FORBIDDEN}violates PodSecurity "restricted:latest": privileged (container "main")',
            "PodSecurityViolation",
            "privileged",
            True,
        ),
        (
            f'{FORBIDDEN}error looking up service account team/trainer: serviceaccount "trainer" not found',
            "ServiceAccountNotFound",
            "trainer",
            True,
        ),
        (
            'admission webhook "validate.kyverno.svc" denied the request: images must be signed',
            "AdmissionDenied",
            "images must be signed",
            True,
        ),
        (
            f"{FORBIDDEN}ValidatingAdmissionPolicy 'cost' with binding 'b' denied request: no label `team`",
            "AdmissionDenied",
            "no label `team`",
            True,
        ),
        (
            'Internal error occurred: failed calling webhook "w.example": Post "https://w": no endpoints',
            "WebhookUnavailable",
            "no endpoints",
            False,
        ),
        (f"{FORBIDDEN}no PriorityClass with name high was found", "PriorityClassNotFound", "high", True),
        (f'{FORBIDDEN}pod rejected: RuntimeClass "gv" not found', "RuntimeClassNotFound", "gv", True),
        (
            f"{FORBIDDEN}maximum memory usage per Container is 1Gi, but limit is 4Gi",
            "LimitRangeViolation",
            "1Gi",
            True,
        ),
        ('Pod "train-x" is invalid: spec.containers[0].image: Required value', "PodInvalid", "image", True),
        (f"{FORBIDDEN}nobody knows why", "FailedCreate", "nobody knows why", False),
        ("timeout", "FailedCreate", "timeout", False),
    ],
)
def test_why_a_job_has_no_pod(text: str, reason: str, words: str, fatal: bool) -> None:
    diagnosis = found(PENDING, events=[refusal(text, at=1)], after=60)
    assert (diagnosis.reason, diagnosis.fatal) == (reason, fatal)
    assert words in diagnosis.message


def test_a_refusal_is_over_once_a_pod_was_made() -> None:
    made = event("SuccessfulCreate", "Created pod: x", kind="Job", name="train", at=30, warning=False)
    assert look(PENDING, events=[refusal(f"{FORBIDDEN}no", at=1), made]) is None
    assert look(PENDING, events=[made, refusal(f"{FORBIDDEN}no", at=1, last=40)]) is not None


def test_a_refusal_beside_pods_ends_nothing() -> None:
    text = f'{FORBIDDEN}violates PodSecurity "restricted:latest": privileged'
    assert not found(PENDING, stuck("ContainerCreating"), events=[refusal(text)]).fatal


@pytest.mark.parametrize(
    ("text", "words", "fatal"),
    [
        ('MountVolume.SetUp failed for volume "key" : secret "ssh" not found', 'Secret "ssh"', True),
        ('MountVolume.SetUp failed for volume "cfg" : configmap "c" not found', 'ConfigMap "c"', True),
        (
            'MountVolume.SetUp failed for volume "key" : references non-existent secret key: id_rsa',
            '"id_rsa"',
            True,
        ),
        ('MountVolume.SetUp failed for volume "nfs" : mount failed: exit status 32', "volume nfs", False),
        (
            "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], timed out",
            "volume data",
            False,
        ),
    ],
)
def test_what_cannot_be_mounted_is_named(text: str, words: str, fatal: bool) -> None:
    diagnosis = found(PENDING, stuck("ContainerCreating"), events=[event("FailedMount", text)])
    assert (diagnosis.reason, diagnosis.fatal) == ("FailedMount", fatal)
    assert words in diagnosis.message
    begun = pod(status("main", running()), phase="Running")
    assert look(RUNNING, begun, events=[event("FailedMount", text)]) is None


def test_a_node_that_cannot_prepare_a_pod_is_named() -> None:
    events = [event("FailedCreatePodSandBox", "Failed to create pod sandbox: plugin type=cilium failed")]
    diagnosis = found(PENDING, stuck("ContainerCreating"), events=events)
    assert (diagnosis.reason, diagnosis.fatal) == ("PodSandboxFailed", False)
    assert "node-1" in diagnosis.message


def crashing(restarts: int, owner: str) -> objects.Object:
    last = terminated(3)
    return pod(
        status("main", waiting("CrashLoopBackOff"), restarts=restarts, last=last),
        phase="Running",
        owner=owner,
    )


@pytest.mark.parametrize(
    ("restarts", "owner", "fatal"),
    [(2, "", False), (6, "", True), (6, "PyTorchJob", True), (60, "Job", False)],
)
def test_a_crash_loop_ends_where_nobody_counts_it(restarts: int, owner: str, fatal: bool) -> None:
    diagnosis = found(RUNNING, crashing(restarts, owner))
    assert (diagnosis.reason, diagnosis.fatal) == ("CrashLoopBackOff", fatal)
    assert "exit code 3" in diagnosis.message


def test_what_runs_is_never_ended() -> None:
    """A sidecar's image is missing, or another worker's: a warning, since the run itself goes on."""
    beside = pod(status("main", running()), status("side", waiting("InvalidImageName")), phase="Running")
    assert not found(RUNNING, beside).fatal
    workers = [pod(status("main", running()), phase="Running", name="a"), stuck("InvalidImageName", name="b")]
    diagnosis = found(RUNNING, *workers, after=10_000)
    assert (diagnosis.reason, diagnosis.fatal) == ("InvalidImageName", False)
    assert status_of(RUNNING, diagnosis).state is RunState.RUNNING


@pytest.mark.parametrize(
    ("state", "reason", "words", "code"),
    [
        (terminated(1), "Error", "the run ended with exit code 1", 1),
        (terminated(127), "Error", "exit code 127", 127),
        (terminated(139), "Error", "SIGSEGV", 139),
        (terminated(143), "Error", "SIGTERM", 143),
        (terminated(137), "Killed", "SIGKILL", 137),
        (terminated(137, "OOMKilled"), "OOMKilled", "2Gi", 137),
        (
            terminated(128, "StartError", message='runc create failed: exec: "x": executable file not found'),
            "ContainerCannotRun",
            "executable file not found",
            128,
        ),
        (terminated(137, "ContainerStatusUnknown"), "ContainerGone", "node-1", 137),
    ],
)
def test_how_a_run_ended(state: objects.Object, reason: str, words: str, code: int) -> None:
    run = status_of(FAILED, found(FAILED, pod(status("main", state), phase="Failed")))
    assert (run.state, run.reason, run.exit_code) == (RunState.FAILED, reason, code)
    assert words in run.message


def test_an_init_container_that_failed_is_named() -> None:
    failed = pod(
        status("main", waiting("PodInitializing")), init=[status("fetch", terminated(2))], phase="Failed"
    )
    diagnosis = found(FAILED, failed)
    assert (diagnosis.reason, diagnosis.exit_code) == ("InitContainerFailed", 2)
    assert "init container fetch ended with exit code 2" in diagnosis.message


def test_another_container_that_failed_is_named() -> None:
    failed = pod(status("main", terminated(0, "Completed")), status("proxy", terminated(5)), phase="Failed")
    assert "container proxy ended with exit code 5" in found(FAILED, failed).message


def test_a_run_that_took_too_long_says_so() -> None:
    late = Observed(state=RunState.FAILED, kind="Job", reason="DeadlineExceeded")
    killed = pod(status("main", terminated(143)), phase="Failed", deleted=59)
    assert found(late, killed).reason == "DeadlineExceeded"
    waited = found(late, unschedulable("0/1 nodes are available: 1 Insufficient cpu."))
    assert waited.reason == "DeadlineExceeded"
    assert "too little cpu" in waited.message
    by_pod = pod(status("main", terminated(143)), phase="Failed", reason="DeadlineExceeded")
    assert found(FAILED, by_pod).reason == "DeadlineExceeded"


def test_a_pod_deleted_by_hand_says_so() -> None:
    removed = pod(status("main", terminated(143, at=61)), phase="Failed", deleted=60)
    diagnosis = found(FAILED, removed)
    assert (diagnosis.reason, diagnosis.preempted) == ("PodDeleted", False)
    assert (
        found(gone("Pod"), pod(status("main", running()), phase="Running", deleted=60)).reason == "PodDeleted"
    )


def test_a_failure_before_a_deletion_is_the_runs_own() -> None:
    tidied = pod(status("main", terminated(137, at=40)), phase="Failed", deleted=60)
    assert found(FAILED, tidied).reason == "Killed"


def test_a_failed_attempt_is_a_warning_while_there_is_another() -> None:
    first = pod(status("main", terminated(1)), phase="Failed", name="a")
    second = pod(status("main", running(70)), phase="Running", name="b", created=65)
    diagnosis = found(RUNNING, first, second)
    assert (diagnosis.reason, diagnosis.fatal) == ("Error", False)
    assert status_of(RUNNING, diagnosis).state is RunState.RUNNING


@pytest.mark.parametrize(
    "observed",
    [
        Observed(state=RunState.FINISHED),
        Observed(state=RunState.STOPPED),
        Observed(state=RunState.STOPPING),
        Observed(state=RunState.PENDING, held=True),
    ],
)
def test_what_ended_well_is_stopping_or_waits_for_quota_has_no_trouble(observed: Observed) -> None:
    assert look(observed, pod(status("main", terminated(1)), phase="Failed")) is None


def test_a_failure_that_nothing_explains_keeps_its_controllers_words() -> None:
    assert look(FAILED) is None
    run = status_of(FAILED, None)
    assert (run.state, run.reason, run.message) == (RunState.FAILED, "BackoffLimitExceeded", "too many")
