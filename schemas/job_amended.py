"""`robot.job.amended`: something became known of a job that had its outcome already."""

from typing import Annotated, Literal

from pydantic import Field

from schemas._base import Count, Id, Instant, Record
from schemas._outcome import OrderOutcome


class JobAmended(Record):
    """The outcome stays as it was; this is all that is known by now. The last record of a job has the most."""

    jobId: Id
    workspaceId: Id
    outcomeId: Annotated[str, Field(min_length=1)]
    """The ce_id of the job's outcome."""
    status: Literal["completed", "failed"]
    """That of the outcome."""
    reason: Annotated[str, Field(min_length=1)] | None
    """That of the outcome; null for a completed job."""
    successCount: Count | None
    errorCount: Count | None
    """What a completion said; null where there was none."""
    orderCount: Count | None
    orders: list[OrderOutcome] | None
    """What is known of each order by now; null where the batch is not followed order by order."""
    amendedAt: Instant
