"""Claims, call slots and the payloads of waiting jobs."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.job import JobKey
from streams.engine.claims import CallSlots, Claimant, PayloadCache


class Line:
    """The workspaces of a partition, each with jobs without end; each slot is one of them served."""

    def __init__(self, slots: CallSlots, ready: int) -> None:
        self.rounds: Counter[int] = Counter()
        self.served = 0
        self._slots = slots
        slots.enter(self)
        self.become_ready(ready)

    def become_ready(self, workspaces: int) -> None:
        self.rounds[self._slots.round_after(None)] += workspaces
        self.rounds = +self.rounds

    def take(self) -> None:
        number = min(self.rounds)
        self._slots.take(self)
        self.served += 1
        self.rounds[number] -= 1
        self.rounds[self._slots.round_after(number)] += 1
        self.rounds = +self.rounds


def serve(slots: CallSlots, lines: Sequence[Line], times: int) -> list[int]:
    """Give the one slot away so many times, to whoever it is offered."""
    for _ in range(times):
        (line,) = [line for line in lines if slots.share(line, line.rounds)]
        line.take()
        slots.release()
    return [line.served for line in lines]


def test_slots_can_be_taken_up_to_their_limit() -> None:
    slots = CallSlots(2)
    line = Line(slots, 5)
    assert (slots.share(line, line.rounds), slots.in_flight) == (2, 0)
    line.take()
    assert (slots.share(line, line.rounds), slots.in_flight) == (1, 1)
    line.take()
    assert (slots.share(line, line.rounds), slots.in_flight) == (0, 2)
    with pytest.raises(ValueError, match="no call slot is free"):
        line.take()
    assert slots.in_flight == 2


def test_a_released_slot_is_offered_and_belongs_to_who_may_take_it() -> None:
    offers: list[Mapping[Claimant, int]] = []
    slots = CallSlots(1, lambda: offers.append(slots.shares()))
    lines = [Line(slots, 1), Line(slots, 1)]
    lines[0].take()
    assert (offers, slots.shares()) == ([], {})
    slots.release()
    assert offers == [{lines[1]: 1}]
    assert slots.in_flight == 0


def test_a_slot_belongs_to_nobody_where_nobody_waits() -> None:
    slots = CallSlots(1)
    Line(slots, 0)
    assert slots.shares() == {}


def test_who_is_next_takes_half_of_the_slots_at_once() -> None:
    """Each of them would need a transaction, whatever it carries."""
    slots = CallSlots(10)
    lines = [Line(slots, 100) for _ in range(3)]
    assert slots.shares() == {lines[0]: 5, lines[1]: 5}
    for _ in range(5):
        lines[0].take()
    assert slots.shares() == {lines[1]: 5}


def test_partitions_with_equally_many_workspaces_have_equally_many_turns() -> None:
    slots = CallSlots(1)
    lines = [Line(slots, 100) for _ in range(8)]
    assert serve(slots, lines, 80) == [10] * 8


def test_every_workspace_has_as_many_turns_as_the_next_one_in_whichever_partition_it_lies() -> None:
    slots = CallSlots(1)
    lines = [Line(slots, ready) for ready in (1, 2, 7)]
    assert serve(slots, lines, 100) == [10, 20, 70]


def test_free_slots_are_shared_as_if_they_were_taken_one_after_the_other() -> None:
    slots = CallSlots(10)
    lines = [Line(slots, ready) for ready in (1, 2, 17)]
    assert [slots.share(line, line.rounds) for line in lines] == [1, 2, 7]


def test_who_had_nothing_to_call_for_long_is_not_owed_the_turns_of_that_time() -> None:
    slots = CallSlots(1)
    lines = [Line(slots, 5), Line(slots, 0)]
    serve(slots, lines, 1000)
    lines[1].become_ready(5)
    before = [line.served for line in lines]
    after = serve(slots, lines, 20)
    served = [late - early for early, late in zip(before, after, strict=True)]
    # Within a round: five workspaces each.
    assert abs(served[0] - served[1]) <= 5


def test_who_comes_late_to_a_long_round_takes_turns_from_then_on() -> None:
    slots = CallSlots(1)
    lines = [Line(slots, 100), Line(slots, 0)]
    before = serve(slots, lines, 40)
    lines[1].become_ready(100)
    after = serve(slots, lines, 20)
    assert [late - early for early, late in zip(before, after, strict=True)] == [10, 10]


def test_a_partition_that_moved_away_has_no_share() -> None:
    slots = CallSlots(1)
    gone, here = Line(slots, 5), Line(slots, 5)
    slots.leave(gone)
    assert (slots.share(gone, gone.rounds), slots.share(here, here.rounds)) == (0, 1)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 6))), st.integers(0, 12))
def test_whatever_is_offered_and_dropped_the_bound_holds_and_room_is_never_lost(
    steps: list[tuple[str, int]], bound: int
) -> None:
    """A size of 0 stands for dropping the job's payload."""
    cache = PayloadCache(bound)
    kept: dict[str, int] = {}
    for name, size in steps:
        key = JobKey("workspace-1", name)
        if size == 0:
            cache.drop(key)
            kept.pop(name, None)
        else:
            cache.offer(key, b"x" * size)
            if name not in kept and sum(kept.values()) + size <= bound:
                kept[name] = size
        held = {other: cache.get(JobKey("workspace-1", other)) for other in "abcd"}
        assert {other: len(payload) for other, payload in held.items() if payload is not None} == kept
