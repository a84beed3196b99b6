"""What a transition asks of the world, to be done after its row is durable."""

from dataclasses import dataclass
from enum import StrEnum


class IgnoreReason(StrEnum):
    """Why an event changed nothing."""

    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    UNKNOWN_JOB = "unknown_job"
    NOT_DISPATCHED = "not_dispatched"
    LATE_COMPLETION = "late_completion"
    DUPLICATE_MISMATCH = "duplicate_mismatch"
    ALREADY_DECIDED = "already_decided"
    DEADLINE_MOVED = "deadline_moved"
    AGREES = "agrees"


@dataclass(frozen=True, slots=True)
class CallRobot:
    """POST the job to the robot, now or never."""


@dataclass(frozen=True, slots=True)
class PublishOutcome:
    """Write the job's one outcome record, in the transaction that writes its row."""


Effect = CallRobot | PublishOutcome
