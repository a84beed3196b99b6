"""The life of a job as one table: (state, event) -> (row, effects). `CallRobot` stands in exactly one cell."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from streams.core.deadlines import Deadlines
from streams.core.effects import CallRobot, Effect, Ignored, IgnoreReason, PublishOutcome
from streams.core.events import (
    Admitted,
    BatchCompleted,
    CallFailed,
    DeadlinePassed,
    Event,
    InvalidSubmission,
    JobSubmitted,
    PayloadGone,
    RobotAccepted,
)
from streams.core.job import FailureReason, Job, Status


class State(StrEnum):
    """The rows of the table: a status, with `processing` told apart by the robot's answer."""

    ABSENT = "absent"
    PENDING = "pending"
    CALLED = "processing, call not answered"
    ACCEPTED = "processing, accepted"
    COMPLETED = "completed"
    FAILED = "failed"


class ImpossibleTransitionError(Exception):
    """An event arrived in a state that rules it out: the program is wrong and must stop."""


Result = tuple[Job | None, tuple[Effect, ...]]
Cell = Callable[[Job | None, Event, datetime, Deadlines], Result]


def state_of(job: Job | None) -> State:
    """Return the table row that a job stands in."""
    if job is None:
        return State.ABSENT
    match job.status:
        case Status.PENDING:
            return State.PENDING
        case Status.PROCESSING:
            return State.CALLED if job.accepted_at is None else State.ACCEPTED
        case Status.COMPLETED:
            return State.COMPLETED
        case Status.FAILED:
            return State.FAILED


def transition(job: Job | None, event: Event, now: datetime, deadlines: Deadlines) -> Result:
    """Apply one event: return the new row and what follows from it.

    Raises ImpossibleTransitionError where the table has no cell.
    """
    state = state_of(job)
    cell = TABLE.get((state, type(event)))
    if cell is None:
        raise ImpossibleTransitionError(f"{type(event).__name__} cannot happen to a job that is {state}")
    return cell(job, event, now, deadlines)


def _submit(_job: Job | None, event: Event, _now: datetime, _deadlines: Deadlines) -> Result:
    assert isinstance(event, JobSubmitted)  # noqa: S101 # narrows the type; the table guarantees it
    row = Job(
        workspace_id=event.key.workspace_id,
        job_id=event.key.job_id,
        status=Status.PENDING,
        submitted_at=event.submitted_at,
        source=event.source,
        fingerprint=event.fingerprint,
        order_count=event.order_count,
    )
    return row, ()


def _fail_invalid(_job: Job | None, event: Event, now: datetime, _deadlines: Deadlines) -> Result:
    assert isinstance(event, InvalidSubmission)  # noqa: S101 # as above
    row = Job(
        workspace_id=event.key.workspace_id,
        job_id=event.key.job_id,
        status=Status.FAILED,
        submitted_at=event.submitted_at,
        source=event.source,
        fingerprint="",
        ended_at=now,
        reason=FailureReason.INVALID_SUBMISSION,
        error=event.error,
    )
    return row, (PublishOutcome(row),)


def _known(job: Job | None, event: Event, _now: datetime, _deadlines: Deadlines) -> Result:
    assert job is not None  # noqa: S101 # as above
    if isinstance(event, InvalidSubmission):
        # The very record that made the row, read again.
        same = event.source == job.source
    else:
        assert isinstance(event, JobSubmitted)  # noqa: S101 # as above
        same = event.fingerprint == job.fingerprint
    return job, (Ignored(IgnoreReason.DUPLICATE if same else IgnoreReason.CONFLICT),)


def _claim(job: Job | None, event: Event, now: datetime, deadlines: Deadlines) -> Result:
    assert job is not None and isinstance(event, Admitted)  # noqa: S101, PT018 # as above
    row = replace(
        job,
        status=Status.PROCESSING,
        claimed_at=now,
        claimed_by=event.claimed_by,
        deadline=deadlines.after_claim(now, job.order_count or 0),
        robot_may_have_received=True,
    )
    return row, (CallRobot(row),)


def _accept(job: Job | None, event: Event, _now: datetime, deadlines: Deadlines) -> Result:
    assert job is not None and isinstance(event, RobotAccepted)  # noqa: S101, PT018 # as above
    deadline = deadlines.after_acceptance(event.accepted_at, job.order_count or 0)
    return replace(job, accepted_at=event.accepted_at, deadline=deadline), ()


def _complete(job: Job | None, event: Event, now: datetime, _deadlines: Deadlines) -> Result:
    assert job is not None and isinstance(event, BatchCompleted)  # noqa: S101, PT018 # as above
    row = replace(
        job,
        status=Status.COMPLETED,
        ended_at=now,
        success_count=event.success_count,
        error_count=event.error_count,
    )
    return row, (PublishOutcome(row),)


