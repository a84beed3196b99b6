"""From a committed claim to the robot's answer: a bounded number of calls, each made once."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from streams.core.deadlines import Deadlines
from streams.core.events import CallFailed, RobotAccepted
from streams.core.job import FailureReason, JobKey
from streams.engine.claims import CallSlots, Claim
from streams.engine.ports import Accepted, Answer, Rejected, Robot, Unknown, Unreachable
from streams.telemetry.journal import Journal
from streams.wire.robot_request import build_request

# What a robot answers that has not begun: it refuses, or has the batch sent elsewhere. Not so 408, a gateway's
# word that it did not wait for the end, and 302 and 303, which say where to look at what was done.
_REFUSALS = {*range(400, 500), 301, 307, 308} - {408}


def event_of(key: JobKey, answer: Answer, now: datetime) -> RobotAccepted | CallFailed:
    """Return what an answer means for the job."""
    match answer:
        case Accepted():
            return RobotAccepted(key, accepted_at=now)
        case Rejected(status, error):
            begun = status not in _REFUSALS
            return CallFailed(key, FailureReason.ROBOT_REJECTED, error, begun, robot_status=status)
        case Unreachable(error):
            return CallFailed(key, FailureReason.ROBOT_UNREACHABLE, error, robot_may_have_received=False)
        case Unknown(error):
            return CallFailed(key, FailureReason.DISPATCH_UNKNOWN, error, robot_may_have_received=True)


class Dispatcher:
    """Makes the calls. `report` takes each answer to the job's partition, if that is still here."""

    def __init__(
        self,
        robot: Robot,
        slots: CallSlots,
        deadlines: Deadlines,
        callback_url: str,
        callback_secret: str,
        now: Callable[[], datetime],
        report: Callable[[int, RobotAccepted | CallFailed], None],
        journal: Journal,
        crash: Callable[[BaseException], None],
    ) -> None:
        self._robot = robot
        self._slots = slots
        self._deadlines = deadlines
        self._callback_url = callback_url
        self._callback_secret = callback_secret
        self._now = now
        self._report = report
        self._journal = journal
        self._crash = crash
        self._calls: set[asyncio.Task[None]] = set()

    def start(self, claim: Claim) -> None:
        """Begin the call of a claim, which brings its slot along."""
        call = asyncio.create_task(self._run(claim))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _run(self, claim: Claim) -> None:
        try:
            event = await self._call(claim)
        except Exception as error:  # noqa: BLE001 # a call that reports nothing would hold its workspace for ever
            self._crash(error)
            return
        self._slots.release()
        self._report(claim.job.source.partition, event)

    async def _call(self, claim: Claim) -> RobotAccepted | CallFailed:
        job = claim.job
        request = build_request(claim.payload, self._callback_url, self._callback_secret)
        claimed_at = job.claimed_at
        if claimed_at is None or not self._deadlines.may_still_be_called(claimed_at, self._now()):
            error = "The worker stood still between the claim and the call, so the call was not made"
            return CallFailed(job.key, FailureReason.NOT_DISPATCHED, error, robot_may_have_received=False)
        self._journal.call_started(job)
        started = time.monotonic()
        answer = await self._robot.create_batch(request)
        self._journal.call_ended(type(answer).__name__.lower(), time.monotonic() - started)
        return event_of(job.key, answer, self._now())
