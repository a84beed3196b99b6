"""Finding the next record: what is read, what is never read again, and what is not known yet."""

from typing import cast

import pytest

from streams.engine.barrier import ReadBarrier
from streams.engine.gaps import Gaps
from streams.engine.ledger import Ledger
from streams.engine.ports import Reading, UnreadableError
from streams.names import Topic
from streams.wire.records import NewRecord, TopicPartition
from tests.core.builders import NOW
from tests.simulation.broker import SimulatedBroker, SimulatedReader, State, at_once

PLACE = TopicPartition(Topic.BATCH_COMPLETED, 0)


class Log(SimulatedReader):
    """A partition with entries in these states, and a note of where every reading began."""

    def __init__(self, *states: State, most: int = 100) -> None:
        self.broker = SimulatedBroker(1, lambda: NOW)
        self.starts: list[int] = []
        super().__init__(self.broker, at_once, most)
        for state in states:
            self.write(state)

    def write(self, state: State) -> None:
        self.broker.append(NewRecord(*PLACE, None, b"x"), state)

    async def read(self, place: TopicPartition, start: int, end: int, limit: int) -> Reading:
        self.starts.append(start)
        return await super().read(place, start, end, limit)


class Standing:
    """A ledger that has applied nothing."""

    partition = 0

    def processed(self, _topic: str) -> int:
        return 0


GAP = (State.ABORTED, State.ABORTED, State.ABORTED, State.MARKER)


async def test_a_gap_is_read_once_and_what_comes_behind_it_is_read_alone() -> None:
    log = Log(*GAP)
    gaps = Gaps(log)
    for _ in range(3):
        assert await gaps.next_record(PLACE, 0, 4) == 4
        assert await gaps.next_record(PLACE, 2, 4) == 4
    assert log.starts == [0]
    log.write(State.MARKER)
    assert await gaps.next_record(PLACE, 1, 5) == 5
    assert log.starts == [0, 4]
    log.write(State.COMMITTED)
    assert await gaps.next_record(PLACE, 0, 6) == 5
    assert log.starts == [0, 4, 5]


async def test_what_lies_outside_of_the_known_gap_is_read() -> None:
    log = Log(State.COMMITTED, *GAP, State.COMMITTED, *GAP)
    gaps = Gaps(log)
    assert await gaps.next_record(PLACE, 1, 5) == 5
    assert await gaps.next_record(PLACE, 0, 5) == 0
    assert await gaps.next_record(PLACE, 1, 5) == 5
    # Between the two gaps there is a record.
    assert await gaps.next_record(PLACE, 6, 10) == 10
    assert await gaps.next_record(PLACE, 1, 10) == 5


async def test_a_long_gap_is_not_known_until_it_is_read_and_is_read_on_at_each_question() -> None:
    log = Log(*GAP, *GAP, State.COMMITTED, most=3)
    gaps = Gaps(log)
    for reached in (3, 6):
        with pytest.raises(UnreadableError, match=f"is read up to {reached} of 9"):
            await gaps.next_record(PLACE, 0, 9)
    assert await gaps.next_record(PLACE, 0, 9) == 8
    assert log.starts == [0, 3, 6]


async def test_the_barrier_reads_a_gap_once() -> None:
    log = Log(*GAP)
    barrier, ledger = ReadBarrier(log), cast(Ledger, Standing())
    ends = await barrier.ends()
    for _ in range(3):
        await barrier.check_applied(ledger, ends)
    assert log.starts == [0]
