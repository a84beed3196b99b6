"""The table of the job's life, cell by cell."""

import dataclasses
from datetime import datetime, timedelta, timezone
from typing import Any, cast, get_args

import pytest
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
from streams.core.job import FailureReason, Job, JobKey, OrderResult, OrderStatus, PutOff, Source, Status
from streams.core.transition import TABLE, ImpossibleTransitionError, State, state_of, transition
from tests.core.builders import (
    ACCEPTED,
    ACCEPTED_AT,
    ACCEPTED_DEADLINE,
    CALLED,
    CLAIM_DEADLINE,
    CLAIMED_AT,
    COMPLETED,
    DEADLINES,
    FAILED,
    GIVEN_UP,
    KEY,
    LOST,
    NOW,
    OTHER_SOURCE,
    PENDING,
    PUT_OFF,
    RESTARTED_AT,
    SOURCE,
    STOP,
    SUBMITTED_AT,
)

JOBS: dict[State, Job | None] = {
    State.ABSENT: None,
    State.PENDING: PENDING,
    State.CALLED: CALLED,
    State.ACCEPTED: ACCEPTED,
    State.COMPLETED: COMPLETED,
    State.FAILED: FAILED,
}

EVENTS: dict[type[object], Event] = {
    JobSubmitted: JobSubmitted(KEY, SUBMITTED_AT, SOURCE, 2, "f1"),
    InvalidSubmission: InvalidSubmission(KEY, SUBMITTED_AT, OTHER_SOURCE, "orders: Field required"),
    Admitted: Admitted(KEY, "worker-1", ("item-1", "item-2")),
    PayloadGone: PayloadGone(KEY, "The submission is no longer in its topic"),
    RobotAccepted: RobotAccepted(KEY, ACCEPTED_AT),
    CallFailed: CallFailed(KEY, FailureReason.ROBOT_REJECTED, "Robot service error 409: busy", False, 409),
    BatchLost: BatchLost(KEY, RESTARTED_AT),
    BatchCompleted: BatchCompleted(KEY, 1, 1),
    OrderReported: OrderReported(KEY, OrderResult("item-2", OrderStatus.SUCCESS, "TN-2")),
    Resubmitted: Resubmitted(KEY, "job-2"),
    Cancelled: Cancelled(KEY, STOP),
    GivenUp: GivenUp(KEY, STOP),
    DeadlinePassed: DeadlinePassed(KEY),
}

# What each cell does to the row: a new row with its one effect (None: no effect), a reason for which the
# event is ignored, or "-" where it cannot happen.
Changed = tuple[Job, type[Effect] | None]
CANNOT = "-"

INVALID = Job(
    workspace_id=KEY.workspace_id,
    job_id=KEY.job_id,
    status=Status.FAILED,
    submitted_at=SUBMITTED_AT,
    source=OTHER_SOURCE,
    fingerprint="",
    ended_at=NOW,
    reason=FailureReason.INVALID_SUBMISSION,
    error="orders: Field required",
)
CLAIMED = replace(
    PENDING,
    status=Status.PROCESSING,
    claimed_at=NOW,
    claimed_by="worker-1",
    deadline=NOW + timedelta(seconds=30 + 60 + 2 * 30 + 300),
    robot_may_have_received=True,
    orders=(OrderResult("item-1"), OrderResult("item-2")),
)
EXPIRED = replace(
    PENDING,
    status=Status.FAILED,
    ended_at=NOW,
    reason=FailureReason.SUBMISSION_EXPIRED,
    error="The submission is no longer in its topic",
)
CANCELLED = replace(
    PENDING,
    status=Status.FAILED,
    ended_at=NOW,
    reason=FailureReason.CANCELLED,
    error="Cancelled by alice: wrong address",
    stop=STOP,
)
REJECTED = replace(
    CALLED,
    status=Status.FAILED,
    ended_at=NOW,
    reason=FailureReason.ROBOT_REJECTED,
    error="Robot service error 409: busy",
    robot_status=409,
    robot_may_have_received=False,
)
UNANSWERED = replace(
    CALLED,
    status=Status.FAILED,
    ended_at=NOW,
    reason=FailureReason.DISPATCH_UNKNOWN,
    error="The robot's answer to the call was never recorded, and no completion came in time",
)
TIMED_OUT = replace(
    ACCEPTED,
    status=Status.FAILED,
    ended_at=NOW,
    reason=FailureReason.TIMEOUT,
    error="The robot accepted the batch, but no completion came in time",
)
ONE_REPORTED = (OrderResult("item-1"), OrderResult("item-2", OrderStatus.SUCCESS, "TN-2"))
REPORTED = {"status": Status.COMPLETED, "ended_at": NOW, "success_count": 1, "error_count": 1}

