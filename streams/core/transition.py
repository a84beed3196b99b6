"""The life of a job as one table: (state, event) -> (row, effects). `CallRobot` stands in exactly one cell."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from streams.core.deadlines import Deadlines
from streams.core.effects import CallRobot, Effect, IgnoreReason, PublishAmendment, PublishOutcome
from streams.core.events import (
    Admitted,
    BatchCompleted,
    BatchLost,
    CallFailed,
    Cancelled,
    DeadlinePassed,
    Event,
    GivenUp,
    InvalidSubmission,
    JobSubmitted,
    OrderReported,
    PayloadGone,
    Resubmitted,
    RobotAccepted,
)
from streams.core.job import FailureReason, Job, OrderResult, OrderStatus, PutOff, Status, Stop

BAD_REQUEST = 400


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


class Result(NamedTuple):
    """The row after an event and what follows from it; or the row as it was, and why."""

    row: Job | None
    effects: tuple[Effect, ...] = ()
    ignored: IgnoreReason | None = None


E = TypeVar("E", bound=Event)
T = TypeVar("T")
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


def _submit(event: JobSubmitted, _now: datetime) -> Result:
    return Result(
        Job(
            workspace_id=event.key.workspace_id,
            job_id=event.key.job_id,
            status=Status.PENDING,
            submitted_at=event.submitted_at,
            source=event.source,
            fingerprint=event.fingerprint,
            order_count=event.order_count,
            resubmission_of=event.resubmission_of,
            traceparent=event.traceparent,
        )
    )


def _fail_invalid(event: InvalidSubmission, now: datetime) -> Result:
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
        traceparent=event.traceparent,
    )
    return Result(row, (PublishOutcome(),))


def _unknown_job(_event: Event, _now: datetime) -> Result:
    return Result(None, ignored=IgnoreReason.UNKNOWN_JOB)


def _submitted_again(job: Job, event: JobSubmitted, _now: datetime, _deadlines: Deadlines) -> Result:
    same = event.fingerprint == job.fingerprint
    return Result(job, ignored=IgnoreReason.DUPLICATE if same else IgnoreReason.CONFLICT)


def _invalid_again(job: Job, event: InvalidSubmission, _now: datetime, _deadlines: Deadlines) -> Result:
    # The very record that made the row, read again.
    same = event.source == job.source
    return Result(job, ignored=IgnoreReason.DUPLICATE if same else IgnoreReason.CONFLICT)


def _claim(job: Job, event: Admitted, now: datetime, deadlines: Deadlines) -> Result:
    row = replace(
        job,
        status=Status.PROCESSING,
        claimed_at=now,
        claimed_by=event.claimed_by,
        deadline=deadlines.after_claim(now, job.order_count or 0),
        robot_may_have_received=True,
        orders=tuple(OrderResult(item_id) for item_id in event.items),
    )
    return Result(row, (CallRobot(),))


def _accept(job: Job, event: RobotAccepted, _now: datetime, deadlines: Deadlines) -> Result:
    deadline = deadlines.after_acceptance(event.accepted_at, job.order_count or 0)
    return Result(replace(job, accepted_at=event.accepted_at, deadline=deadline, called_at=event.called_at))


def _lose(job: Job, event: BatchLost, _now: datetime, _deadlines: Deadlines) -> Result:
    # Its reports may be on their way, so that it waits for its deadline all the same.
    if job.robot_restarted_at is not None:
        return Result(job, ignored=IgnoreReason.ALREADY_DECIDED)
    return Result(replace(job, robot_restarted_at=event.restarted_at))


def _complete(job: Job, event: BatchCompleted, now: datetime, _deadlines: Deadlines) -> Result:
    return _completed(job, event.success_count, event.error_count, now)


def _completed(job: Job, success_count: int, error_count: int, now: datetime) -> Result:
    row = replace(
        job,
        status=Status.COMPLETED,
        ended_at=now,
        success_count=success_count,
        error_count=error_count,
        # It may have been given up while its completion was on its way.
        stop=None,
    )
    return Result(row, (PublishOutcome(),))


def _report(job: Job, event: OrderReported, now: datetime, _deadlines: Deadlines) -> Result:
    row = _with_report(job, event.order)
    if isinstance(row, IgnoreReason):
        return Result(job, ignored=row)
    if not row.every_order_reported:
        return Result(row)
    return _completed(row, row.reported(OrderStatus.SUCCESS), row.reported(OrderStatus.ERROR), now)


def _with_report(job: Job, report: OrderResult) -> Job | IgnoreReason:
    """Write a report down with its order, or say why not. Of several reports of an order the first one counts."""
    nth = next((nth for nth, order in enumerate(job.orders) if order.item_id == report.item_id), None)
    if nth is None:
        return IgnoreReason.UNKNOWN_ITEM
    order = job.orders[nth]
    if order.status is not OrderStatus.UNREPORTED:
        # The words may differ: they are scrubbed by what is known of the secrets at the time.
        same = order.status is report.status and report.tracking_number in (None, order.tracking_number)
        return IgnoreReason.DUPLICATE if same else IgnoreReason.DUPLICATE_MISMATCH
    return replace(job, orders=(*job.orders[:nth], report, *job.orders[nth + 1 :]))


def _fail(
    job: Job,
    now: datetime,
    reason: FailureReason,
    error: str,
    *,
    robot_may_have_received: bool,
    robot_status: int | None = None,
) -> Result:
    row = replace(
        job,
        status=Status.FAILED,
        ended_at=now,
        reason=reason,
        error=error,
        robot_may_have_received=robot_may_have_received,
        robot_status=robot_status,
    )
    return Result(row, (PublishOutcome(),))


def _fail_expired(job: Job, event: PayloadGone, now: datetime, _deadlines: Deadlines) -> Result:
    return _fail(job, now, FailureReason.SUBMISSION_EXPIRED, event.error, robot_may_have_received=False)


def _call_failed(job: Job, event: CallFailed, now: datetime, deadlines: Deadlines) -> Result:
    if job.reported(OrderStatus.UNREPORTED) < len(job.orders):
        # Whatever the answer says: an order was reported, so that a batch is or was at work.
        event = replace(event, may_be_repeated=False, robot_may_have_received=True)
    gives_up_at = None if job.put_off is None else job.put_off.gives_up_at
    if gives_up_at is None and not event.spared:
        gives_up_at = now + deadlines.patience
    job = replace(job, called_at=event.called_at, answered_at=event.answered_at)
    if job.stop is not None:
        received = event.robot_may_have_received
        return _fail_given_up(job, job.stop, now, event.robot_status, robot_may_have_received=received)
    if event.may_be_repeated and (event.spared or (gives_up_at is not None and now < gives_up_at)):
        return _put_off(job, event, gives_up_at, now, deadlines)
    return _fail(
        job,
        now,
        event.reason,
        event.error,
        robot_may_have_received=event.robot_may_have_received,
        robot_status=event.robot_status,
    )


def _put_off(job: Job, event: CallFailed, gives_up_at: datetime | None, now: datetime, deadlines: Deadlines) -> Result:
    put_off = PutOff(
        times=1 if job.put_off is None else job.put_off.times + 1,
        since=now if job.put_off is None else job.put_off.since,
        # Of a robot that is not there, nobody is called; one that is there may have this workspace at work.
        until=now if event.robot_status is None else now + deadlines.back_off(event.refusals, event.wait),
        reason=event.reason,
        error=event.error,
        robot_status=event.robot_status,
        gives_up_at=gives_up_at,
    )
    row = replace(
        job,
        status=Status.PENDING,
        claimed_at=None,
        claimed_by=None,
        deadline=gives_up_at,
        robot_may_have_received=False,
        put_off=put_off,
        orders=(),
        called_at=None,
        answered_at=None,
    )
    return Result(row)


def _fail_put_off(job: Job, _event: DeadlinePassed, now: datetime, _deadlines: Deadlines) -> Result:
    if job.put_off is None or job.deadline is None or now < job.deadline:
        return Result(job, ignored=IgnoreReason.DEADLINE_MOVED)
    last = job.put_off
    return _fail(job, now, last.reason, last.error, robot_may_have_received=False, robot_status=last.robot_status)


def _completed_late(job: Job, event: BatchCompleted, now: datetime, deadlines: Deadlines) -> Result:
    if job.success_count is not None:
        return _completed_again(job, event, now, deadlines)
    if job.robot_may_have_received:
        row = replace(job, success_count=event.success_count, error_count=event.error_count)
        return _amended(row, now)
    agrees = _reported_before_it_refused(job) and event.success_count == 0
    return Result(job, ignored=IgnoreReason.AGREES if agrees else IgnoreReason.LATE_COMPLETION)


def _report_late(job: Job, event: OrderReported, now: datetime, _deadlines: Deadlines) -> Result:
    """Take a report of a job that has had its outcome; that stays, and what is known by now is told."""
    row = _with_report(job, event.order)
    if isinstance(row, IgnoreReason):
        return Result(job, ignored=row)
    # Whatever the outcome says: who is about to send its orders again should know.
    had_it = event.order.status is OrderStatus.SUCCESS or not _reported_before_it_refused(job)
    return _amended(replace(row, robot_may_have_received=had_it or job.robot_may_have_received), now)


def _reported_before_it_refused(job: Job) -> bool:
    # The robot refuses a batch in which it can do nothing only after it has reported each of its orders as failed.
    return job.robot_status == BAD_REQUEST


def _amended(row: Job, now: datetime) -> Result:
    return Result(replace(row, amended_at=now), (PublishAmendment(),))


def _resubmit(job: Job, event: Resubmitted, _now: datetime, _deadlines: Deadlines) -> Result:
    if job.resubmitted_as is None:
        return Result(replace(job, resubmitted_as=event.new_job_id))
    same = job.resubmitted_as == event.new_job_id
    return Result(job, ignored=IgnoreReason.DUPLICATE if same else IgnoreReason.ALREADY_RESUBMITTED)


def _fail_unanswered(job: Job, _event: DeadlinePassed, now: datetime, _deadlines: Deadlines) -> Result:
    error = "The robot's answer to the call was never recorded, and no completion came in time"
    return _fail_at_deadline(job, now, FailureReason.DISPATCH_UNKNOWN, error)


def _fail_timeout(job: Job, _event: DeadlinePassed, now: datetime, _deadlines: Deadlines) -> Result:
    error = "The robot accepted the batch, but no completion came in time"
    if job.robot_restarted_at is not None:
        at = f"{job.robot_restarted_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        error = f"The robot accepted the batch and was started again at {at}, and no completion came in time"
    return _fail_at_deadline(job, now, FailureReason.TIMEOUT, error)


def _fail_at_deadline(job: Job, now: datetime, reason: FailureReason, error: str) -> Result:
    """Fail a job only once the row's own deadline has passed: the acceptance may have moved it."""
    if job.decide_at is None or now < job.decide_at:
        return Result(job, ignored=IgnoreReason.DEADLINE_MOVED)
    if job.stop is not None:
        return _fail_given_up(job, job.stop, now, robot_may_have_received=True)
    return _fail(job, now, reason, error, robot_may_have_received=True)


