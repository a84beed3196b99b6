"""Claims, call slots and the payloads of waiting jobs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.claims import CallSlots, Claim, PayloadCache
from streams.core.job import JobKey
from tests.core.builders import CALLED, KEY
from tests.unit.builders import PASSWORD, encoded

OTHER = JobKey("workspace-1", "job-2")


def test_a_claim_shows_no_payload_in_its_repr() -> None:
    claim = Claim(CALLED, encoded())
    assert PASSWORD.encode() in claim.payload
    assert PASSWORD not in repr(claim)
    assert "portal-user" not in str(claim)
    assert "job-1" in repr(claim)


def test_slots_can_be_taken_up_to_their_limit() -> None:
    slots = CallSlots(2)
    assert (slots.available, slots.in_flight) == (True, 0)
    slots.take()
    assert (slots.available, slots.in_flight) == (True, 1)
    slots.take()
    assert (slots.available, slots.in_flight) == (False, 2)


def test_a_slot_that_is_not_free_cannot_be_taken() -> None:
    slots = CallSlots(1)
    slots.take()
    with pytest.raises(ValueError, match="no call slot is free"):
        slots.take()
    assert slots.in_flight == 1


def test_a_released_slot_is_free_before_anybody_is_told() -> None:
    seen: list[bool] = []
    slots = CallSlots(1)
    slots.on_release = lambda: seen.append(slots.available)
    slots.take()
    assert seen == []
    slots.release()
    assert seen == [True]
    assert slots.in_flight == 0


def test_who_is_told_of_a_release_can_be_said_at_once() -> None:
    told: list[str] = []
    slots = CallSlots(1, lambda: told.append("released"))
    slots.take()
    slots.release()
    assert told == ["released"]


def test_a_slot_can_be_given_back_when_nobody_is_to_be_told() -> None:
    slots = CallSlots(1)
    slots.take()
    slots.release()
    assert slots.available


def test_a_payload_is_kept_up_to_exactly_the_bound() -> None:
    cache = PayloadCache(10)
    cache.offer(KEY, b"x" * 10)
    assert cache.get(KEY) == b"x" * 10
    cache.offer(OTHER, b"y")
    assert cache.get(OTHER) is None


def test_a_payload_over_the_bound_is_not_kept_and_pushes_nobody_out() -> None:
    cache = PayloadCache(10)
    cache.offer(KEY, b"x" * 4)
    cache.offer(OTHER, b"y" * 7)
    assert cache.get(OTHER) is None
    assert cache.get(KEY) == b"x" * 4


def test_a_dropped_payload_makes_room() -> None:
    cache = PayloadCache(10)
    cache.offer(KEY, b"x" * 10)
    cache.drop(KEY)
    assert cache.get(KEY) is None
    cache.offer(OTHER, b"y" * 10)
    assert cache.get(OTHER) == b"y" * 10


def test_to_drop_what_is_not_there_makes_no_room() -> None:
    cache = PayloadCache(10)
    cache.offer(KEY, b"x" * 10)
    cache.drop(OTHER)
    cache.drop(OTHER)
    cache.offer(OTHER, b"y")
    assert cache.get(OTHER) is None


def test_the_first_payload_of_a_job_is_kept_and_counted_once() -> None:
    cache = PayloadCache(10)
    cache.offer(KEY, b"x" * 5)
    cache.offer(KEY, b"z" * 5)
    cache.offer(OTHER, b"y" * 5)
    assert (cache.get(KEY), cache.get(OTHER)) == (b"x" * 5, b"y" * 5)


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
