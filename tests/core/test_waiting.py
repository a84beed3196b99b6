"""What it costs to know since when the oldest of many waiting jobs waits."""

import sys
from datetime import timedelta

from streams.core.waiting import Waiting
from tests.core.builders import NOW

MILLISECOND = timedelta(milliseconds=1)


def test_behind_a_job_that_waits_for_ever_nothing_is_kept_of_others_but_the_seconds_in_which_they_came() -> None:
    waiting = Waiting()
    waiting.add(NOW)
    for number in range(10_000):
        waiting.add(NOW + number * MILLISECOND)
        waiting.remove(NOW + number * MILLISECOND)
    assert waiting.oldest == NOW
    assert sum(map(sys.getsizeof, vars(waiting).values())) < 10_000
    waiting.remove(NOW)
    assert waiting.oldest is None
