"""`robot.job.failed`: the job has ended without a completion."""

from typing import Annotated, Final, Literal

from pydantic import Field

from schemas._base import Id, Record
from schemas._outcome import Outcome
from streams.core.job import FailureReason

ERROR_MAX_LENGTH: Final = 2048


class StoppedBy(Record):
    """Who ended a job, by which control, and why."""

    controlId: Id
    actor: Id
    reason: str


class JobFailed(Outcome):
    """The job is not tried again. Look at robotMayHaveReceived before you submit its orders anew."""

    status: Literal["failed"]
    reason: Annotated[str, Field(min_length=1, examples=[reason.value for reason in FailureReason])]
    """Why, as a code. The list may grow: take an unknown one as a plain failure."""
    error: Annotated[str, Field(max_length=ERROR_MAX_LENGTH)]
    """Why, for people: bounded and scrubbed of secrets."""
    robotMayHaveReceived: bool
    """True when the robot may have typed orders in, so that submitting them again can ship them twice."""
    robotStatus: Annotated[int, Field(ge=100, le=999)] | None
    """HTTP status of the robot's answer; null when it gave none."""
    control: StoppedBy | None = None
    """Of a job that was cancelled or given up; else null."""
