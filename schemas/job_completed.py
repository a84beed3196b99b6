"""`robot.job.completed`: the batch has ended in time."""

from typing import Literal

from schemas._base import Count
from schemas._outcome import Outcome


class JobCompleted(Outcome):
    """The robot reported every order. Orders may have failed: see errorCount."""

    status: Literal["completed"]
    successCount: Count
    errorCount: Count
    countsMismatch: bool
    """True when successCount + errorCount is not orderCount."""
