"""What the two outcomes share. A job gets exactly one record over both topics."""

from typing import Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from schemas._base import Count, Id, Instant, Record


class OrderOutcome(Record):
    """What the robot has reported of an order. The last three fields are there if they were reported."""

    itemId: Id
    status: Literal["success", "error", "unreported"]
    trackingNumber: str | None = None
    errorType: str | None = None
    errorMessage: str | None = None
    """Cut to a bound, and scrubbed of secrets."""

    @model_serializer(mode="wrap")
    def _without_nulls(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {name: value for name, value in handler(self).items() if value is not None}


class Outcome(Record):
    """How a job ended. Every field is always there; what does not apply is null. Fields may be added."""

    jobId: Id
    workspaceId: Id
    orderCount: Count | None
    """Orders in the submission; null when it could not be read."""
    orders: list[OrderOutcome] | None = None
    """What is known of each order by now; null where the batch is not followed order by order."""
    resubmissionOf: Id | None = None
    """The job whose orders this one tried again."""
    submittedAt: Instant
    """When the submission was taken in."""
    dispatchedAt: Instant | None
    """When the job was claimed for its last call to the robot; null where every call was refused before any effect."""
    acceptedAt: Instant | None
    """When the robot's 2xx answer came."""
    endedAt: Instant