DUPLICATE, CONFLICT, DECIDED = IgnoreReason.DUPLICATE, IgnoreReason.CONFLICT, IgnoreReason.ALREADY_DECIDED
UNKNOWN, ENDED, AT_ROBOT = IgnoreReason.UNKNOWN_JOB, IgnoreReason.ALREADY_ENDED, IgnoreReason.AT_ROBOT

# Columns in the order of EVENTS, as the design's table.
CELLS: dict[State, tuple[Changed | IgnoreReason | str, ...]] = {
    State.ABSENT: (
        (PENDING, None),
        (INVALID, PublishOutcome),
        CANNOT,
        CANNOT,
        CANNOT,
        CANNOT,
        CANNOT,
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        CANNOT,
    ),
    State.PENDING: (
        DUPLICATE,
        CONFLICT,
        (CLAIMED, CallRobot),
        (EXPIRED, PublishOutcome),
        CANNOT,
        CANNOT,
        CANNOT,
        IgnoreReason.NOT_DISPATCHED,
        IgnoreReason.NOT_DISPATCHED,
        IgnoreReason.NOT_ENDED,
        (CANCELLED, PublishOutcome),
        IgnoreReason.NOT_AT_ROBOT,
        IgnoreReason.DEADLINE_MOVED,
    ),
    State.CALLED: (
        DUPLICATE,
        CONFLICT,
        CANNOT,
        CANNOT,
        (ACCEPTED, None),
        (REJECTED, PublishOutcome),
        CANNOT,
        (replace(CALLED, **cast(Any, REPORTED)), PublishOutcome),
        (replace(CALLED, orders=ONE_REPORTED), None),
        IgnoreReason.NOT_ENDED,
        AT_ROBOT,
        (replace(CALLED, stop=STOP), None),
        (UNANSWERED, PublishOutcome),
    ),
    State.ACCEPTED: (
        DUPLICATE,
        CONFLICT,
        CANNOT,
        CANNOT,
        DECIDED,
        DECIDED,
        (LOST, None),
        (replace(ACCEPTED, **cast(Any, REPORTED)), PublishOutcome),
        (replace(ACCEPTED, orders=ONE_REPORTED), None),
        IgnoreReason.NOT_ENDED,
        AT_ROBOT,
        (GIVEN_UP, None),
        (TIMED_OUT, PublishOutcome),
    ),
    State.COMPLETED: (
        DUPLICATE,
        CONFLICT,
        CANNOT,
        CANNOT,
        DECIDED,
        DECIDED,
        DECIDED,
        DUPLICATE,
        (replace(COMPLETED, orders=ONE_REPORTED, amended_at=NOW), PublishAmendment),
        (replace(COMPLETED, resubmitted_as="job-2"), None),
        ENDED,
        ENDED,
        DECIDED,
    ),
    State.FAILED: (
        DUPLICATE,
        CONFLICT,
        CANNOT,
        CANNOT,
        DECIDED,
        DECIDED,
        DECIDED,
        (replace(FAILED, success_count=1, error_count=1, amended_at=NOW), PublishAmendment),
        (replace(FAILED, orders=ONE_REPORTED, amended_at=NOW), PublishAmendment),
        (replace(FAILED, resubmitted_as="job-2"), None),
        ENDED,
        ENDED,
        DECIDED,
    ),
}

ALL_CELLS = [
    pytest.param(state, event, expected, id=f"{state}-{event.__name__}")
    for state, row in CELLS.items()
    for event, expected in zip(EVENTS, row, strict=True)
]
OPEN_STATES = [State.CALLED, State.ACCEPTED]
KNOWN_STATES = [state for state in State if state is not State.ABSENT]


@pytest.mark.parametrize(("state", "event", "expected"), ALL_CELLS)
def test_a_cell_does_exactly_what_the_design_says(
    state: State, event: type[Event], expected: Changed | IgnoreReason | str
) -> None:
    before = JOBS[state]
    untouched = None if before is None else replace(before)
    if expected == CANNOT:
        with pytest.raises(ImpossibleTransitionError, match=f"{event.__name__} cannot happen to a job that is {state}"):
            transition(before, EVENTS[event], NOW, DEADLINES)
    elif isinstance(expected, IgnoreReason):
        job, effects, ignored = transition(before, EVENTS[event], NOW, DEADLINES)
        assert job is before, "an ignored event returns the very same row"
        assert (effects, ignored) == ((), expected)
    else:
        row, effect = cast(Changed, expected)
        assert transition(before, EVENTS[event], NOW, DEADLINES) == (row, () if effect is None else (effect(),), None)
    assert before == untouched


