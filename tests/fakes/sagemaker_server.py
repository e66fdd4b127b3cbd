"""SageMaker's training jobs and their logs, spoken to by the real boto3, with jobs that really run.

Each request is judged by the API's own model. A job's command runs as a process of this machine with the
job's variables, and what it prints is in the log streams of its instances; tests may move jobs by hand
instead, have requests fail, and see what the agent asks for.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import aws_model, iam
from tests.fakes.local_container import LocalContainer
from tests.fakes.loopback import Loopback, Raw, Reply, Request, drop

ACCOUNT, REGION = "123456789012", "us-east-1"
GROUP = "/aws/sagemaker/TrainingJobs"
_SERVICES = {"SageMaker": "sagemaker", "Logs_20140328": "logs"}
_ENDS = ("Completed", "Failed", "Stopped")
_KEY = re.compile(r"Credential=([^/]+)/")


class Refusal(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status

    def reply(self) -> Reply:
        return Reply.of({"__type": self.code, "message": self.message}, status=self.status)


@dataclass(slots=True, kw_only=True)
class Job:
    """A training job. `streams` are the lines of each log stream."""

    name: str
    request: Mapping[str, Any]
    created: float
    tags: dict[str, str]
    modified: float = 0.0
    status: str = "InProgress"
    detail: str = "Starting"
    reason: str = ""
    container: LocalContainer | None = None
    streams: dict[str, list[str]] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{self.name}"

    def row(self, *, with_detail: bool = True) -> dict[str, Any]:
        row = {
            "TrainingJobName": self.name,
            "TrainingJobArn": self.arn,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
            "TrainingJobStatus": self.status,
        }
        return {**row, "SecondaryStatus": self.detail} if with_detail else row

    def description(self) -> dict[str, Any]:
        kept = {key: value for key, value in self.request.items() if key != "Tags"}
        reason = {"FailureReason": self.reason} if self.reason else {}
        return {**kept, **self.row(), **reason, "ModelArtifacts": {"S3ModelArtifacts": "s3://x"}}


class SageMakerServer(Loopback):
    """`runs` says whether jobs' commands are started; else `move` is how jobs get on. `faults` holds, for
    each operation, what its next requests get in place of an answer; `after` what happens once one has acted.
    `expired` are access keys that are accepted no more; `counts` the requests by operation. `policies` are
    the IAM policies of whoever asks, None for all rights. `dies_at` is the operation at which an agent ends,
    and whether the request still acts: nothing that its key asks for after that arrives."""

    def __init__(self, *, runs: bool = True, grace: float = 120.0, port: int = 0) -> None:
        self.runs = runs
        self.grace = grace
        self.jobs: dict[str, Job] = {}
        self.faults: dict[str, list[Refusal | Callable[[], None]]] = {}
        self.after: dict[str, Callable[[], Raw | None]] = {}
        self.expired: set[str] = set()
        self.policies: Sequence[Mapping[str, Any]] | None = None
        self.keys: list[str] = []
        self.counts: Counter[str] = Counter()
        self.dies_at: tuple[str, bool] | None = None
        self.dead: set[str] = set()
        self.rows_have_detail = True
        self.log_page = 1_000
        self.stream_page = 50
        self.clock: Callable[[], float] = time.time
        self._guard = threading.RLock()
        super().__init__(self._answer, port=port)

    def move(self, name: str, status: str, detail: str = "", reason: str = "") -> None:
        """Put a job into a state."""
        with self._guard:
            job = self.jobs[name]
            job.status, job.detail, job.reason = status, detail or status, reason
            job.modified = max(self.clock(), job.modified + 0.001)

    def fail(
        self, operation: str, code: str, message: str = "later", *, status: int = 400, times: int = 1
    ) -> None:
        """Have the next requests for an operation refused."""
        self.faults.setdefault(operation, []).extend([Refusal(code, message, status)] * times)

    def close(self) -> None:
        with self._guard:
            containers = [job.container for job in self.jobs.values() if job.container is not None]
        for container in containers:
            container.close()
        super().close()

    def _answer(self, request: Request) -> Reply | Raw:
        prefix, _, operation = request.headers["x-amz-target"].partition(".")
        body = json.loads(request.body or b"{}")
        with self._guard:
            if self._is_from_the_dead(request, operation):
                return drop
            self.counts[operation] += 1
            waiting = self.faults.get(operation)
            fault = waiting.pop(0) if waiting else None
        try:
            if isinstance(fault, Refusal):
                raise fault
            if fault is not None:
                fault()
            self._admit(request)
            self._authorize(_SERVICES[prefix], operation, body)
            _judge(_SERVICES[prefix], operation, body)
            with self._guard:
                reply = Reply.of(getattr(self, f"_{operation}")(body))
        except Refusal as refusal:
            return refusal.reply()
        if self.dies_at == (operation, True):
            self.dies_at = None
            return drop
        broken = self.after[operation]() if operation in self.after else None
        return broken if broken is not None else reply

    def _is_from_the_dead(self, request: Request, operation: str) -> bool:
        found = _KEY.search(request.headers.get("authorization", ""))
        key = found[1] if found else ""
        if key in self.dead:
            return True
        if self.dies_at is not None and self.dies_at[0] == operation:
            self.dead.add(key)
            if not self.dies_at[1]:
                self.dies_at = None
                return True
        return False

    def _admit(self, request: Request) -> None:
        found = _KEY.search(request.headers.get("authorization", ""))
        if found is None:
            raise Refusal("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
        self.keys.append(found[1])
        if found[1] in self.expired:
            raise Refusal("ExpiredTokenException", "The security token included in the request is expired")

    def _authorize(self, service: str, operation: str, body: Mapping[str, Any]) -> None:
        if self.policies is None:
            return
        for action, resource, context in _rights(service, operation, body):
            if not iam.allows(self.policies, action, resource, context):
                message = (
                    f"User: arn:aws:iam::{ACCOUNT}:user/agent is not authorized to perform: {action} on "
                    f"resource: {resource} because no identity-based policy allows the {action} action"
                )
                raise Refusal("AccessDeniedException", message)

    def _CreateTrainingJob(self, body: Mapping[str, Any]) -> Any:  # noqa: N802 - the operations' names
        name = body["TrainingJobName"]
        if name in self.jobs:
            message = (
                "Training job names must be unique within an AWS account and region, and a training job with "
                f"this name already exists ({self.jobs[name].arn})"
            )
            raise Refusal("ResourceInUse", message)
        now = self.clock()
        tags = {tag["Key"]: tag["Value"] for tag in body.get("Tags", ())}
        job = Job(name=name, request=body, created=now, modified=now, tags=tags)
        self.jobs[name] = job
        if self.runs:
            self._run(job)
        return {"TrainingJobArn": job.arn}

    def _run(self, job: Job) -> None:
        algorithm = job.request["AlgorithmSpecification"]
        lines = job.streams.setdefault(f"{job.name}/algo-1-{int(job.created)}", [])
        job.detail = "Training"
        job.container = LocalContainer(
            [*algorithm.get("ContainerEntrypoint", ["train"]), *algorithm.get("ContainerArguments", ())],
            job.request.get("Environment", {}),
            printed=lines.append,
            ended=lambda code: self._ended(job.name, code),
            grace=self.grace,
        )

    def _ended(self, name: str, code: int) -> None:
        with self._guard:
            job = self.jobs.get(name)
            if job is None:
                return
            if job.status == "Stopping":
                self.move(name, "Stopped")
            elif code == 0:
                self.move(name, "Completed")
            else:
                lines = [line for stream in job.streams.values() for line in stream]
                last = f", error message: {lines[-1]}" if lines else ""
                self.move(name, "Failed", reason=f"AlgorithmError: {last}, exit code: {code}")

    def _DescribeTrainingJob(self, body: Mapping[str, Any]) -> Any:  # noqa: N802
        return self._job(body).description()

    def _ListTrainingJobs(self, body: Mapping[str, Any]) -> Any:  # noqa: N802
        found = sorted(self.jobs.values(), key=lambda job: job.created)
        found = [job for job in found if body.get("NameContains", "") in job.name]
        if after := body.get("LastModifiedTimeAfter"):
            found = [job for job in found if job.modified > after]
        if after := body.get("CreationTimeAfter"):
            found = [job for job in found if job.created > after]
        start, size = int(body.get("NextToken", "0")), body.get("MaxResults", 10)
        page = found[start : start + size]
        # The service takes a page first and the status's filter then; see the API's documentation.
        wanted = body.get("StatusEquals")
        rows = [job.row(with_detail=self.rows_have_detail) for job in page if wanted in (None, job.status)]
        more = {"NextToken": str(start + size)} if start + size < len(found) else {}
        return {"TrainingJobSummaries": rows, **more}

    def _StopTrainingJob(self, body: Mapping[str, Any]) -> Any:  # noqa: N802
        job = self._job(body)
        if job.status in _ENDS:
            message = f"The request was rejected because the training job is in status {job.status}."
            raise Refusal("ValidationException", message)
        self.move(job.name, "Stopping")
        if job.container is not None:
            job.container.stop()
        return {}

    def _DeleteTrainingJob(self, body: Mapping[str, Any]) -> Any:  # noqa: N802
        job = self._job(body)
        if job.status not in _ENDS:
            raise Refusal("ValidationException", f"The training job is in status {job.status}.")
        del self.jobs[job.name]
        return {}

    def _AddTags(self, body: Mapping[str, Any]) -> Any:  # noqa: N802
        job = self._job({"TrainingJobName": body["ResourceArn"].rpartition("/")[2]})
        job.tags |= {tag["Key"]: tag["Value"] for tag in body["Tags"]}
        return {"Tags": body["Tags"]}

    def _ListTags(self, body: Mapping[str, Any]) -> Any:  # noqa: N802
        """Pages of five, so that there are several."""
        job = self._job({"TrainingJobName": body["ResourceArn"].rpartition("/")[2]})
        tags = [{"Key": key, "Value": value} for key, value in job.tags.items()]
        start = int(body.get("NextToken", "0"))
        more = {"NextToken": str(start + 5)} if start + 5 < len(tags) else {}
        return {"Tags": tags[start : start + 5], **more}

    def _job(self, body: Mapping[str, Any]) -> Job:
        try:
            return self.jobs[body["TrainingJobName"]]
        except KeyError:
            raise Refusal("ValidationException", "Requested resource not found.") from None

    def _DescribeLogStreams(self, body: Mapping[str, Any]) -> Any:  # noqa: N802
        names = sorted(name for job in self.jobs.values() for name in job.streams)
        if body["logGroupName"] != GROUP or not names:
            raise Refusal("ResourceNotFoundException", "The specified log group does not exist.")
        found = [name for name in names if name.startswith(body.get("logStreamNamePrefix", ""))]
        start = int(body.get("nextToken", "0"))
        more = start + self.stream_page
        token = {"nextToken": str(more)} if more < len(found) else {}
        return {"logStreams": [{"logStreamName": name} for name in found[start:more]], **token}

    def _GetLogEvents(self, body: Mapping[str, Any]) -> Any:  # noqa: N802
        """Read backwards; every second page is empty, as the service's may be, and the end is told by the
        token that comes back unchanged."""
        name = body["logStreamName"]
        lines = next((job.streams[name] for job in self.jobs.values() if name in job.streams), None)
        if lines is None:
            raise Refusal("ResourceNotFoundException", "The specified log stream does not exist.")
        token = body.get("nextToken", f"b/{len(lines)}/x")
        _, end, kind = token.split("/")
        if kind == "empty":
            return self._events([], f"b/{end}/x")
        start = max(0, int(end) - min(body.get("limit", 10_000), self.log_page))
        after = "x" if start == 0 else "empty"
        return self._events(lines[start : int(end)], f"b/{start}/{after}")

    def _events(self, lines: list[str], back: str) -> Any:
        now = int(self.clock() * 1000)
        events = [{"timestamp": now, "ingestionTime": now, "message": line} for line in lines]
        return {"events": events, "nextBackwardToken": back, "nextForwardToken": "f/0"}


def _rights(
    service: str, operation: str, body: Mapping[str, Any]
) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Action, resource and context of all that a request needs (Service Authorization Reference)."""
    if service == "logs":
        yield f"logs:{operation}", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{body['logGroupName']}:x", {}
        return
    jobs = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/"
    name = body.get("TrainingJobName") or body.get("ResourceArn", "").rpartition("/")[2]
    yield f"sagemaker:{operation}", "*" if operation == "ListTrainingJobs" else f"{jobs}{name}", {}
    if operation != "CreateTrainingJob":
        return
    if body.get("Tags"):
        yield "sagemaker:AddTags", f"{jobs}{name}", {}
    yield "iam:PassRole", body["RoleArn"], {"iam:PassedToService": "sagemaker.amazonaws.com"}
    if key := body.get("ResourceConfig", {}).get("VolumeKmsKeyId"):
        via = f"sagemaker.{REGION}.amazonaws.com"
        yield "kms:CreateGrant", key, {"kms:ViaService": via, "kms:GrantIsForAWSResource": "true"}


def _judge(service: str, operation: str, body: Mapping[str, Any]) -> None:
    if said := aws_model.complaint(service, operation, body):
        raise Refusal("ValidationException", said)


def cut_off() -> Raw:
    """For `after`: the request has acted, and its answer never comes."""
    return drop