def _fail(
    job: Job | None,
    now: datetime,
    reason: FailureReason,
    error: str,
    *,
    robot_may_have_received: bool,
    robot_status: int | None = None,
) -> Result:
    assert job is not None  # noqa: S101 # as above
    row = replace(
        job,
        status=Status.FAILED,
        ended_at=now,
        reason=reason,
        error=error,
        robot_may_have_received=robot_may_have_received,
        robot_status=robot_status,
    )
    return row, (PublishOutcome(row),)


def _fail_expired(job: Job | None, event: Event, now: datetime, _deadlines: Deadlines) -> Result:
    assert isinstance(event, PayloadGone)  # noqa: S101 # as above
    return _fail(job, now, FailureReason.SUBMISSION_EXPIRED, event.error, robot_may_have_received=False)


def _fail_call(job: Job | None, event: Event, now: datetime, _deadlines: Deadlines) -> Result:
    assert isinstance(event, CallFailed)  # noqa: S101 # as above
    return _fail(
        job,
        now,
        event.reason,
        event.error,
        robot_may_have_received=event.robot_may_have_received,
        robot_status=event.robot_status,
    )


def _not_before_deadline(fail: Cell) -> Cell:
    """Let a deadline fail a job only once the row's own deadline has passed: the acceptance may have moved it."""

    def cell(job: Job | None, event: Event, now: datetime, deadlines: Deadlines) -> Result:
        if job is None or job.deadline is None or now < job.deadline:
            return job, (Ignored(IgnoreReason.DEADLINE_MOVED),)
        return fail(job, event, now, deadlines)

    return cell


@_not_before_deadline
def _fail_unanswered(job: Job | None, _event: Event, now: datetime, _deadlines: Deadlines) -> Result:
    error = "The robot's answer to the call was never recorded, and no completion came in time"
    return _fail(job, now, FailureReason.DISPATCH_UNKNOWN, error, robot_may_have_received=True)


@_not_before_deadline
def _fail_timeout(job: Job | None, _event: Event, now: datetime, _deadlines: Deadlines) -> Result:
    error = "The robot accepted the batch, but no completion came in time"
    return _fail(job, now, FailureReason.TIMEOUT, error, robot_may_have_received=True)


def _completed_again(job: Job | None, event: Event, _now: datetime, _deadlines: Deadlines) -> Result:
    assert job is not None and isinstance(event, BatchCompleted)  # noqa: S101, PT018 # as above
    same = (event.success_count, event.error_count) == (job.success_count, job.error_count)
    return job, (Ignored(IgnoreReason.DUPLICATE if same else IgnoreReason.DUPLICATE_MISMATCH),)


def _ignored(reason: IgnoreReason) -> Cell:
    def cell(job: Job | None, _event: Event, _now: datetime, _deadlines: Deadlines) -> Result:
        return job, (Ignored(reason),)

    return cell


_decided = _ignored(IgnoreReason.ALREADY_DECIDED)

TABLE: dict[tuple[State, type[Event]], Cell] = {
    (State.ABSENT, JobSubmitted): _submit,
    (State.ABSENT, InvalidSubmission): _fail_invalid,
    (State.ABSENT, BatchCompleted): _ignored(IgnoreReason.UNKNOWN_JOB),
    (State.PENDING, JobSubmitted): _known,
    (State.PENDING, InvalidSubmission): _known,
    (State.PENDING, Admitted): _claim,
    (State.PENDING, PayloadGone): _fail_expired,
    (State.PENDING, BatchCompleted): _ignored(IgnoreReason.NOT_DISPATCHED),
    (State.CALLED, JobSubmitted): _known,
    (State.CALLED, InvalidSubmission): _known,
    (State.CALLED, RobotAccepted): _accept,
    (State.CALLED, CallFailed): _fail_call,
    (State.CALLED, BatchCompleted): _complete,
    (State.CALLED, DeadlinePassed): _fail_unanswered,
    (State.ACCEPTED, JobSubmitted): _known,
    (State.ACCEPTED, InvalidSubmission): _known,
    (State.ACCEPTED, RobotAccepted): _decided,
    (State.ACCEPTED, CallFailed): _decided,
    (State.ACCEPTED, BatchCompleted): _complete,
    (State.ACCEPTED, DeadlinePassed): _fail_timeout,
    (State.COMPLETED, JobSubmitted): _known,
    (State.COMPLETED, InvalidSubmission): _known,
    (State.COMPLETED, RobotAccepted): _decided,
    (State.COMPLETED, CallFailed): _decided,
    (State.COMPLETED, BatchCompleted): _completed_again,
    (State.COMPLETED, DeadlinePassed): _decided,
    (State.FAILED, JobSubmitted): _known,
    (State.FAILED, InvalidSubmission): _known,
    (State.FAILED, RobotAccepted): _decided,
    (State.FAILED, CallFailed): _decided,
    (State.FAILED, BatchCompleted): _ignored(IgnoreReason.LATE_COMPLETION),
    (State.FAILED, DeadlinePassed): _decided,
}
