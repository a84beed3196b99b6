"""What the journal makes of each fact: the lines of the log, and the counters that go up."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from streams.core.controls import Action, Control, Decision
from streams.core.effects import IgnoreReason
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
from streams.core.job import FailureReason, Job, OrderResult, OrderStatus, Status
from streams.names import DeadLetterReason, Topic
from streams.telemetry.facts import (
    CompletionIgnored,
    ControlDecided,
    DeadLettered,
    Fact,
    RecordForwarded,
    ReportIgnored,
    RowChanged,
    SubmissionExpired,
    SubmissionIgnored,
)
from streams.telemetry.journal import Journal
from streams.telemetry.lines import WAITING_SECONDS, Lines
from streams.telemetry.metrics import DispatchResult, Metrics
from streams.wire.intake import Rejection
from streams.wire.rows import utc_text
from tests.core.builders import (
    ACCEPTED,
    ACCEPTED_AT,
    CALLED,
    COMPLETED,
    ENDED_AT,
    FAILED,
    GIVEN_UP,
    KEY,
    LOST,
    NOW,
    PENDING,
    PUT_OFF,
    RESTARTED_AT,
    SOURCE,
    STOP,
    SUBMITTED_AT,
)
from tests.unit.builders import record

IDS = {"job_id": "job-1", "workspace_id": "workspace-1", "partition": 3}
KEY_ONLY = {"job_id": "job-1", "workspace_id": "workspace-1"}
SUBMITTED = JobSubmitted(KEY, SUBMITTED_AT, SOURCE, 2, "f1")
INVALID = InvalidSubmission(KEY, SUBMITTED_AT, SOURCE, "no orders")
BATCH_COMPLETED = BatchCompleted(KEY, 1, 1)
BROKEN = CallFailed(KEY, FailureReason.DISPATCH_UNKNOWN, "broken", robot_may_have_received=True)
TIMED_OUT = replace(ACCEPTED, status=Status.FAILED, ended_at=NOW, reason=FailureReason.TIMEOUT, error="late")
BAD = replace(
    PENDING,
    status=Status.FAILED,
    order_count=None,
    ended_at=ENDED_AT,
    reason=FailureReason.INVALID_SUBMISSION,
    error="no orders",
)

CANCELLED = replace(
    PENDING, status=Status.FAILED, ended_at=NOW, reason=FailureReason.CANCELLED, error="Cancelled by alice", stop=STOP
)
GIVEN_UP_ENDED = replace(
    GIVEN_UP, status=Status.FAILED, ended_at=NOW, reason=FailureReason.GIVEN_UP, error="Given up by alice"
)
CANCEL = Control(
    control_id="control-1",
    action=Action.CANCEL,
    workspace_id="workspace-1",
    job_id="job-1",
    actor="alice",
    reason="wrong address",
    requested_at=NOW,
)
HOLD = dataclasses.replace(CANCEL, action=Action.HOLD, workspace_id=None, job_id=None)

Line = dict[str, Any]
Figures = dict[str, float]


def changed(event: Event, before: Job | None, row: Job) -> RowChanged:
    return RowChanged(event, before, row, row.ended_at or NOW)


def failure(row: Job) -> Line:
    return {
        "event": "job_failed",
        "log_level": "warning",
        **IDS,
        "reason": row.reason,
        "error": row.error,
        "robot_status": row.robot_status,
        "robot_may_have_received": row.robot_may_have_received,
        "deadline": utc_text(row.deadline),
    }


def completion(row: Job) -> Line:
    counts = {"success_count": row.success_count, "error_count": row.error_count}
    return {
        "event": "job_completed",
        "log_level": "info",
        **IDS,
        **counts,
        "counts_mismatch": row.success_count != 1,
    }


def told(fact: Fact) -> tuple[list[Line], Figures]:
    """Return the lines that a fact gives, and every figure that is not 0 after it."""
    metrics = Metrics()
    with capture_logs() as lines:
        Journal(metrics).tell(fact)
    return [dict(line) for line in lines], figures(metrics)


def figures(metrics: Metrics) -> Figures:
    """Return what is not 0, of histograms how much was seen, without what was built; names without what all have."""
    shown = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            own, name = sample.name.startswith("robot_orchestrator_"), sample.name.removeprefix("robot_orchestrator_")
            if own and sample.value and not name.endswith(("_bucket", "_count", "_info")):
                name = name.removesuffix("_total")
                shown[" ".join((name, *(value for value in sample.labels.values() if value)))] = sample.value
    return shown


def duration(row: Job) -> float:
    return ((row.ended_at or NOW) - SUBMITTED_AT).total_seconds()


SHIPPED = OrderReported(KEY, OrderResult("item-1", OrderStatus.SUCCESS, "TN-1"))
FOLLOWED = replace(ACCEPTED, orders=(SHIPPED.order, OrderResult("item-2")))
DONE = replace(COMPLETED, orders=FOLLOWED.orders)
COUNTED_LATE = replace(TIMED_OUT, success_count=1, error_count=1)
RESUBMITTED = replace(FAILED, resubmitted_as="job-2")


def reported(left: int) -> Line:
    return {
        "event": "order_reported",
        "log_level": "info",
        **IDS,
        "item_id": "item-1",
        "status": "success",
        "unreported": left,
    }


def amended(row: Job, left: int) -> Line:
    counts = {"success_count": row.success_count, "error_count": row.error_count}
    ended = {"status": row.status.value, **counts, "unreported": left}
    return {"event": "job_amended", "log_level": "warning", **IDS, **ended}


EARLY = replace(COMPLETED, accepted_at=None)
ODD = replace(COMPLETED, success_count=5)
EXAMPLES: dict[str, tuple[Fact, list[Line], Figures]] = {
    "a job is submitted": (
        changed(SUBMITTED, None, PENDING),
        [{"event": "job_submitted", "log_level": "info", **IDS, "orders": 2, "offset": 41}],
        {"submissions accepted": 1},
    ),
    "a job is claimed": (
        changed(Admitted(KEY, "worker-1"), PENDING, CALLED),
        [{"event": "job_claimed", "log_level": "debug", **IDS, "deadline": "2026-01-31T12:07:40.000Z"}],
        {},
    ),
    "the robot accepts": (
        changed(RobotAccepted(KEY, ACCEPTED_AT), CALLED, ACCEPTED),
        [{"event": "job_accepted", "log_level": "info", **IDS, "deadline": "2026-01-31T12:06:12.000Z"}],
        {},
    ),
    "the robot loses the batch": (
        changed(BatchLost(KEY, RESTARTED_AT), ACCEPTED, LOST),
        [
            {
                "event": "batch_lost",
                "log_level": "warning",
                **IDS,
                "accepted_at": "2026-01-31T12:00:12.000Z",
                "restarted_at": "2026-01-31T12:00:42.000Z",
                "deadline": "2026-01-31T12:06:12.000Z",
            }
        ],
        {"batches_lost": 1},
    ),
    "it completes": (
        changed(BATCH_COMPLETED, ACCEPTED, COMPLETED),
        [completion(COMPLETED)],
        {"outcomes completed": 1, "completions matched": 1, "job_duration_seconds_sum completed": duration(COMPLETED)},
    ),
    "an order is reported": (
        changed(SHIPPED, ACCEPTED, FOLLOWED),
        [reported(1)],
        {"reports taken": 1},
    ),
    "the last order is reported": (
        changed(SHIPPED, FOLLOWED, DONE),
        [reported(1), completion(DONE)],
        {"reports taken": 1, "outcomes completed": 1, "job_duration_seconds_sum completed": duration(DONE)},
    ),
    "an order is reported late": (
        changed(SHIPPED, TIMED_OUT, replace(TIMED_OUT, orders=FOLLOWED.orders)),
        [reported(1), amended(TIMED_OUT, 1)],
        {"reports taken": 1, "amendments failed": 1},
    ),
    "it is completed late": (
        changed(BATCH_COMPLETED, TIMED_OUT, COUNTED_LATE),
        [amended(COUNTED_LATE, 2)],
        {"completions amended": 1, "amendments failed": 1},
    ),
    "its orders are tried again": (
        changed(Resubmitted(KEY, "job-2"), FAILED, RESUBMITTED),
        [{"event": "job_resubmitted", "log_level": "info", **IDS, "new_job_id": "job-2"}],
        {},
    ),
    "a report says nothing new": (
        ReportIgnored(KEY, IgnoreReason.DUPLICATE),
        [{"event": "report_ignored", "log_level": "info", **KEY_ONLY, "reason": "duplicate"}],
        {"reports duplicate": 1},
    ),
    "it completes before the robot's answer": (
        changed(BATCH_COMPLETED, CALLED, EARLY),
        [completion(EARLY)],
        {"outcomes completed": 1, "completions early": 1, "job_duration_seconds_sum completed": duration(EARLY)},
    ),
    "it completes with counts that do not add up": (
        changed(BatchCompleted(KEY, 5, 1), ACCEPTED, ODD),
        [completion(ODD)],
        {
            "outcomes completed": 1,
            "completions matched": 1,
            "counts_mismatches": 1,
            "job_duration_seconds_sum completed": duration(ODD),
        },
    ),
    "the call fails": (
        changed(BROKEN, CALLED, FAILED),
        [failure(FAILED)],
        {"outcomes failed robot_rejected": 1, "job_duration_seconds_sum failed": duration(FAILED)},
    ),
    "the payload is gone": (
        changed(PayloadGone(KEY, "gone"), PENDING, replace(BAD, reason=FailureReason.SUBMISSION_EXPIRED)),
        [failure(replace(BAD, reason=FailureReason.SUBMISSION_EXPIRED))],
        {"outcomes failed submission_expired": 1, "job_duration_seconds_sum failed": duration(BAD)},
    ),
    "the deadline passes": (
        changed(DeadlinePassed(KEY), ACCEPTED, TIMED_OUT),
        [failure(TIMED_OUT)],
        {
            "outcomes failed timeout": 1,
            "job_duration_seconds_sum failed": duration(TIMED_OUT),
            "deadline_delay_seconds_sum": 3600 - 372,
        },
    ),
    "a bad submission has readable ids": (
        changed(INVALID, None, BAD),
        [failure(BAD)],
        {
            "submissions invalid": 1,
            "outcomes failed invalid_submission": 1,
            "job_duration_seconds_sum failed": duration(BAD),
        },
    ),
    "a submission is known": (
        SubmissionIgnored(KEY, IgnoreReason.DUPLICATE),
        [{"event": "submission_ignored", "log_level": "info", **KEY_ONLY, "reason": "duplicate"}],
        {"submissions duplicate": 1},
    ),
    "a submission is too old to be known": (
        SubmissionExpired(KEY),
        [{"event": "submission_ignored", "log_level": "warning", **KEY_ONLY, "reason": "expired"}],
        {"submissions expired": 1},
    ),
    "a completion comes too late": (
        CompletionIgnored(KEY, IgnoreReason.LATE_COMPLETION),
        [{"event": "completion_ignored", "log_level": "info", **KEY_ONLY, "reason": "late_completion"}],
        {"completions late_completion": 1},
    ),
    "a record is a dead letter": (
        DeadLettered(record(b"secret", partition=3), Rejection(DeadLetterReason.MALFORMED, "no JSON"), None),
        [
            {
                "event": "dead_letter",
                "log_level": "warning",
                "topic": Topic.SUBMITTED,
                "partition": 3,
                "offset": 41,
                "reason": "malformed",
                "error": "no JSON",
            }
        ],
        {"dead_letters robot.job.submitted malformed": 1},
    ),
    "a record that names a job is a dead letter": (
        DeadLettered(record(b"secret", partition=3), Rejection(DeadLetterReason.INVALID, "no orders"), KEY),
        [
            {
                "event": "dead_letter",
                "log_level": "warning",
                **KEY_ONLY,
                "topic": Topic.SUBMITTED,
                "partition": 3,
                "offset": 41,
                "reason": "invalid",
                "error": "no orders",
            }
        ],
        {"dead_letters robot.job.submitted invalid": 1},
    ),
    "a job that waits is cancelled": (
        changed(Cancelled(KEY, STOP), PENDING, CANCELLED),
        [failure(CANCELLED)],
        {"outcomes failed cancelled": 1, "job_duration_seconds_sum failed": 3600},
    ),
    "a job at the robot is given up, which its control tells of": (
        changed(GivenUp(KEY, STOP), ACCEPTED, GIVEN_UP),
        [],
        {},
    ),
    "a job that is given up has ended": (
        changed(DeadlinePassed(KEY), GIVEN_UP, GIVEN_UP_ENDED),
        [failure(GIVEN_UP_ENDED)],
        {"outcomes failed given_up": 1, "job_duration_seconds_sum failed": 3600},
    ),
    "everything is held": (
        ControlDecided(Decision(HOLD, NOW, in_force=True), repeated=False),
        [
            {
                "event": "control_applied",
                "log_level": "info",
                "action": "hold",
                "actor": "alice",
                "said": "wrong address",
                "control_id": "control-1",
            }
        ],
        {"controls hold applied": 1},
    ),
    "a control is refused": (
        ControlDecided(Decision(CANCEL, NOW, IgnoreReason.AT_ROBOT), repeated=False),
        [
            {
                "event": "control_refused",
                "log_level": "warning",
                "action": "cancel",
                **KEY_ONLY,
                "actor": "alice",
                "said": "wrong address",
                "control_id": "control-1",
                "reason": "at_the_robot",
            }
        ],
        {"controls cancel refused": 1},
    ),
    "a control is read again": (ControlDecided(Decision(CANCEL, NOW), repeated=True), [], {}),
    "a record is forwarded": (
        RecordForwarded(record(b"secret", topic=Topic.BATCH_COMPLETED, partition=3), 1),
        [
            {
                "event": "record_forwarded",
                "log_level": "info",
                "topic": Topic.BATCH_COMPLETED,
                "partition": 3,
                "offset": 41,
                "target_partition": 1,
            }
        ],
        {"forwarded_records robot.job.batch_completed": 1},
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_fact_is_these_lines_and_these_figures(example: str) -> None:
    fact, lines, shown = EXAMPLES[example]
    assert told(fact) == (lines, shown)


def test_every_fact_has_an_example() -> None:
    facts = {type(fact) for fact, _, _ in EXAMPLES.values()}
    assert facts == set(Fact.__args__)
    events = {type(fact.event) for fact, _, _ in EXAMPLES.values() if isinstance(fact, RowChanged)}
    assert events == set(Event.__args__)


def test_a_large_skew_is_said_once_until_it_is_gone() -> None:
    journal = Journal(Metrics())
    with capture_logs() as lines:
        for seconds in (0.5, 2.5, -30.0, 1.0, -2.5):
            journal.broker_time(timedelta(seconds=seconds))
            assert figures(journal.metrics) == {"clock_skew_seconds": seconds}
    assert [(line["event"], line["log_level"], line["skew_seconds"]) for line in lines] == [
        ("clock_skew", "warning", 2.5),
        ("clock_skew", "warning", -2.5),
    ]


def test_a_call_is_a_line_when_it_leaves_and_a_figure_when_it_has_ended() -> None:
    journal = Journal(Metrics())
    with capture_logs() as lines:
        journal.call_started(CALLED, SUBMITTED_AT + timedelta(seconds=14.5))
        assert figures(journal.metrics) == {"submission_to_call_seconds_sum": 14.5}
        journal.call_ended(DispatchResult.ACCEPTED, 1.5)
    assert lines == [{"event": "job_dispatched", "log_level": "info", **IDS, "orders": 2}]
    dispatched = {"dispatches accepted": 1, "dispatch_duration_seconds_sum accepted": 1.5}
    assert figures(journal.metrics) == {"submission_to_call_seconds_sum": 14.5, **dispatched}


@pytest.mark.parametrize(
    ("job", "now", "calls"),
    [(CALLED, SUBMITTED_AT - timedelta(seconds=2), 1), (replace(CALLED, put_off=PUT_OFF.put_off), NOW, 0)],
    ids=["its producer's clock is ahead", "it was put off"],
)
def test_a_job_has_waited_for_its_first_call_for_no_less_than_nothing(job: Job, now: datetime, calls: int) -> None:
    journal = Journal(Metrics())
    journal.call_started(job, now)
    count = journal.metrics.registry.get_sample_value("robot_orchestrator_submission_to_call_seconds_count")
    assert (count, figures(journal.metrics)) == (calls, {})


def test_that_no_broker_answers_is_told_at_once_and_then_once_a_minute() -> None:
    clock = iter((0.0, 2.0, WAITING_SECONDS - 1, WAITING_SECONDS, WAITING_SECONDS + 2))
    lines = Lines(clock.__next__)
    with capture_logs() as written:
        for attempt in range(5):
            lines.waiting_for_broker(f"attempt {attempt}")
    line = {"event": "waiting_for_broker", "log_level": "warning"}
    assert written == [{**line, "error": "attempt 0"}, {**line, "error": "attempt 3"}]


def test_a_record_that_is_done_is_a_figure_of_its_topic() -> None:
    journal = Journal(Metrics())
    with capture_logs() as lines:
        journal.record_processed(Topic.SUBMITTED)
    assert lines == []
    assert figures(journal.metrics).keys() == {"last_record_processed_timestamp_seconds robot.job.submitted"}
