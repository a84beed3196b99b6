"""What the two outcomes share. A job gets exactly one record over both topics."""

from schemas._base import Count, Id, Instant, Record


class Outcome(Record):
    """How a job ended. Every field is always there; what does not apply is null. Fields may be added."""

    jobId: Id
    workspaceId: Id
    orderCount: Count | None
    """Orders in the submission; null when it could not be read."""
    submittedAt: Instant
    """When the submission was taken in."""
    dispatchedAt: Instant | None
    """When the job was claimed for its last call to the robot; null where every call was refused before any effect."""
    acceptedAt: Instant | None
    """When the robot's 2xx answer came."""
    endedAt: Instant