def test_the_cases_above_are_all_six_states_times_all_thirteen_events() -> None:
    assert set(CELLS) == set(State)
    assert set(EVENTS) == set(get_args(Event))
    assert len(ALL_CELLS) == 78
    possible = {(cell.values[0], cell.values[1]) for cell in ALL_CELLS if cell.values[2] != CANNOT}
    assert possible == set(TABLE)


def test_the_robot_is_called_in_exactly_one_cell() -> None:
    calling = []
    for state, event in TABLE:
        _, effects, _ = transition(JOBS[state], EVENTS[event], NOW, DEADLINES)
        if any(isinstance(effect, CallRobot) for effect in effects):
            calling.append((state, event))
    assert calling == [(State.PENDING, Admitted)]


def test_an_outcome_is_published_exactly_when_a_job_ends() -> None:
    for state, event in TABLE:
        before = JOBS[state]
        job, effects, _ = transition(before, EVENTS[event], NOW, DEADLINES)
        newly_ended = job is not None and job.ended and not (before is not None and before.ended)
        assert [effect for effect in effects if isinstance(effect, PublishOutcome)] == (
            [PublishOutcome()] if newly_ended else []
        )


@pytest.mark.parametrize("state", KNOWN_STATES)
def test_another_payload_under_the_same_ids_is_a_conflict(state: State) -> None:
    before = JOBS[state]
    event = JobSubmitted(KEY, SUBMITTED_AT, OTHER_SOURCE, 2, "f2")
    job, effects, ignored = transition(before, event, NOW, DEADLINES)
    assert job is before
    assert (effects, ignored) == ((), IgnoreReason.CONFLICT)


@pytest.mark.parametrize("state", KNOWN_STATES)
def test_the_same_payload_from_another_place_is_a_duplicate(state: State) -> None:
    before = JOBS[state]
    later = SUBMITTED_AT + timedelta(minutes=3)
    job, effects, ignored = transition(before, JobSubmitted(KEY, later, OTHER_SOURCE, 2, "f1"), NOW, DEADLINES)
    assert job is before
    assert (effects, ignored) == ((), IgnoreReason.DUPLICATE)


@pytest.mark.parametrize("state", KNOWN_STATES)
def test_an_invalid_submission_read_again_from_its_own_place_is_a_duplicate(state: State) -> None:
    before = JOBS[state]
    job, effects, ignored = transition(before, InvalidSubmission(KEY, SUBMITTED_AT, SOURCE, "bad"), NOW, DEADLINES)
    assert job is before
    assert (effects, ignored) == ((), IgnoreReason.DUPLICATE)


@pytest.mark.parametrize(
    "source", [Source("robot.job.submitted", 3, 40), Source("robot.job.submitted", 4, 41), Source("other", 3, 41)]
)
def test_an_invalid_submission_from_any_other_place_is_a_conflict(source: Source) -> None:
    job, effects, ignored = transition(INVALID, InvalidSubmission(KEY, SUBMITTED_AT, source, "bad"), NOW, DEADLINES)
    assert job is INVALID
    assert (effects, ignored) == ((), IgnoreReason.CONFLICT)


def test_a_valid_submission_after_an_invalid_one_of_the_same_ids_is_a_conflict() -> None:
    job, effects, ignored = transition(INVALID, EVENTS[JobSubmitted], NOW, DEADLINES)
    assert job is INVALID
    assert (effects, ignored) == ((), IgnoreReason.CONFLICT)


@pytest.mark.parametrize("counts", [(2, 0), (0, 2), (1, 0), (2, 1)])
def test_a_second_completion_with_other_counts_is_told_apart_and_changes_nothing(counts: tuple[int, int]) -> None:
    job, effects, ignored = transition(COMPLETED, BatchCompleted(KEY, *counts), NOW, DEADLINES)
    assert job is COMPLETED
    assert (effects, ignored) == ((), IgnoreReason.DUPLICATE_MISMATCH)


