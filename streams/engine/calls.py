"""From a committed claim to the robot's answer: a bounded number of calls, each made once."""

import time
from collections.abc import Callable
from datetime import datetime

from msgspec.structs import replace

from streams.core.events import CallFailed, RobotAccepted
from streams.core.job import BUSY_STATUSES, FailureReason, JobKey
from streams.engine.claims import CallSlots, Claim
from streams.engine.ports import Accepted, Answer, Rejected, Unknown, Unreachable
from streams.engine.robot_watch import RobotWatch
from streams.engine.rules import Rules
from streams.engine.runtime import Runtime
from streams.telemetry.metrics import DispatchResult
from streams.wire.robot_request import build_request

# What a robot answers that has not begun: it refuses, or has the batch sent elsewhere. Not so 408, a gateway's
# word that it did not wait for the end, and 302 and 303, which say where to look at what was done.
_REFUSALS = {*range(400, 500), 301, 307, 308} - {408}


def event_of(key: JobKey, answer: Answer, now: datetime) -> RobotAccepted | CallFailed:
    """Return what an answer means for the job."""
    match answer:
        case Accepted():
            return RobotAccepted(key, accepted_at=now)
        case Rejected(status, error, wait):
            return CallFailed(
                key,
                FailureReason.ROBOT_REJECTED,
                error,
                robot_may_have_received=status not in _REFUSALS,
                robot_status=status,
                may_be_repeated=status in BUSY_STATUSES,
                wait=wait,
            )
        case Unreachable(error):
            return CallFailed(
                key,
                FailureReason.ROBOT_UNREACHABLE,
                error,
                robot_may_have_received=False,
                may_be_repeated=True,
            )
        case Unknown(error):
            return CallFailed(key, FailureReason.DISPATCH_UNKNOWN, error, robot_may_have_received=True)


class Dispatcher:
    """Makes the calls. `report` takes each answer to the job's partition, if that is still here."""

    def __init__(
        self,
        robot: RobotWatch,
        rules: Rules,
        slots: CallSlots,
        report: Callable[[int, RobotAccepted | CallFailed], None],
        runtime: Runtime,
    ) -> None:
        self._robot = robot
        self._rules = rules
        self._slots = slots
        self._report = report
        self._runtime = runtime

    def start(self, claim: Claim) -> None:
        """Begin the call of a claim, which brings its slot along."""
        self._runtime.supervisor.start(self._run(claim))

    async def _run(self, claim: Claim) -> None:
        event = await self._call(claim)
        if isinstance(event, CallFailed) and event.reason is FailureReason.NOT_DISPATCHED:
            self._slots.give_back()
        else:
            self._slots.release()
        self._report(claim.job.source.partition, event)

    async def _call(self, claim: Claim) -> RobotAccepted | CallFailed:
        job = claim.job
        request = build_request(claim.payload, self._rules.callback)
        claimed_at, now = job.claimed_at, self._runtime.now
        if claimed_at is None or not self._rules.deadlines.may_still_be_called(claimed_at, now()):
            error = "The worker stood still between the claim and the call, so the call was not made"
            return CallFailed(job.key, FailureReason.NOT_DISPATCHED, error, robot_may_have_received=False)
        called_at = now()
        self._runtime.journal.call_started(job, called_at)
        span = self._runtime.tracing.call(job)
        started = time.monotonic()
        answer, spared = await self._robot.create_batch(request.in_trace(span.traceparent))
        result = DispatchResult(type(answer).__name__.lower())
        self._runtime.journal.call_ended(result, time.monotonic() - started)
        status = answer.status if isinstance(answer, Accepted | Rejected) else None
        span.end(status, error=None if isinstance(answer, Accepted) else str(status or result))
        event = event_of(job.key, answer, now())
        if isinstance(event, CallFailed):
            return replace(event, spared=spared, called_at=called_at, answered_at=now())
        return replace(event, called_at=called_at)
