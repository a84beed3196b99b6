"""`robot.order.reported`: the robot has reported one order of a batch, and the callback bridge has taken it."""

from typing import Annotated, Final, Literal

from pydantic import StringConstraints

from schemas._base import Id, Instant, Record

TRACKING_NUMBER_MAX_LENGTH: Final = 100
ERROR_TYPE_MAX_LENGTH: Final = 50
ERROR_MESSAGE_MAX_LENGTH: Final = 500
"""Characters. The bridge cuts what is longer; a record that is longer all the same is a dead letter."""


class OrderReported(Record):
    """What the robot reported of an order. The first report of an order counts."""

    workspaceId: Id
    jobId: Id
    itemId: Id
    status: Literal["success", "error"]
    trackingNumber: Annotated[str, StringConstraints(max_length=TRACKING_NUMBER_MAX_LENGTH)] | None = None
    errorType: Annotated[str, StringConstraints(max_length=ERROR_TYPE_MAX_LENGTH)] | None = None
    """The robot's own code: validation, portal, timeout or unknown by now."""
    errorMessage: Annotated[str, StringConstraints(max_length=ERROR_MESSAGE_MAX_LENGTH)] | None = None
    """The robot's own words, as it sent them: they may hold what it typed in."""
    reportedAt: Instant
    """When the bridge took the report."""
