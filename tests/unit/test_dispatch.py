"""What an answer of the robot means for the job."""

from datetime import timedelta

import pytest

from streams.core.events import CallFailed
from streams.engine.calls import event_of
from streams.engine.ports import Answer, Rejected, Unknown, Unreachable
from tests.core.builders import KEY, NOW


@pytest.mark.parametrize(
    ("status", "may_be_repeated"), [(409, True), (429, True), *((n, False) for n in (400, 404, 408, 413, 500, 503))]
)
def test_only_a_robot_that_is_busy_has_refused_before_any_effect(status: int, may_be_repeated: bool) -> None:
    event = event_of(KEY, Rejected(status, "refused", timedelta(seconds=7)), NOW)
    assert isinstance(event, CallFailed)
    assert event.may_be_repeated is may_be_repeated
    assert event.wait == timedelta(seconds=7)


@pytest.mark.parametrize(("answer", "may_be_repeated"), [(Unreachable("no"), True), (Unknown("broken"), False)])
def test_a_call_that_never_left_may_be_repeated_and_one_that_may_have_left_not(
    answer: Answer, may_be_repeated: bool
) -> None:
    event = event_of(KEY, answer, NOW)
    assert isinstance(event, CallFailed)
    assert event.may_be_repeated is may_be_repeated
