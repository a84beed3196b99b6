"""`robot.job.control`: somebody stops a job, or holds or releases a workspace; kept for years, as what people did."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from schemas._base import Id, Instant, Record

REASON_MAX_LENGTH = 500
"""Characters: it goes into outcomes."""


_OF_A_WORKSPACE = ("hold", "release")
_OF_A_JOB = ("cancel", "give_up", "resubmit")
# The same as the validator below.
_WHAT_IS_NAMED: JsonDict = {
    "allOf": [
        {
            "if": {"properties": {"action": {"enum": [*_OF_A_WORKSPACE]}}},
            "then": {"properties": {"jobId": {"type": "null"}}},
        },
        {
            "if": {"properties": {"action": {"enum": [*_OF_A_JOB]}}},
            "then": {
                "required": ["workspaceId", "jobId"],
                "properties": {"workspaceId": {"type": "string"}, "jobId": {"type": "string"}},
            },
        },
    ]
}


class Control(Record):
    """What somebody asks for. Each is applied once, by its controlId."""

    model_config = ConfigDict(json_schema_extra=_WHAT_IS_NAMED)

    controlId: Id
    action: Literal["hold", "release", "cancel", "give_up", "resubmit", "redrive"]
    """The last two say what was done: workers do nothing for them."""
    workspaceId: Id | None = None
    """Null in a hold or release of everything, which is a record in each partition."""
    jobId: Id | None = None
    """The job that is cancelled, given up or resubmitted; null in a hold or release."""
    actor: Id
    """Who asks for it."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=REASON_MAX_LENGTH)]
    """Why, for people."""
    requestedAt: Instant
    detail: Annotated[str, Field(max_length=REASON_MAX_LENGTH)] | None = None
    """What was done: the new job's id, or that of the letter."""

    @model_validator(mode="after")
    def _names_what_it_is_about(self) -> Self:
        if self.action in _OF_A_WORKSPACE and self.jobId is not None:
            raise ValueError("a hold or release is of a workspace or of everything, and of no single job")
        if self.action in _OF_A_JOB and (self.workspaceId is None or self.jobId is None):
            raise ValueError("which job of which workspace is not said")
        return self
