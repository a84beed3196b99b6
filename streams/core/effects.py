"""What a transition asks of the world, to be done after its row is durable."""

from enum import StrEnum

import msgspec


class IgnoreReason(StrEnum):
    """Why an event changed nothing."""

    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    UNKNOWN_JOB = "unknown_job"
    NOT_DISPATCHED = "not_dispatched"
    LATE_COMPLETION = "late_completion"
    UNKNOWN_ITEM = "unknown_item"
    DUPLICATE_MISMATCH = "duplicate_mismatch"
    ALREADY_DECIDED = "already_decided"
    DEADLINE_MOVED = "deadline_moved"
    AGREES = "agrees"
    NOT_ENDED = "not_ended"
    ALREADY_RESUBMITTED = "already_resubmitted"
    AT_ROBOT = "at_the_robot"
    NOT_AT_ROBOT = "not_at_the_robot"
    ALREADY_ENDED = "already_ended"
    ALREADY_GIVEN_UP = "already_given_up"
    ALREADY_HELD = "already_held"
    NOT_HELD = "not_held"
    TOO_OLD = "too_old"


class CallRobot(msgspec.Struct, frozen=True):
    """POST the job to the robot, now or never."""


class PublishOutcome(msgspec.Struct, frozen=True):
    """Write the job's one outcome record, in the transaction that writes its row."""


class PublishAmendment(msgspec.Struct, frozen=True):
    """Write what is known of a job by now, which has had its outcome, in the transaction that writes its row."""


Effect = CallRobot | PublishOutcome | PublishAmendment