@pytest.mark.parametrize("state", OPEN_STATES)
def test_a_deadline_event_before_the_rows_deadline_changes_nothing(state: State) -> None:
    before = JOBS[state]
    assert before is not None
    assert before.deadline is not None
    almost = before.deadline - timedelta(microseconds=1)
    job, effects, ignored = transition(before, DeadlinePassed(KEY), almost, DEADLINES)
    assert job is before
    assert (effects, ignored) == ((), IgnoreReason.DEADLINE_MOVED)


@pytest.mark.parametrize("state", OPEN_STATES)
def test_a_deadline_fails_the_job_at_its_very_instant(state: State) -> None:
    before = JOBS[state]
    assert before is not None
    assert before.deadline is not None
    job, _, _ = transition(before, DeadlinePassed(KEY), before.deadline, DEADLINES)
    assert job is not None
    assert (job.status, job.ended_at) == (Status.FAILED, before.deadline)


def test_a_row_without_a_deadline_is_never_failed_by_one() -> None:
    before = replace(CALLED, deadline=None)
    job, effects, ignored = transition(before, DeadlinePassed(KEY), NOW, DEADLINES)
    assert job is before
    assert (effects, ignored) == ((), IgnoreReason.DEADLINE_MOVED)


def test_an_acceptance_moves_the_deadline_so_that_the_claims_deadline_decides_nothing_any_more() -> None:
    late = CLAIM_DEADLINE - timedelta(seconds=1)
    accepted, _, _ = transition(CALLED, RobotAccepted(KEY, late), late, DEADLINES)
    job, effects, ignored = transition(accepted, DeadlinePassed(KEY), CLAIM_DEADLINE, DEADLINES)
    assert accepted is not None
    assert accepted.deadline == late + timedelta(seconds=360)
    assert job is accepted
    assert (effects, ignored) == ((), IgnoreReason.DEADLINE_MOVED)


def test_the_deadline_counts_from_the_acceptance_and_not_from_when_it_was_recorded() -> None:
    accepted, _, _ = transition(CALLED, RobotAccepted(KEY, ACCEPTED_AT), ACCEPTED_AT + timedelta(hours=1), DEADLINES)
    assert accepted is not None
    assert (accepted.accepted_at, accepted.deadline) == (ACCEPTED_AT, ACCEPTED_DEADLINE)


def test_a_row_without_an_order_count_still_gets_deadlines() -> None:
    claimed, _, _ = transition(replace(PENDING, order_count=None), Admitted(KEY, "worker-1"), NOW, DEADLINES)
    assert claimed is not None
    assert claimed.deadline == NOW + timedelta(seconds=30 + 60 + 300)
    accepted, _, _ = transition(claimed, RobotAccepted(KEY, NOW), NOW, DEADLINES)
    assert accepted is not None
    assert accepted.deadline == NOW + timedelta(seconds=300)


def test_a_failed_call_says_what_its_event_says_about_the_robot() -> None:
    event = CallFailed(KEY, FailureReason.DISPATCH_UNKNOWN, "The connection broke", robot_may_have_received=True)
    job, effects, _ = transition(CALLED, event, NOW, DEADLINES)
    assert job == replace(
        CALLED,
        status=Status.FAILED,
        ended_at=NOW,
        reason=FailureReason.DISPATCH_UNKNOWN,
        error="The connection broke",
        robot_may_have_received=True,
        robot_status=None,
    )
    assert effects == (PublishOutcome(),)


def test_a_second_restart_of_the_robot_loses_nothing_more() -> None:
    later = BatchLost(KEY, RESTARTED_AT + timedelta(minutes=1))
    assert transition(LOST, later, NOW, DEADLINES) == (LOST, (), DECIDED)


def test_a_report_that_was_on_its_way_completes_a_job_whose_batch_was_lost() -> None:
    row, effects, _ = transition(LOST, BatchCompleted(KEY, 1, 1), NOW, DEADLINES)
    assert (row, effects) == (replace(LOST, **cast(Any, REPORTED)), (PublishOutcome(),))


def test_a_job_whose_batch_was_lost_still_has_its_deadline_and_its_failure_says_what_was_known() -> None:
    elsewhere = replace(LOST, robot_restarted_at=RESTARTED_AT.astimezone(timezone(timedelta(hours=-5))))
    almost = ACCEPTED_DEADLINE - timedelta.resolution
    assert transition(LOST, DeadlinePassed(KEY), almost, DEADLINES) == (LOST, (), IgnoreReason.DEADLINE_MOVED)
    for lost in (LOST, elsewhere):
        row, effects, _ = transition(lost, DeadlinePassed(KEY), NOW, DEADLINES)
        said = (
            "The robot accepted the batch and was started again at 2026-01-31T12:00:42Z, and no completion came in time"
        )
        assert (row, effects) == (
            replace(TIMED_OUT, robot_restarted_at=RESTARTED_AT, error=said),
            (PublishOutcome(),),
        )


