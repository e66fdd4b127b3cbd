"""One lease on its way to one running run: the steps, in their order, and nothing else.

`admit` is pure and quick and comes before the ack: what the spec or the policy refuses is never claimed.
`launch` does the slow work on a thread of the launch pool. Whatever goes wrong becomes exactly one Failure.
"""

from __future__ import annotations

import logging
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from launch_agent.config import schema
from launch_agent.config.model import AgentConfig
from launch_agent.control.job_images import Images, JobImage
from launch_agent.control.journal import Journal
from launch_agent.control.patience import Drained, Patience, Stopped
from launch_agent.control.reports import Reports
from launch_agent.control.targets import Targets
from launch_agent.control.tracker import Tracker
from launch_agent.errors import ConfigError, LaunchError, Refused
from launch_agent.runners import Run, Runner
from launch_agent.spec import cloud, macros, policy, runenv, runspec
from launch_agent.spec.identity import run_id_for
from launch_agent.spec.model import (
    Failure,
    Lease,
    Outcome,
    Resource,
    RunIdentity,
    RunRequest,
    RunSpec,
    RunState,
    Stage,
)
from launch_agent.spec.passon import PassOn
from launch_agent.telemetry.log import forget, hide
from launch_agent.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
# The longest text of a failure's log that is kept; a traceback or log tail beyond it helps nobody.
_LONGEST_LOG = 200_000
_NOTHING = PassOn()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """An admitted lease: what it asks for, and which run it becomes. `resumed` is whether there is such a run
    already, of which not everything may have been made."""

    lease: Lease
    spec: RunSpec
    identity: RunIdentity
    resumed: bool = False


class _Over(Exception):
    """The run that was to be made whole has come to its end meanwhile: nothing was missing."""