def _cancel(job: Job, event: Cancelled, now: datetime, _deadlines: Deadlines) -> Result:
    error = f"Cancelled by {event.stop.actor}: {event.stop.reason}"
    row = replace(job, stop=event.stop)
    return _fail(row, now, FailureReason.CANCELLED, error, robot_may_have_received=False)


def _give_up(job: Job, event: GivenUp, _now: datetime, _deadlines: Deadlines) -> Result:
    # It ends as by its deadline: a completion that is in the log by now still counts.
    if job.stop is not None:
        return Result(job, ignored=IgnoreReason.ALREADY_GIVEN_UP)
    return Result(replace(job, stop=event.stop))


def _fail_given_up(
    job: Job, stop: Stop, now: datetime, robot_status: int | None = None, *, robot_may_have_received: bool
) -> Result:
    return _fail(
        job,
        now,
        FailureReason.GIVEN_UP,
        f"Given up by {stop.actor}: {stop.reason}",
        robot_may_have_received=robot_may_have_received,
        robot_status=robot_status,
    )


def _completed_again(job: Job, event: BatchCompleted, _now: datetime, _deadlines: Deadlines) -> Result:
    same = (event.success_count, event.error_count) == (job.success_count, job.error_count)
    return Result(job, ignored=IgnoreReason.DUPLICATE if same else IgnoreReason.DUPLICATE_MISMATCH)