def test_a_job_that_is_given_up_ends_at_once_and_says_who_waits_no_longer_and_that_it_may_ship() -> None:
    row, effects, _ = transition(GIVEN_UP, DeadlinePassed(KEY), STOP.at, DEADLINES)
    assert (row, effects) == (
        replace(
            GIVEN_UP,
            status=Status.FAILED,
            ended_at=STOP.at,
            reason=FailureReason.GIVEN_UP,
            error="Given up by alice: wrong address",
        ),
        (PublishOutcome(),),
    )
    almost = STOP.at - timedelta.resolution
    assert transition(GIVEN_UP, DeadlinePassed(KEY), almost, DEADLINES).ignored is IgnoreReason.DEADLINE_MOVED


def test_a_completion_that_comes_before_the_end_of_a_job_that_is_given_up_counts() -> None:
    row, effects, _ = transition(GIVEN_UP, BatchCompleted(KEY, 1, 1), NOW, DEADLINES)
    assert (row, effects) == (replace(ACCEPTED, **cast(Any, REPORTED)), (PublishOutcome(),))


def test_a_job_is_given_up_once_and_an_acceptance_gives_it_no_more_time() -> None:
    again = GivenUp(KEY, STOP._replace(control_id="control-2"))
    assert transition(GIVEN_UP, again, NOW, DEADLINES) == (GIVEN_UP, (), IgnoreReason.ALREADY_GIVEN_UP)
    accepted, _, _ = transition(replace(CALLED, stop=STOP), RobotAccepted(KEY, ACCEPTED_AT), NOW, DEADLINES)
    assert accepted == GIVEN_UP


@pytest.mark.parametrize("received", [False, True])
def test_a_given_up_job_whose_call_is_refused_is_not_called_again(received: bool) -> None:
    called = replace(CALLED, stop=STOP)
    row, effects, _ = transition(called, replace(BUSY, robot_may_have_received=received), NOW, PATIENT)
    assert row is not None
    assert (row.status, row.reason, row.robot_status) == (Status.FAILED, FailureReason.GIVEN_UP, 409)
    assert (row.robot_may_have_received, effects) == (received, (PublishOutcome(),))


def test_when_a_call_left_and_when_its_end_was_known_is_in_the_row() -> None:
    left, known = CLAIMED_AT + timedelta(seconds=1), CLAIMED_AT + timedelta(seconds=3)
    accepted, _, _ = transition(CALLED, RobotAccepted(KEY, ACCEPTED_AT, called_at=left), NOW, DEADLINES)
    assert accepted == replace(ACCEPTED, called_at=left)
    failed, _, _ = transition(CALLED, replace(BUSY, called_at=left, answered_at=known), NOW, DEADLINES)
    assert failed is not None
    assert (failed.called_at, failed.answered_at) == (left, known)
    # The next call is another one.
    waiting, _, _ = transition(CALLED, replace(BUSY, called_at=left, answered_at=known), NOW, PATIENT)
    assert waiting is not None
    assert (waiting.called_at, waiting.answered_at) == (None, None)


PATIENT = dataclasses.replace(DEADLINES, patience=timedelta(minutes=15))
BUSY = CallFailed(KEY, FailureReason.ROBOT_REJECTED, "Robot service error 409: busy", False, 409, may_be_repeated=True)
NO_CONNECTION = CallFailed(
    KEY, FailureReason.ROBOT_UNREACHABLE, "No connection to the robot", False, may_be_repeated=True
)


def put_off(job: Job, event: CallFailed, now: datetime, deadlines: Deadlines = PATIENT) -> Job:
    row, effects, ignored = transition(job, event, now, deadlines)
    assert (effects, ignored) == ((), None)
    assert row is not None
    assert row.status is Status.PENDING
    return row


def test_a_call_that_was_refused_before_any_effect_is_made_again() -> None:
    """The row is as if it had never been called, but for what it says of the refusal."""
    refused = put_off(CALLED, BUSY, NOW)
    expected = PutOff(
        times=1,
        since=NOW,
        until=NOW + timedelta(seconds=5),
        reason=FailureReason.ROBOT_REJECTED,
        error="Robot service error 409: busy",
        robot_status=409,
        gives_up_at=NOW + timedelta(minutes=15),
    )
    assert refused == replace(PENDING, put_off=expected, deadline=NOW + timedelta(minutes=15))


