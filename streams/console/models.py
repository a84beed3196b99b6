"""What the pages and the API show: one model for both, with fields that are named as on the wire."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from streams.core.controls import Action
from streams.core.job import OrderStatus, Status


class View(BaseModel):
    """Base of what is shown."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class WaitView(View):
    """Something that a job waits for."""

    kind: str
    words: str
    since: datetime | None
    until: datetime | None
    place: int | None
    """In its workspace's line, from 1; null of what is no line."""
    behind: str | None


class JobView(View):
    """A job of a list."""

    workspaceId: str
    jobId: str
    status: Status
    reason: str | None
    """Why it failed."""
    state: str
    """What has become of it, in words."""
    orderCount: int | None
    submittedAt: datetime
    since: datetime
    """When it came into the state that it is in."""
    deadline: datetime | None
    endedAt: datetime | None


class OrderView(View):
    """An order of a job, and what the robot has reported of it."""

    itemId: str
    status: OrderStatus
    trackingNumber: str | None
    errorType: str | None
    errorMessage: str | None


class ControlView(View):
    """What somebody asked for, and what came of it."""

    controlId: str
    action: Action
    partitions: list[int]
    """Where it was given: one of everything in each, all others in one."""
    workspaceId: str | None
    jobId: str | None
    actor: str
    reason: str
    detail: str | None
    requestedAt: datetime
    decidedAt: datetime | None
    refused: str | None
    """Why it was refused, in words; null where it was applied anywhere, or not decided yet."""
    inForce: bool
    """Whether it is a hold that nobody has released."""


class PlaceView(View):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


class LetterView(View):
    """A dead letter. Its value is not here: it may carry credentials."""

    letterId: str
    reason: str
    message: str
    lies: PlaceView
    redriveCount: int
    workspaceId: str | None
    jobId: str | None
    letteredAt: datetime


class EventView(View):
    """Something that happened to a job."""

    at: datetime
    what: str


class SendAgainView(View):
    """Whether a job may be sent again, as far as its row tells, and why."""

    verdict: str
    because: str
    orders: list[str] = []
    """The item ids of those that may, where not all may."""
    command: str | None = None
    """What sends them again."""


class StoppedView(View):
    """Who cancelled a job or gave it up, and why."""

    controlId: str
    actor: str
    reason: str


class PutOffView(View):
    """That a job's calls were refused before any effect, or never left."""

    times: int
    since: datetime
    until: datetime
    reason: str
    robotStatus: int | None
    givesUpAt: datetime | None


class JobDetail(JobView):
    """A job with all that is known of it, by the names of `jobs show --json`."""

    waitingFor: list[WaitView]
    sendAgain: SendAgainView
    error: str | None
    robotStatus: int | None
    robotMayHaveReceived: bool
    robotRestartedAt: datetime | None
    dispatchedAt: datetime | None
    calledAt: datetime | None
    answeredAt: datetime | None
    acceptedAt: datetime | None
    decideAt: datetime | None
    amendedAt: datetime | None
    claimedBy: str | None
    workerAlive: bool | None
    """Whether the worker that claimed it is in the group; null while nobody knows."""
    putOff: PutOffView | None
    control: StoppedView | None
    successCount: int | None
    errorCount: int | None
    countsMismatch: bool
    resubmissionOf: str | None
    resubmittedAs: str | None
    source: PlaceView
    orders: list[OrderView] | None
    """Null where the batch is not followed order by order."""
    history: list[EventView]
    controls: list[ControlView]
    deadLetters: list[LetterView]


class CountView(View):
    """How many jobs there are of a status and a reason."""

    status: Status
    reason: str | None
    count: int


class LetterCountView(View):
    """How many letters there are of a topic and a reason, and what can be done about them."""

    topic: str
    reason: str
    count: int
    step: str


class WorkerView(View):
    """A worker that has partitions, or is a member of the group."""

    workerId: str
    partitions: list[int]
    since: datetime | None
    """When it opened the first of them."""
    alive: bool | None
    """Whether it is in the group; null while nobody knows."""
    robotAwaySince: datetime | None


class KafkaView(View):
    """How fresh all of this is."""

    problem: str | None
    """Why nothing can be read of Kafka now; null while it can."""
    behind: int | None
    """Records that there were at the start and that are not taken in yet; null before the first look."""
    lag: dict[str, int]
    """How many records of each source wait for the workers."""
    lookedAt: datetime | None


class Summary(View):
    """How everything is."""

    at: datetime
    kafka: KafkaView
    jobs: list[CountView]
    oldestWaiting: JobDetail | None
    due: list[JobView]
    holds: list[ControlView]
    workers: list[WorkerView]
    letters: list[LetterCountView]
