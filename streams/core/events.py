"""What can happen to a job, in the past tense."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from streams.core.job import FailureReason, JobKey, OrderResult, Source, Stop


@dataclass(frozen=True, slots=True)
class JobSubmitted:
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


@dataclass(frozen=True, slots=True)
class InvalidSubmission:
    """A submission was read whose ids are readable and whose rest is not."""

    key: JobKey
    submitted_at: datetime
    source: Source
    error: str
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """It is the pending job's turn and a worker holds its payload and a call slot.

    `items`: the ids of its orders, each once, if the batch is to be followed order by order.
    """

    key: JobKey
    claimed_by: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PayloadGone:
    """It is the pending job's turn, but its payload is too old to be sent or no longer there."""

    key: JobKey
    error: str


@dataclass(frozen=True, slots=True)
class RobotAccepted:
    """The robot answered the POST, which left at `called_at`, with 2xx at `accepted_at`."""

    key: JobKey
    accepted_at: datetime
    called_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CallFailed:
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


@dataclass(frozen=True, slots=True)
class BatchLost:
    """The robot, in whose memory a batch lives, was started again at `restarted_at`, after it had accepted this one."""

    key: JobKey
    restarted_at: datetime


@dataclass(frozen=True, slots=True)
class BatchCompleted:
    """The callback bridge has counted a result for every order."""

    key: JobKey
    success_count: int
    error_count: int


@dataclass(frozen=True, slots=True)
class OrderReported:
    """The robot has reported one order."""

    key: JobKey
    order: OrderResult


@dataclass(frozen=True, slots=True)
class Resubmitted:
    """Orders of the job are tried again, as another job of its workspace."""

    key: JobKey
    new_job_id: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody wants a job not to be called."""

    key: JobKey
    stop: Stop


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Somebody waits no longer for a job at the robot, which may still do it."""

    key: JobKey
    stop: Stop


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
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