def test_each_refusal_doubles_the_wait_and_none_moves_the_end_of_the_patience() -> None:
    job, now, waits = CALLED, NOW, []
    for nth in range(6):
        job = put_off(job, replace(BUSY, refusals=nth + 1), now)
        assert job.put_off is not None
        waits.append((job.put_off.until - now).total_seconds())
        assert (job.put_off.since, job.deadline) == (NOW, NOW + timedelta(minutes=15))
        now = job.put_off.until
        job, effects, _ = cast(Any, transition(job, Admitted(KEY, "worker-1"), now, PATIENT))
        assert effects == (CallRobot(),)
    assert waits == [5, 10, 20, 40, 60, 60]


@pytest.mark.parametrize(("asked", "waits"), [(0, 5), (4, 5), (30, 30), (300, 300), (86_400, 300)])
def test_the_robot_may_ask_for_a_longer_wait_within_reason(asked: int, waits: int) -> None:
    row = put_off(CALLED, replace(BUSY, wait=timedelta(seconds=asked)), NOW).put_off
    assert row is not None
    assert row.until == NOW + timedelta(seconds=waits)


def test_a_call_that_never_left_is_made_again_as_soon_as_there_is_a_robot() -> None:
    row = put_off(CALLED, NO_CONNECTION, NOW).put_off
    assert row is not None
    assert (row.until, row.robot_status) == (NOW, None)


@pytest.mark.parametrize("event", [BUSY, NO_CONNECTION])
def test_without_patience_the_job_that_was_refused_fails_at_once(event: CallFailed) -> None:
    row, effects, _ = transition(CALLED, event, NOW, DEADLINES)
    assert row is not None
    assert (row.status, row.reason, effects) == (Status.FAILED, event.reason, (PublishOutcome(),))


def test_without_patience_a_job_is_spared_that_was_tried_while_it_was_known_that_there_is_no_robot() -> None:
    row = put_off(CALLED, replace(NO_CONNECTION, spared=True), NOW, DEADLINES)
    assert row.deadline is None, "it waits for its turn as all the others do"


def test_a_refusal_that_is_no_fault_of_the_job_costs_none_of_its_patience() -> None:
    spared = put_off(CALLED, replace(BUSY, spared=True), NOW)
    assert spared.put_off is not None
    assert (spared.deadline, spared.put_off.gives_up_at, spared.put_off.since) == (None, None, NOW)
    later = NOW + timedelta(hours=2)
    counted = put_off(replace(CALLED, put_off=spared.put_off), BUSY, later)
    assert counted.put_off is not None
    assert (counted.deadline, counted.put_off.times, counted.put_off.since) == (later + timedelta(minutes=15), 2, NOW)


@pytest.mark.parametrize("status", [400, 408, 500, 503, None])
@pytest.mark.parametrize("received", [True, False])
def test_every_other_failure_of_a_call_ends_the_job_whatever_the_patience(status: int | None, received: bool) -> None:
    event = CallFailed(KEY, FailureReason.ROBOT_REJECTED, "no", received, status)
    row, effects, _ = transition(CALLED, event, NOW, PATIENT)
    assert row is not None
    assert (row.status, effects) == (Status.FAILED, (PublishOutcome(),))


def test_after_its_patience_a_job_fails_with_the_last_refusal() -> None:
    deadline = cast(datetime, PUT_OFF.deadline)
    early, effects, ignored = transition(PUT_OFF, DeadlinePassed(KEY), deadline - timedelta.resolution, PATIENT)
    assert (early, effects, ignored) == (PUT_OFF, (), IgnoreReason.DEADLINE_MOVED)
    row, effects, _ = transition(PUT_OFF, DeadlinePassed(KEY), deadline, PATIENT)
    assert effects == (PublishOutcome(),)
    assert row == replace(
        PUT_OFF,
        status=Status.FAILED,
        ended_at=deadline,
        reason=FailureReason.ROBOT_REJECTED,
        error="Robot service error 409: busy",
        robot_status=409,
    )


def test_a_refusal_at_the_end_of_the_patience_ends_the_job() -> None:
    claimed = replace(CALLED, put_off=PUT_OFF.put_off)
    end = NOW + timedelta(minutes=14)
    assert put_off(claimed, BUSY, end - timedelta.resolution).status is Status.PENDING
    row, _, _ = transition(claimed, BUSY, end, PATIENT)
    assert row is not None
    assert row.status is Status.FAILED


