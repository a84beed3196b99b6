"""Which offset the hardened consumer commits, for every order in which records can end."""

from collections import defaultdict
from dataclasses import dataclass

import pytest
from faust.types import TP

from streams.faust_hardening.consumer import HardenedConsumer

PLACE = TP("robot.job.submitted", 0)


@dataclass(eq=False)
class Tracked:
    """A message as the consumer tracks it."""

    offset: int
    acked: bool = False
    tp: TP = PLACE


def consumer(acked: list[int], in_flight: list[int]) -> HardenedConsumer:
    """Return a consumer in the midst of its work; only its book-keeping exists."""
    made: HardenedConsumer = object.__new__(HardenedConsumer)
    made._acked = defaultdict(list, {PLACE: list(acked)})
    made._acked_index = defaultdict(set, {PLACE: set(acked)})
    made._gap = {}
    made._committed_offset = defaultdict(lambda: None)
    made._unacked_messages = {Tracked(offset) for offset in in_flight}  # type: ignore[misc] # all that is looked at
    return made


@pytest.mark.parametrize(
    ("acked", "in_flight", "offset"),
    [
        ([], [], None),
        ([5, 6], [], 7),
        ([6, 7], [5], None),
        ([5, 7], [6], 6),
        ([7, 5], [6, 8], 6),
        # Offsets without records: markers and aborted records, right behind the first one too.
        ([0, 3, 4], [], 5),
        ([0, 3], [4], 4),
    ],
)
def test_the_offset_is_never_past_an_unfinished_record_and_never_stuck_at_a_gap(
    acked: list[int], in_flight: list[int], offset: int | None
) -> None:
    found = consumer(acked, in_flight)._filter_committable_offsets([PLACE])
    assert found == ({} if offset is None else {PLACE: offset})


def test_what_ended_behind_an_unfinished_record_is_committed_with_it() -> None:
    working = consumer(acked=[5, 7], in_flight=[6])
    assert working._filter_committable_offsets([PLACE]) == {PLACE: 6}
    working._unacked_messages = set()
    working._acked[PLACE].append(6)
    assert working._filter_committable_offsets([PLACE]) == {PLACE: 8}
