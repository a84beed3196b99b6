"""What can happen to a job, in the past tense."""

from datetime import datetime, timedelta

import msgspec

from streams.core.job import FailureReason, JobKey, OrderResult, Source, Stop


class JobSubmitted(msgspec.Struct, frozen=True):
    """A well-formed submission was read. `fingerprint` tells another payload under the same ids.

    `resubmission_of`: the id of the job, of the same workspace, whose orders it tries again. `traceparent`: the trace
    that it is part of.
    """

    key: JobKey
    submitted_at: datetime
    source: Source
    order_count: int
    fingerprint: str
    resubmission_of: str | None = None
    traceparent: str | None = None


class InvalidSubmission(msgspec.Struct, frozen=True):
    """A submission was read whose ids are readable and whose rest is not."""

    key: JobKey
    submitted_at: datetime
    source: Source
    error: str
    traceparent: str | None = None


class Admitted(msgspec.Struct, frozen=True):
    """It is the pending job's turn and a worker holds its payload and a call slot.

    `items`: the ids of its orders, each once, if the batch is to be followed order by order.
    """

    key: JobKey
    claimed_by: str
    items: tuple[str, ...] = ()


class PayloadGone(msgspec.Struct, frozen=True):
    """It is the pending job's turn, but its payload is too old to be sent or no longer there."""

    key: JobKey
    error: str


class RobotAccepted(msgspec.Struct, frozen=True):
    """The robot answered the POST, which left at `called_at`, with 2xx at `accepted_at`."""

    key: JobKey
    accepted_at: datetime
    called_at: datetime | None = None


class CallFailed(msgspec.Struct, frozen=True):
    """The POST was refused, cut, timed out or never made; `error` is bounded and without secrets.

    `may_be_repeated`: the robot refused it before any effect, or it never left; `wait` is what the robot asked for.
    `refusals`: how often in a row the workspace has been refused as busy. `spared`: it does not count against the job's
    patience, because it was known that there is no robot, or that it may be at another batch of the workspace.
    `called_at`, `answered_at`: when it left, and when that was known.
    """

    key: JobKey
    reason: FailureReason
    error: str
    robot_may_have_received: bool
    robot_status: int | None = None
    may_be_repeated: bool = False
    wait: timedelta = timedelta(0)
    refusals: int = 1
    spared: bool = False
    called_at: datetime | None = None
    answered_at: datetime | None = None


class BatchLost(msgspec.Struct, frozen=True):
    """The robot, in whose memory a batch lives, was started again at `restarted_at`, after it had accepted this one."""

    key: JobKey
    restarted_at: datetime


class BatchCompleted(msgspec.Struct, frozen=True):
    """The callback bridge has counted a result for every order."""

    key: JobKey
    success_count: int
    error_count: int


class OrderReported(msgspec.Struct, frozen=True):
    """The robot has reported one order."""

    key: JobKey
    order: OrderResult


class Resubmitted(msgspec.Struct, frozen=True):
    """Orders of the job are tried again, as another job of its workspace."""

    key: JobKey
    new_job_id: str


class Cancelled(msgspec.Struct, frozen=True):
    """Somebody wants a job not to be called."""

    key: JobKey
    stop: Stop


class GivenUp(msgspec.Struct, frozen=True):
    """Somebody waits no longer for a job at the robot, which may still do it."""

    key: JobKey
    stop: Stop


class DeadlinePassed(msgspec.Struct, frozen=True):
    """The deadline is behind us, or the job was given up; what was in the log before of completions is applied."""

    key: JobKey


Event = (
    JobSubmitted
    | InvalidSubmission
    | Admitted
    | PayloadGone
    | RobotAccepted
    | CallFailed
    | BatchLost
    | BatchCompleted
    | OrderReported
    | Resubmitted
    | Cancelled
    | GivenUp
    | DeadlinePassed
)