def test_a_completion_without_success_agrees_with_a_batch_in_which_the_robot_could_do_nothing() -> None:
    """It reports every order as failed, and only then answers 400."""
    refused = replace(FAILED, robot_status=400, robot_may_have_received=False)
    for job, success, reason in (
        (refused, 0, IgnoreReason.AGREES),
        (refused, 1, IgnoreReason.LATE_COMPLETION),
        (replace(refused, robot_status=409), 0, IgnoreReason.LATE_COMPLETION),
    ):
        assert transition(job, BatchCompleted(KEY, success, 2 - success), NOW, DEADLINES) == (job, (), reason)


def reported(job: Job, *reports: OrderResult) -> tuple[Job, tuple[Effect, ...], IgnoreReason | None]:
    """Return the job after the last of these reports, with what that one led to."""
    effects: tuple[Effect, ...] = ()
    ignored = None
    for report in reports:
        row, effects, ignored = transition(job, OrderReported(KEY, report), NOW, DEADLINES)
        assert row is not None
        job = row
    return job, effects, ignored


SHIPPED, BROKEN = (
    OrderResult("item-1", OrderStatus.SUCCESS, "TN-1"),
    OrderResult("item-2", OrderStatus.ERROR, None, "portal", "No such city"),
)


@pytest.mark.parametrize("job", [CALLED, ACCEPTED])
@pytest.mark.parametrize("reports", [(SHIPPED, BROKEN), (BROKEN, SHIPPED), (SHIPPED, SHIPPED, BROKEN)])
def test_the_last_orders_report_completes_the_job_as_a_completion_would(
    job: Job, reports: tuple[OrderResult, ...]
) -> None:
    row, effects, _ = reported(job, *reports)
    assert effects == (PublishOutcome(),)
    assert row == replace(job, **cast(Any, REPORTED), orders=(SHIPPED, BROKEN))


def test_of_several_reports_of_an_order_the_first_one_counts() -> None:
    first, _, _ = reported(ACCEPTED, SHIPPED)
    assert reported(first, SHIPPED) == (first, (), IgnoreReason.DUPLICATE)
    words = SHIPPED._replace(tracking_number=None, error_type="portal", error_message="***")
    assert reported(first, words) == (first, (), IgnoreReason.DUPLICATE), "whatever is known of the secrets by then"
    for other in (SHIPPED._replace(status=OrderStatus.ERROR), SHIPPED._replace(tracking_number="TN-9")):
        assert reported(first, other) == (first, (), IgnoreReason.DUPLICATE_MISMATCH)


@pytest.mark.parametrize("job", [ACCEPTED, COMPLETED, FAILED])
def test_an_order_that_the_batch_does_not_have_changes_nothing(job: Job) -> None:
    unknown = OrderResult("item-3", OrderStatus.SUCCESS)
    assert reported(job, unknown) == (job, (), IgnoreReason.UNKNOWN_ITEM)
    untold = replace(job, orders=())
    assert reported(untold, SHIPPED) == (untold, (), IgnoreReason.UNKNOWN_ITEM), "it is not followed order by order"


def test_a_batch_with_two_orders_of_one_item_id_is_not_completed_by_reports() -> None:
    job = replace(ACCEPTED, order_count=3)
    row, effects, ignored = reported(job, SHIPPED, BROKEN)
    assert (row.status, effects, ignored) == (Status.PROCESSING, (), None)


@pytest.mark.parametrize(
    ("status", "report", "had_it"),
    [(400, BROKEN, False), (400, SHIPPED, True), (409, BROKEN, True), (409, SHIPPED, True)],
)
def test_a_report_belies_an_outcome_that_says_that_the_robot_never_had_the_batch(
    status: int, report: OrderResult, had_it: bool
) -> None:
    """It answers 400 only after it has reported every order as failed; nothing else is refused with a report."""
    job = replace(FAILED, robot_status=status, robot_may_have_received=False)
    row, effects, ignored = reported(job, report)
    assert (effects, ignored, row.robot_may_have_received) == ((PublishAmendment(),), None, had_it)


