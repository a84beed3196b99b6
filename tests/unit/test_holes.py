"""Offsets that were jumped over: which of them end the worker, and how a long hole is read."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from streams.engine.holes import TELL_EVERY, HoleCheck, LostRecordsError
from streams.engine.ports import Reading, UnreadableError
from streams.names import SOURCE_TOPICS, LogEvent, Topic
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.records import NewRecord, SourceRecord, TopicPartition
from tests.core.builders import NOW
from tests.simulation.broker import SimulatedBroker, SimulatedReader, State

# What one reading goes over.
MOST = 3
MOMENT = timedelta(seconds=1)


class Log(SimulatedReader):
    """A partition of each source topic, and a note of every range that was read."""

    def __init__(self, *, most: int = MOST) -> None:
        self.broker = SimulatedBroker(1, lambda: NOW)
        self.readable = True
        self.ranges: list[tuple[str, int, int]] = []
        super().__init__(self.broker, self._io, most)

    async def _io(self) -> None:
        if not self.readable:
            raise UnreadableError("no broker")

    async def read(self, place: TopicPartition, start: int, end: int, limit: int) -> Reading:
        reading = await super().read(place, start, end, limit)
        self.ranges.append((place.topic, start, reading.position))
        return reading

    def write(self, *states: State, topic: Topic = Topic.SUBMITTED) -> None:
        for state in states:
            self.broker.append(NewRecord(topic, 0, None, b"x"), state)

    def records(self, *offsets: int, topic: Topic = Topic.SUBMITTED) -> list[SourceRecord]:
        by_offset = {record.offset: record for record in self.broker.committed(TopicPartition(topic, 0))}
        return [by_offset[offset] for offset in offsets]

    def check_from(self, offset: int) -> HoleCheck:
        check = HoleCheck(0, self, Journal(Metrics()))
        for topic in SOURCE_TOPICS:
            check.begin(topic, offset)
        return check


async def test_what_was_compared_for_records_that_were_dropped_is_compared_again() -> None:
    """Until they come again something else may be in front of them."""
    log = Log(most=2)
    log.write(*4 * [State.ABORTED], State.COMMITTED)
    check = log.check_from(0)
    assert not await check.check(log.records(4), NOW)
    assert check.looked_at(Topic.SUBMITTED) == 2
    check.begin_anew()
    assert check.looked_at(Topic.SUBMITTED) == 0
    log.ranges.clear()
    assert await readings_until_passed(check, log.records(4)) == 2
    assert log.ranges[0][1] == 0


async def readings_until_passed(check: HoleCheck, records: Sequence[SourceRecord], now: datetime = NOW) -> int:
    """Check again and again; return how often that took."""
    count = 1
    while not await check.check(records, now):
        count += 1
    return count


async def test_records_without_a_hole_between_them_are_not_looked_for() -> None:
    log = Log()
    log.write(*[State.COMMITTED] * 5)
    check = log.check_from(1)
    assert await check.check(log.records(1, 2), NOW)
    assert await check.check(log.records(3, 4), NOW)
    assert log.ranges == []


async def test_a_record_that_was_jumped_over_ends_the_worker() -> None:
    log = Log()
    log.write(*[State.COMMITTED] * 3)
    with pytest.raises(LostRecordsError, match=r"robot\.job\.submitted-0@1 was skipped"):
        await log.check_from(0).check(log.records(0, 2), NOW)


async def test_a_record_that_was_jumped_over_when_others_came_again_ends_the_worker() -> None:
    """After a rebalance offsets come again that are below those expected."""
    log = Log(most=100)
    log.write(*[State.COMMITTED] * 10)
    check = log.check_from(0)
    assert await check.check(log.records(*range(10)), NOW)
    with pytest.raises(LostRecordsError, match="@6 was skipped"):
        await check.check(log.records(5, 8), NOW)


async def test_a_long_hole_is_read_to_its_end_and_no_part_of_it_twice() -> None:
    log = Log()
    log.write(State.COMMITTED, *[State.ABORTED] * 3 * MOST, State.COMMITTED, State.COMMITTED)
    check = log.check_from(0)
    seen = log.records(0, 3 * MOST + 1)
    looked = []
    while not await check.check(seen, NOW):
        looked.append(check.looked_at(Topic.SUBMITTED))
        # Others come in behind meanwhile.
        seen = log.records(0, 3 * MOST + 1, 3 * MOST + 2)
    assert looked == [3, 6, 9]
    assert log.ranges == [(Topic.SUBMITTED, start, min(start + MOST, 11)) for start in (0, 3, 6, 9)]
    assert check.looked_at(Topic.SUBMITTED) == 3 * MOST + 3


async def test_a_record_deep_in_a_long_hole_ends_the_worker() -> None:
    log = Log()
    log.write(*[State.ABORTED] * 2 * MOST, State.COMMITTED, State.COMMITTED)
    check = log.check_from(0)
    with pytest.raises(LostRecordsError, match="@6 was skipped"):
        await readings_until_passed(check, log.records(7))


async def test_a_hole_of_one_topic_is_not_read_again_while_the_other_s_is_being_read() -> None:
    log = Log()
    for topic in SOURCE_TOPICS:
        log.write(*[State.ABORTED] * 2 * MOST, State.COMMITTED, topic=topic)
    records = [record for topic in SOURCE_TOPICS for record in log.records(2 * MOST, topic=topic)]
    await readings_until_passed(log.check_from(0), records)
    assert log.ranges == [(topic, start, start + MOST) for topic in SOURCE_TOPICS for start in (0, MOST)]


async def test_the_next_hole_is_read_from_its_own_beginning() -> None:
    log = Log()
    log.write(*[State.ABORTED] * 2 * MOST, State.COMMITTED, State.COMMITTED, State.COMMITTED)
    check = log.check_from(0)
    await readings_until_passed(check, log.records(2 * MOST))
    with pytest.raises(LostRecordsError, match="@7 was skipped"):
        await check.check(log.records(8), NOW)


def told(logs: Sequence[Any]) -> list[tuple[int, str | None]]:
    """Return how far the reading had come at each line, and what was in its way."""
    place = {"topic": Topic.SUBMITTED, "partition": 0, "start": 0, "end": 100, "log_level": "warning"}
    for line in logs:
        assert line | place | {"event": LogEvent.READING_HOLE} == line
    return [(line["position"], line["error"]) for line in logs]


async def test_a_long_hole_is_told_of_at_once_and_then_now_and_again() -> None:
    log = Log(most=10)
    log.write(*[State.ABORTED] * 100, State.COMMITTED)
    check, now = log.check_from(0), NOW
    with capture_logs() as logs:
        while not await check.check(log.records(100), now):
            now += TELL_EVERY / 2
    assert told(logs) == [(10, None), (30, None), (50, None), (70, None), (90, None)]


async def test_a_hole_that_cannot_be_read_is_told_of_and_read_on_when_it_can() -> None:
    log = Log(most=50)
    log.write(*[State.ABORTED] * 100, State.COMMITTED)
    check = log.check_from(0)
    assert not await check.check(log.records(100), NOW)
    log.readable = False
    with capture_logs() as logs:
        assert not await check.check(log.records(100), NOW + TELL_EVERY)
    assert told(logs) == [(50, "no broker")]
    log.readable = True
    assert await check.check(log.records(100), NOW + TELL_EVERY)
    assert log.ranges == [(Topic.SUBMITTED, 0, 50), (Topic.SUBMITTED, 50, 100)]


async def test_a_short_hole_is_told_to_nobody() -> None:
    log = Log()
    log.write(State.ABORTED, State.MARKER, State.COMMITTED)
    with capture_logs() as logs:
        assert await log.check_from(0).check(log.records(2), NOW)
    assert logs == []