class Pipeline:
    """Turns leases into runs. Safe to use from several threads."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        images: Images,
        patience: Patience,
        targets: Targets,
        tracker: Tracker,
        reports: Reports,
        journal: Journal,
        metrics: Metrics,
        pass_on: PassOn = _NOTHING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pass_on = pass_on
        self._config = config
        self._images = images
        self._patience = patience
        self._targets = targets
        self._tracker = tracker
        self._reports = reports
        self._journal = journal
        self._metrics = metrics
        self._clock = clock

    def identify(self, lease: Lease) -> RunIdentity:
        """The run that a lease becomes. Works on any spec, so that a refusal can be reported as well."""
        spec = lease.spec
        return RunIdentity(
            agent=self._config.name,
            item_id=lease.item_id,
            queue=lease.queue,
            queue_entity=lease.entity,
            run_id=_word(spec.get("run_id")) or run_id_for(self._config.name, lease.item_id),
            entity=_word(spec.get("entity")) or lease.entity,
            project=_word(spec.get("project")),
        )

    def admit(self, lease: Lease) -> Ticket:
        """Check what can be checked without touching the world. Raises LaunchError."""
        runspec.check_depth(lease.spec)
        schema.validate("run-spec", lease.spec)
        spec = runspec.parse(lease)
        identity = replace(self.identify(lease), kind="sweep-scheduler" if spec.scheduler else "job")
        policy.check(spec, self._config.policy, macros.macros_for(spec, identity, spec.image))
        if not spec.scheduler:
            cloud.check(spec)
        if spec.scheduler and shutil.which("wandb") is None:
            raise Refused(
                "a sweep scheduler needs the 'wandb' command, which is not installed beside this agent",
                hint="install the package wandb where the agent runs",
            )
        if not spec.scheduler and not self._targets.is_enabled(spec.resource):
            raise Refused(
                f"jobs of the resource {spec.resource!r} are turned off on this agent",
                hint=f"'runner: {{{spec.resource}: {{enabled: true}}}}' in its config turns them on",
            )
        return Ticket(lease=lease, spec=spec, identity=identity)

    def admitted(self, lease: Lease) -> Ticket | None:
        """The lease's ticket; None where it was refused, and that is reported. Never raises: one item that
        nobody was prepared for must not keep the others of its queue from being taken."""
        item = lease.item_id
        try:
            return self.admit(lease)
        except LaunchError as error:
            self.fail(self.identify(lease), failure_of(error, Stage.AGENT))
        except Exception as error:
            _log.exception("the look at item %s met a bug in the agent", item, extra={"item": item})
            self.fail(self.identify(lease), _bug(error, Stage.AGENT))
        return None

    def launch(self, ticket: Ticket) -> None:
        """Take an acked ticket to a running run; never raises."""
        steps = _Steps(self._metrics, self._clock)
        item = ticket.identity.item_id
        hide(ticket.spec.api_key)
        try:
            run = self._launch(ticket, steps)
        except Drained:
            _log.info("item %s waits for the next start of the agent", item)
        except _Over:
            _log.info("item %s needs no launch any more", item, extra={"item": item})
        except Stopped:
            _log.info("item %s is stopped before it could start", item, extra={"item": item})
            self._tracker.give_up(item, self._clock())
            self._report(ticket.identity, Outcome(state=RunState.STOPPED))
        except LaunchError as error:
            self.fail(ticket.identity, failure_of(error, steps.stage))
        except Exception as error:
            _log.exception("the launch of item %s met a bug in the agent", item, extra={"item": item})
            self.fail(ticket.identity, _bug(error, steps.stage))
        else:
            _log.info("run %s is started", run.id, extra={"item": item})
            self._tracker.add(run, self._clock())
            self._journal.started(item)
        finally:
            forget(ticket.spec.api_key)

    def fail(self, identity: RunIdentity, failure: Failure) -> None:
        """Report that an item will not run. Its journal entry lasts until the backend knows."""
        _log.warning(
            "item %s fails at stage %s: %s",
            identity.item_id,
            failure.stage,
            failure,
            extra={"item": identity.item_id},
        )
        self._tracker.give_up(identity.item_id, self._clock())
        self._report(identity, Outcome(state=RunState.FAILED, failure=failure))

    def _report(self, identity: RunIdentity, outcome: Outcome) -> None:
        self._reports.add(identity, outcome, lambda: self._journal.erase(identity.item_id), self._clock())

    def _launch(self, ticket: Ticket, steps: _Steps) -> Run:
        spec, identity = ticket.spec, ticket.identity
        with steps.step("image", Stage.BUILD):
            image = self._image(spec, identity)
        try:
            with steps.step("submit", Stage.RUN):
                resource = Resource.LOCAL_PROCESS if spec.scheduler else spec.resource
                return self._patience.until_reachable(
                    lambda: self._submit(self._targets.runner(resource), ticket, image), identity
                )
        finally:
            image.release()

    def _image(self, spec: RunSpec, identity: RunIdentity) -> JobImage:
        """The image to run, made where there is none; without a reference for a process."""
        if spec.scheduler:
            return JobImage(reference="")
        if spec.resource == Resource.LOCAL_PROCESS:
            if spec.job:
                raise Refused(
                    f"the job {spec.job!r} runs in an image, and a process has none",
                    hint="submit it to a queue of containers, or submit a command as the entry point",
                )
            return JobImage(reference=spec.image)
        if not spec.job:
            return self._images.ready(spec.image)
        return self._patience.until_reachable(
            lambda: self._images.of(spec, identity, is_stopped=lambda: self._patience.is_stopped(identity)),
            identity,
        )

    def _submit(self, runner: Runner, ticket: Ticket, image: JobImage) -> Run:
        spec, identity = ticket.spec, ticket.identity
        if ticket.resumed and self._tracker.run_of(identity.item_id) is None:
            raise _Over
        env = runenv.make(
            spec,
            identity,
            base_url=self._config.base_url,
            api_key=self._config.api_key,
            image=image.reference,
            env_limit=runner.env_limit,
        )
        values = macros.macros_for(spec, identity, image.reference)
        if unknown := macros.unknown(spec.resource_args):
            _log.warning(
                "item %s uses macros that do not exist: %s", identity.item_id, ", ".join(sorted(unknown))
            )
        # Of the targets, a cluster alone is where the agent's own pod is.
        passed = self._pass_on if spec.resource == Resource.KUBERNETES else _NOTHING
        return runner.submit(
            RunRequest(
                identity=identity,
                image=image.reference,
                entry_point=spec.overrides.entry_point or image.entry_point,
                args=spec.overrides.args,
                env={**passed.env, **env.env},
                secret_env={**passed.secret_env, **env.secret_env},
                resource_args=macros.fill(spec.resource_args, values),
                working_dir=spec.overrides.working_dir,
                services=[macros.fill(service, values) for service in spec.services],
                authorities=passed.authorities,
                pull_credentials=image.credentials,
                code=image.code,
            )
        )


class _Steps:
    """Where a launch is, and how long each step took."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.stage = Stage.AGENT
        self._metrics = metrics
        self._clock = clock

    @contextmanager
    def step(self, name: str, stage: Stage) -> Iterator[None]:
        self.stage = stage
        since = self._clock()
        yield
        self._metrics.launch_step(name, self._clock() - since)


def _word(value: object) -> str:
    """A text of a spec that was not validated; empty for what is none."""
    return str(value) if isinstance(value, str | int) else ""


def failure_of(error: LaunchError, stage: Stage) -> Failure:
    """A failure as the user is to see it."""
    log = str(getattr(error, "log", ""))[-_LONGEST_LOG:]
    message = f"{error.path}: {error.message}" if isinstance(error, ConfigError) else error.message
    # What the schema says of a job is no matter of configuration to the one who submitted it.
    reason = "InvalidRunSpec" if type(error) in (LaunchError, ConfigError) else type(error).__name__
    return Failure(stage=stage, reason=reason, message=message, hint=error.hint, log=log or str(error))


def _bug(error: Exception, stage: Stage) -> Failure:
    return Failure(
        stage=stage,
        reason="InternalError",
        message=f"the agent met an error that it does not know: {type(error).__name__}",
        hint="this is a fault of the agent; its log has the details",
        log="".join(traceback.format_exception(error))[-_LONGEST_LOG:],
    )
