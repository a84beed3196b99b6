"""When the watchdog ends a worker, and when it concludes nothing."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from streams.journal import Journal
from streams.ledger import Ledger
from streams.log import Reading, SourceRecord, TopicPartition, UnreadableError
from streams.metrics import Metrics
from streams.names import Topic
from streams.watchdog import (
    OUTSIDE_AFTER,
    OUTSIDE_SUSPECT_AFTER,
    STUCK_AFTER,
    SUSPECT_AFTER,
    LostMembershipError,
    StuckPartitionError,
    Watchdog,
)
from tests.core.builders import NOW
from tests.unit.builders import record

MOMENT = timedelta(seconds=1)
PATIENCE = timedelta(seconds=20)


@dataclass(eq=False)
class Worker:
    """What the watchdog looks at: one partition, read up to `done`, committed up to `committed`, with `end` behind."""

    done: int = 5
    looked: int = 5
    committed: int = 5
    end: int = 5
    records: list[SourceRecord] = field(default_factory=list)
    joined: bool = True
    reachable: bool = True
    now: datetime = NOW
    partition: int = 0

    def __post_init__(self) -> None:
        me = cast(Any, self)
        journal = Journal(Metrics())
        self.watchdog = Watchdog(
            lambda: self.joined, PATIENCE, lambda: [cast(Ledger, self)], me, lambda: self.now, journal
        )

    def processed(self, _topic: str) -> int:
        return self.done

    def looked_at(self, _topic: str) -> int:
        return self.looked

    async def end_offsets(self, topic: str) -> dict[int, int]:
        return await self._answer(topic, self.end)

    async def committed_offsets(self, topic: str) -> dict[int, int]:
        return await self._answer(topic, self.committed)

    async def _answer(self, topic: str, offset: int) -> dict[int, int]:
        if not self.reachable:
            raise UnreadableError("no broker")
        return {0: offset if topic == Topic.SUBMITTED else self.done}

    async def read(self, _place: TopicPartition, _start: int, end: int, limit: int) -> Reading:
        return Reading(self.records[:limit], end)

    async def look_after(self, wait: timedelta) -> None:
        self.now += wait
        await self.watchdog.look()


async def test_a_partition_with_records_that_nothing_happens_to_ends_the_worker_and_is_suspicious_before() -> None:
    worker = Worker(end=7, records=[record(b"", offset=5)])
    await worker.look_after(MOMENT)
    await worker.look_after(SUSPECT_AFTER)
    assert worker.watchdog.partitions_move
    await worker.look_after(MOMENT)
    assert not worker.watchdog.partitions_move
    with pytest.raises(StuckPartitionError, match=r"robot\.job\.submitted-0 stands at 5"):
        await worker.look_after(STUCK_AFTER)


async def test_records_that_are_done_but_never_committed_end_the_worker() -> None:
    worker = Worker(done=9, committed=5, end=9, records=[record(b"", offset=5)])
    await worker.look_after(MOMENT)
    with pytest.raises(StuckPartitionError, match="stands at 5"):
        await worker.look_after(STUCK_AFTER + MOMENT)


async def test_a_partition_that_moves_is_left_alone() -> None:
    worker = Worker(end=100, records=[record(b"", offset=9)])
    for _ in range(10):
        worker.done += 1
        worker.committed += 1
        await worker.look_after(STUCK_AFTER / 2)
        assert worker.watchdog.partitions_move


async def test_a_partition_that_looks_on_in_a_long_hole_is_left_alone() -> None:
    worker = Worker(end=100, records=[record(b"", offset=9)])
    for _ in range(10):
        worker.looked += 1
        await worker.look_after(STUCK_AFTER / 2)
        assert worker.watchdog.partitions_move
    worker.looked += 1
    await worker.look_after(MOMENT)
    with pytest.raises(StuckPartitionError):
        await worker.look_after(STUCK_AFTER + MOMENT)


async def test_markers_and_open_transactions_alone_end_nobody() -> None:
    worker = Worker(end=7)
    for _ in range(5):
        await worker.look_after(STUCK_AFTER)


async def test_a_worker_outside_its_group_is_ended_and_is_suspicious_before() -> None:
    worker = Worker(joined=False)
    await worker.look_after(MOMENT)
    await worker.look_after(OUTSIDE_SUSPECT_AFTER + PATIENCE)
    assert worker.watchdog.in_group
    await worker.look_after(MOMENT)
    assert not worker.watchdog.in_group
    with pytest.raises(LostMembershipError, match="not in the group since"):
        await worker.look_after(OUTSIDE_AFTER - OUTSIDE_SUSPECT_AFTER)


async def test_a_rebalance_that_ends_starts_the_time_anew() -> None:
    worker = Worker(joined=False)
    for joined in (False, True, False):
        worker.joined = joined
        await worker.look_after(OUTSIDE_AFTER)
    assert worker.watchdog.in_group


async def test_without_a_broker_nothing_is_concluded() -> None:
    worker = Worker(end=7, records=[record(b"", offset=5)], joined=False)
    await worker.look_after(MOMENT)
    worker.reachable = False
    await worker.look_after(OUTSIDE_AFTER + PATIENCE)
    worker.reachable = True
    await worker.look_after(MOMENT)
    assert worker.watchdog.partitions_move
    assert worker.watchdog.in_group
