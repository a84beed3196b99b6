"""Jobs, events and instants for tests, each with every field that its state has."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from streams.core.deadlines import Deadlines
from streams.core.job import FailureReason, Job, JobKey, OrderResult, PutOff, Source, Status, Stop

KEY = JobKey("workspace-1", "job-1")
SOURCE = Source("robot.job.submitted", 3, 41)
OTHER_SOURCE = Source("robot.job.submitted", 3, 42)

SUBMITTED_AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
CLAIMED_AT = SUBMITTED_AT + timedelta(seconds=10)
ACCEPTED_AT = CLAIMED_AT + timedelta(seconds=2)
ENDED_AT = CLAIMED_AT + timedelta(seconds=70)

# Two orders: 60 s + 300 s of work, after 30 s of window and 60 s of call.
CLAIM_DEADLINE = CLAIMED_AT + timedelta(seconds=450)
ACCEPTED_DEADLINE = ACCEPTED_AT + timedelta(seconds=360)
# Past both deadlines.
NOW = SUBMITTED_AT + timedelta(hours=1)

DEADLINES = Deadlines(
    per_order=timedelta(seconds=30),
    base=timedelta(minutes=5),
    call_timeout=timedelta(seconds=60),
    workspace_pause=timedelta(seconds=5),
    retention=timedelta(days=7),
)

PENDING = Job(
    workspace_id=KEY.workspace_id,
    job_id=KEY.job_id,
    status=Status.PENDING,
    submitted_at=SUBMITTED_AT,
    source=SOURCE,
    fingerprint="f1",
    order_count=2,
)
# Refused once, a minute before NOW, with a quarter of an hour of patience.
PUT_OFF = replace(
    PENDING,
    deadline=NOW + timedelta(minutes=14),
    put_off=PutOff(
        times=1,
        since=NOW - timedelta(minutes=1),
        until=NOW - timedelta(seconds=55),
        reason=FailureReason.ROBOT_REJECTED,
        error="Robot service error 409: busy",
        robot_status=409,
        gives_up_at=NOW + timedelta(minutes=14),
    ),
)
CALLED = replace(
    PENDING,
    status=Status.PROCESSING,
    claimed_at=CLAIMED_AT,
    claimed_by="worker-1",
    deadline=CLAIM_DEADLINE,
    robot_may_have_received=True,
    orders=(OrderResult("item-1"), OrderResult("item-2")),
)
ACCEPTED = replace(CALLED, accepted_at=ACCEPTED_AT, deadline=ACCEPTED_DEADLINE)
# When the robot, which had the batch, was started again.
RESTARTED_AT = ACCEPTED_AT + timedelta(seconds=30)
LOST = replace(ACCEPTED, robot_restarted_at=RESTARTED_AT)
# What somebody said who wants the job to end.
STOP = Stop("control-1", "alice", "wrong address", ACCEPTED_AT + timedelta(seconds=20))
GIVEN_UP = replace(ACCEPTED, stop=STOP)
COMPLETED = replace(ACCEPTED, status=Status.COMPLETED, ended_at=ENDED_AT, success_count=1, error_count=1)
FAILED = replace(
    CALLED,
    status=Status.FAILED,
    ended_at=ENDED_AT,
    reason=FailureReason.ROBOT_REJECTED,
    error="Robot service error 503: busy",
    robot_status=503,
)
