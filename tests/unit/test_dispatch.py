"""What an answer of the robot means for the job."""

import pytest

from streams.core.events import CallFailed
from streams.engine.calls import event_of
from streams.engine.ports import Rejected
from tests.core.builders import KEY, NOW


@pytest.mark.parametrize(
    ("status", "may_have_begun"),
    [
        *((status, False) for status in (400, 409, 413, 301, 307, 308)),
        *((status, True) for status in (408, 302, 303, 304, 500, 502, 504, 600)),
    ],
)
def test_only_a_clear_refusal_says_that_the_robot_has_not_begun(status: int, may_have_begun: bool) -> None:
    event = event_of(KEY, Rejected(status, "refused"), NOW)
    assert isinstance(event, CallFailed)
    assert (event.robot_may_have_received, event.robot_status) == (may_have_begun, status)