@pytest.mark.parametrize("event", [BUSY, NO_CONNECTION])
def test_a_refusal_is_not_believed_of_a_batch_of_which_an_order_was_reported(event: CallFailed) -> None:
    """As when something between has sent the request twice: calling again could ship it twice."""
    row, _, _ = reported(CALLED, SHIPPED)
    failed, effects, _ = transition(row, event, NOW, PATIENT)
    assert failed is not None
    assert (failed.status, failed.robot_may_have_received, effects) == (Status.FAILED, True, (PublishOutcome(),))
    assert failed.orders == row.orders


def test_of_several_late_completions_the_first_one_counts() -> None:
    row, _, _ = transition(FAILED, BatchCompleted(KEY, 1, 1), NOW, DEADLINES)
    for counts, why in (((1, 1), IgnoreReason.DUPLICATE), ((2, 0), IgnoreReason.DUPLICATE_MISMATCH)):
        assert transition(row, BatchCompleted(KEY, *counts), NOW, DEADLINES) == (row, (), why)


def test_a_completion_with_other_results_than_were_reported_shows_in_the_row() -> None:
    row, _, _ = reported(ACCEPTED, BROKEN)
    for counts, mismatch in (((1, 1), False), ((2, 0), True)):
        job, _, _ = transition(row, BatchCompleted(KEY, *counts), NOW, DEADLINES)
        assert job is not None
        assert job.counts_mismatch is mismatch


def test_a_job_is_tried_again_as_one_other_job_only() -> None:
    row, effects, ignored = transition(FAILED, Resubmitted(KEY, "job-2"), NOW, DEADLINES)
    assert (effects, ignored) == ((), None)
    for new, why in (("job-2", IgnoreReason.DUPLICATE), ("job-3", IgnoreReason.ALREADY_RESUBMITTED)):
        assert transition(row, Resubmitted(KEY, new), NOW, DEADLINES) == (row, (), why)


def test_a_call_that_was_refused_before_any_effect_leaves_no_order_behind() -> None:
    assert put_off(CALLED, BUSY, NOW).orders == ()


def test_counts_that_do_not_add_up_to_the_orders_complete_the_job_and_show_in_its_row() -> None:
    job, _, _ = transition(ACCEPTED, BatchCompleted(KEY, 2, 1), NOW, DEADLINES)
    assert job is not None
    assert (job.status, job.counts_mismatch) == (Status.COMPLETED, True)


def test_counts_that_add_up_are_no_mismatch_and_neither_are_counts_that_never_came() -> None:
    assert not COMPLETED.counts_mismatch
    assert not ACCEPTED.counts_mismatch
    assert not replace(COMPLETED, error_count=None).counts_mismatch


@pytest.mark.parametrize("state", list(State))
def test_every_row_stands_in_its_state(state: State) -> None:
    assert state_of(JOBS[state]) is state


def test_a_row_of_no_known_status_stops_the_program() -> None:
    bogus = replace(PENDING, status=cast(Status, "sleeping"))
    with pytest.raises(ImpossibleTransitionError):
        transition(bogus, EVENTS[JobSubmitted], NOW, DEADLINES)


@pytest.mark.parametrize(
    "name",
    ["submitted_at", "claimed_at", "accepted_at", "deadline", "ended_at", "amended_at", "robot_restarted_at"],
)
def test_a_job_takes_no_time_without_its_zone(name: str) -> None:
    naive = datetime(2026, 1, 31, 12)  # noqa: DTZ001 # the point of the test
    with pytest.raises(ValueError, match="a naive datetime in job job-1"):
        replace(COMPLETED, **cast(Any, {name: naive}))


def test_a_job_is_identified_by_its_workspace_and_its_id() -> None:
    assert PENDING.key == KEY == JobKey(workspace_id="workspace-1", job_id="job-1")
    assert replace(PENDING, workspace_id="workspace-2").key != KEY


def test_a_row_has_no_field_for_a_credential_or_what_an_order_holds() -> None:
    assert set(Job.__struct_fields__) == {
        "workspace_id",
        "job_id",
        "status",
        "submitted_at",
        "source",
        "fingerprint",
        "order_count",
        "claimed_at",
        "claimed_by",
        "accepted_at",
        "deadline",
        "ended_at",
        "success_count",
        "error_count",
        "reason",
        "error",
        "robot_status",
        "robot_may_have_received",
        "put_off",
        "orders",
        "amended_at",
        "resubmission_of",
        "resubmitted_as",
        "robot_restarted_at",
        "called_at",
        "answered_at",
        "stop",
        "traceparent",
    }
    assert OrderResult._fields == ("item_id", "status", "tracking_number", "error_type", "error_message")
