"""A job as the table knows it: never a credential, never an order."""

from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

import msgspec


class JobKey(NamedTuple):
    """What identifies a job: the same job id in two workspaces is two jobs."""

    workspace_id: str
    job_id: str

    @property
    def text(self) -> str:
        """Both in one text."""
        return text_of(self.workspace_id, self.job_id)


def text_of(workspace_id: str, job_id: str) -> str:
    """Return both ids in one text, which takes half of the room that a pair does: the first one's length leads it."""
    return f"{chr(len(workspace_id))}{workspace_id}{job_id}"


def key_of(text: str) -> JobKey:
    """Return the key whose text it is."""
    end = 1 + ord(text[0])
    return JobKey(text[1:end], text[end:])


def workspace_of(text: str) -> str:
    """Return the workspace id in a key's text."""
    return text[1 : 1 + ord(text[0])]


class Status(StrEnum):
    """Where a job is in its life; the last two are for ever."""

    # The one of an enum is a call in Python, for each row that is counted.
    __hash__ = str.__hash__

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


ENDED = frozenset({Status.COMPLETED, Status.FAILED})


class FailureReason(StrEnum):
    """Why a job failed. A closed list for us; consumers must expect it to grow."""

    TIMEOUT = "timeout"
    ROBOT_REJECTED = "robot_rejected"
    ROBOT_UNREACHABLE = "robot_unreachable"
    DISPATCH_UNKNOWN = "dispatch_unknown"
    NOT_DISPATCHED = "not_dispatched"
    INVALID_SUBMISSION = "invalid_submission"
    SUBMISSION_EXPIRED = "submission_expired"
    INTERNAL_ERROR = "internal_error"
    CANCELLED = "cancelled"
    GIVEN_UP = "given_up"


# What a robot answers that has the workspace at work, or too much to do: it refuses before any effect.
BUSY_STATUSES = frozenset({409, 429})


class OrderStatus(StrEnum):
    """What the robot has reported of an order."""

    SUCCESS = "success"
    ERROR = "error"
    UNREPORTED = "unreported"


class OrderResult(NamedTuple):
    """An order of a batch, and what the robot has reported of it. Texts are bounded and without secrets."""

    item_id: str
    status: OrderStatus = OrderStatus.UNREPORTED
    tracking_number: str | None = None
    error_type: str | None = None
    error_message: str | None = None


class Source(NamedTuple):
    """Where the submission of a job lies in Kafka: its payload is read again from there."""

    topic: str
    partition: int
    offset: int


class Stop(NamedTuple):
    """Who wants a job to end, why, and from when on it does: the id of the control, a person, and their words."""

    control_id: str
    actor: str
    reason: str
    at: datetime


class PutOff(msgspec.Struct, frozen=True, kw_only=True):
    """That a job's calls were refused before any effect, or never left, so that it waits for another one.

    `times` and `since` are of all its refusals; until `until` its workspace is not called; the rest is the last one's.
    From `gives_up_at` on another refusal ends the job; None while no refusal counts against its patience.
    """

    times: int
    since: datetime
    until: datetime
    reason: FailureReason
    error: str
    robot_status: int | None = None
    gives_up_at: datetime | None = None


# Of a row, its refusals and its stop: what must be aware.
_instants = attrgetter(
    "submitted_at",
    "claimed_at",
    "accepted_at",
    "deadline",
    "ended_at",
    "amended_at",
    "called_at",
    "answered_at",
    "robot_restarted_at",
)
_instants_of_refusals = attrgetter("since", "until", "gives_up_at")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the job table. Times are aware UTC; fields of a later stage are None until it is reached.

    The `deadline` of a pending job is when it has been put off for too long. `orders` is empty where the batch is not
    followed order by order. `amended_at` is when something of a job that had ended was last learned. With
    `robot_restarted_at` the robot was started again after it had accepted the batch, and has lost it; reports of it may
    be on their way. `called_at` and `answered_at` are of the last call whose answer is known. With `stop` a job at the
    robot is given up; where it has ended, by that or by being cancelled, it says by whom. `traceparent` is the trace
    that it is part of (W3C Trace Context).
    """

    workspace_id: str
    job_id: str
    status: Status
    submitted_at: datetime
    source: Source
    fingerprint: str
    order_count: int | None = None
    claimed_at: datetime | None = None
    claimed_by: str | None = None
    accepted_at: datetime | None = None
    deadline: datetime | None = None
    ended_at: datetime | None = None
    success_count: int | None = None
    error_count: int | None = None
    reason: FailureReason | None = None
    error: str | None = None
    robot_status: int | None = None
    robot_may_have_received: bool = False
    put_off: PutOff | None = None
    orders: tuple[OrderResult, ...] = ()
    amended_at: datetime | None = None
    resubmission_of: str | None = None
    resubmitted_as: str | None = None
    robot_restarted_at: datetime | None = None
    called_at: datetime | None = None
    answered_at: datetime | None = None
    stop: Stop | None = None
    traceparent: str | None = None

    def __post_init__(self) -> None:
        instants = _instants(self)
        if self.put_off is not None:
            instants += _instants_of_refusals(self.put_off)
        if self.stop is not None:
            instants += (self.stop.at,)
        for instant in instants:
            if instant is not None and instant.tzinfo is None:
                raise ValueError(f"a naive datetime in job {self.job_id}: {instant}")

    @property
    def key(self) -> JobKey:
        """The pair that identifies the job."""
        return JobKey(self.workspace_id, self.job_id)

    @property
    def ended(self) -> bool:
        """Whether the job has its outcome."""
        return self.status in ENDED

    @property
    def decide_at(self) -> datetime | None:
        """From when on the job fails if it has not completed: its deadline, or sooner if it is given up."""
        return self.deadline if self.stop is None else self.stop.at

    @property
    def counts_mismatch(self) -> bool:
        """Whether the counts are not those of the orders that were submitted, or not what was reported of each."""
        if self.success_count is None or self.error_count is None:
            return False
        too_few = self.reported(OrderStatus.SUCCESS) > self.success_count
        too_few |= self.reported(OrderStatus.ERROR) > self.error_count
        return too_few or self.success_count + self.error_count != self.order_count

    def reported(self, status: OrderStatus) -> int:
        """Return how many orders have a status."""
        return sum(order.status is status for order in self.orders)

    @property
    def every_order_reported(self) -> bool:
        """Whether the robot has reported all orders. Of orders that share an item id one report tells too little."""
        return 0 < len(self.orders) == self.order_count and not self.reported(OrderStatus.UNREPORTED)

    @property
    def robot_is_done(self) -> bool:
        """Whether it has been told that the robot is through with the batch."""
        return self.success_count is not None or self.every_order_reported