def _ignored(reason: IgnoreReason) -> Callable[[Job, Event, datetime, Deadlines], Result]:
    return lambda job, _event, _now, _deadlines: Result(job, ignored=reason)


_decided = _ignored(IgnoreReason.ALREADY_DECIDED)


def _first(kind: type[E], cell: Callable[[E, datetime], Result]) -> tuple[type[object], Cell]:
    """Return a cell for an event of a job that is not there yet, of which it is sure that it is of that kind."""

    def checked(_job: Job | None, event: Event, now: datetime, _deadlines: Deadlines) -> Result:
        return cell(_known(kind, event), now)

    return kind, checked


def _then(kind: type[E], cell: Callable[[Job, E, datetime, Deadlines], Result]) -> tuple[type[object], Cell]:
    """Return a cell for an event of a job that is there."""

    def checked(job: Job | None, event: Event, now: datetime, deadlines: Deadlines) -> Result:
        return cell(_known(Job, job), _known(kind, event), now, deadlines)

    return kind, checked


def _known(kind: type[T], value: object) -> T:
    """Return the value as what the table's row and column say that it is."""
    if not isinstance(value, kind):
        raise ImpossibleTransitionError(f"{value!r} is no {kind.__name__}")
    return value


_KNOWN = (_then(JobSubmitted, _submitted_again), _then(InvalidSubmission, _invalid_again))
_ENDED = (
    *_KNOWN,
    _then(Resubmitted, _resubmit),
    _then(OrderReported, _report_late),
    _then(Cancelled, _ignored(IgnoreReason.ALREADY_ENDED)),
    _then(GivenUp, _ignored(IgnoreReason.ALREADY_ENDED)),
)
_RUNNING = (*_KNOWN, _then(Resubmitted, _ignored(IgnoreReason.NOT_ENDED)))
_AT_ROBOT = (*_RUNNING, _then(Cancelled, _ignored(IgnoreReason.AT_ROBOT)), _then(GivenUp, _give_up))
_COLUMNS: dict[State, tuple[tuple[type[object], Cell], ...]] = {
    State.ABSENT: (
        _first(JobSubmitted, _submit),
        _first(InvalidSubmission, _fail_invalid),
        _first(BatchCompleted, _unknown_job),
        _first(OrderReported, _unknown_job),
        _first(Resubmitted, _unknown_job),
        _first(Cancelled, _unknown_job),
        _first(GivenUp, _unknown_job),
    ),
    State.PENDING: (
        *_RUNNING,
        _then(Admitted, _claim),
        _then(PayloadGone, _fail_expired),
        _then(BatchCompleted, _ignored(IgnoreReason.NOT_DISPATCHED)),
        _then(OrderReported, _ignored(IgnoreReason.NOT_DISPATCHED)),
        _then(Cancelled, _cancel),
        _then(GivenUp, _ignored(IgnoreReason.NOT_AT_ROBOT)),
        _then(DeadlinePassed, _fail_put_off),
    ),
    State.CALLED: (
        *_AT_ROBOT,
        _then(RobotAccepted, _accept),
        _then(CallFailed, _call_failed),
        _then(BatchCompleted, _complete),
        _then(OrderReported, _report),
        _then(DeadlinePassed, _fail_unanswered),
    ),
    State.ACCEPTED: (
        *_AT_ROBOT,
        _then(RobotAccepted, _decided),
        _then(CallFailed, _decided),
        _then(BatchLost, _lose),
        _then(BatchCompleted, _complete),
        _then(OrderReported, _report),
        _then(DeadlinePassed, _fail_timeout),
    ),
    State.COMPLETED: (
        *_ENDED,
        _then(RobotAccepted, _decided),
        _then(CallFailed, _decided),
        _then(BatchLost, _decided),
        _then(BatchCompleted, _completed_again),
        _then(DeadlinePassed, _decided),
    ),
    State.FAILED: (
        *_ENDED,
        _then(RobotAccepted, _decided),
        _then(CallFailed, _decided),
        _then(BatchLost, _decided),
        _then(BatchCompleted, _completed_late),
        _then(DeadlinePassed, _decided),
    ),
}
TABLE: dict[tuple[State, type[object]], Cell] = {
    (state, kind): cell for state, cells in _COLUMNS.items() for kind, cell in cells
}
