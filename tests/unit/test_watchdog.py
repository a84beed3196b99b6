"""When the watchdog ends a worker, and when it concludes nothing."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from streams.engine.ledger import Ledger
from streams.engine.ports import Reading, UnreadableError
from streams.engine.rules import WatchdogLimits
from streams.engine.runtime import Runtime, Supervisor
from streams.engine.watchdog import LostMembershipError, MovedBrokersError, StuckPartitionError, Watchdog
from streams.names import SOURCE_TOPICS, Topic
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.records import SourceRecord, TopicPartition
from tests.core.builders import NOW
from tests.support.engine import rules_of
from tests.unit.builders import record

MOMENT = timedelta(seconds=1)
PATIENCE = timedelta(seconds=20)
LIMITS = WatchdogLimits()


@dataclass(eq=False)
class Worker:
    """What the watchdog looks at: one partition, read up to `done`, committed up to `committed`, with `end` behind.

    From offset `undecided` on, transactions are open.
    """

    done: int = 5
    looked: int = 5
    committed: int = 5
    end: int = 5
    records: list[SourceRecord] = field(default_factory=list)
    undecided: int = 1_000
    joined: bool = True
    lacks: set[str] = field(default_factory=set)
    reachable: bool = True
    moved: bool = False
    now: datetime = NOW
    partition: int = 0
    reads: int = 0
    crashes: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        me = cast(Any, self)
        self.journal = Journal(Metrics())
        runtime = Runtime(lambda: self.now, self.journal, Supervisor(self.crashes.append))
        rules = rules_of(watchdog=LIMITS, session_timeout=PATIENCE / 2)
        self.watchdog = Watchdog(lambda: self.joined, lambda: [cast(Ledger, self)], me, rules, runtime)

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

    async def read(self, _place: TopicPartition, start: int, end: int, limit: int) -> Reading:
        self.reads += 1
        end = min(end, self.undecided)
        if start >= end:
            raise UnreadableError("an open transaction")
        return Reading([record for record in self.records if start <= record.offset < end][:limit], end)

    async def answers_anew(self) -> bool:
        return self.moved

    async def look_after(self, wait: timedelta) -> None:
        self.now += wait
        await self.watchdog.look()


def at(offset: int) -> SourceRecord:
    return record(b"", offset=offset)


async def test_a_partition_with_records_that_nothing_happens_to_ends_the_worker_and_is_suspicious_before() -> None:
    worker = Worker(end=7, records=[at(5)])
    await worker.look_after(MOMENT)
    await worker.look_after(LIMITS.suspect_after)
    assert worker.watchdog.partitions_move
    await worker.look_after(MOMENT)
    assert not worker.watchdog.partitions_move
    with pytest.raises(StuckPartitionError, match=r"robot\.job\.submitted-0 stands at 5"):
        await worker.look_after(LIMITS.stuck_after)


async def test_the_lag_of_a_source_is_shown_for_as_long_as_its_partition_is_here() -> None:
    worker = Worker(done=5, committed=3, end=9, records=[at(5)])
    shown = worker.journal.metrics.registry.get_sample_value
    place = {"topic": Topic.SUBMITTED, "partition": "0"}
    await worker.look_after(MOMENT)
    assert shown("robot_orchestrator_consumer_lag", place) == 6
    worker.lacks = {*SOURCE_TOPICS}
    await worker.look_after(MOMENT)
    assert shown("robot_orchestrator_consumer_lag", place) is None


async def test_records_that_are_done_but_never_committed_end_the_worker() -> None:
    worker = Worker(done=9, committed=5, end=9, records=[at(5)])
    await worker.look_after(MOMENT)
    with pytest.raises(StuckPartitionError, match="stands at 5"):
        await worker.look_after(LIMITS.stuck_after + MOMENT)


async def test_a_partition_that_moves_is_left_alone() -> None:
    worker = Worker(end=100, records=[at(5)])
    for _ in range(10):
        worker.done += 1
        worker.committed += 1
        await worker.look_after(LIMITS.stuck_after / 2)
        assert worker.watchdog.partitions_move


async def test_a_source_that_is_read_elsewhere_for_now_ends_nobody() -> None:
    """As the reports are while a release without them is in the group."""
    worker = Worker(end=6, records=[at(5)], lacks={*SOURCE_TOPICS})
    for _ in range(3):
        await worker.look_after(LIMITS.stuck_after)
        assert worker.watchdog.partitions_move


async def test_a_partition_that_looks_on_in_a_long_hole_is_left_alone() -> None:
    worker = Worker(end=100, records=[at(5)])
    for _ in range(10):
        worker.looked += 1
        await worker.look_after(LIMITS.stuck_after)
        assert worker.watchdog.partitions_move
    await worker.look_after(LIMITS.suspect_after + MOMENT)
    assert not worker.watchdog.partitions_move
    with pytest.raises(StuckPartitionError, match="stands at 5"):
        await worker.look_after(LIMITS.stuck_after)


async def test_a_marker_at_the_end_ends_nobody_is_not_suspicious_and_is_read_once() -> None:
    worker = Worker(end=7)
    await worker.look_after(MOMENT)
    for _ in range(5):
        await worker.look_after(LIMITS.stuck_after)
        assert worker.watchdog.partitions_move
    assert worker.reads == 1


async def test_an_open_transaction_ends_nobody_is_not_suspicious_and_is_read_seldom() -> None:
    worker = Worker(end=7, undecided=5)
    for _ in range(60):
        await worker.look_after(LIMITS.look)
        assert worker.watchdog.partitions_move
    assert worker.reads <= 60 * LIMITS.look / LIMITS.suspect_after


async def test_what_could_not_be_read_before_has_not_waited_yet() -> None:
    worker = Worker(end=6, records=[at(5)], undecided=5)
    for _ in range(10):
        await worker.look_after(LIMITS.suspect_after)
    worker.end, worker.undecided = 7, 1_000
    for _ in range(2):
        await worker.look_after(LIMITS.suspect_after)
        assert worker.watchdog.partitions_move
    await worker.look_after(MOMENT)
    assert not worker.watchdog.partitions_move
    with pytest.raises(StuckPartitionError, match="stands at 5"):
        await worker.look_after(LIMITS.stuck_after)


@pytest.mark.parametrize("looks", [1, 5])
async def test_a_record_behind_a_marker_that_has_stood_for_long_has_just_come(looks: int) -> None:
    """Whether the marker is known for one by then, or not yet."""
    worker = Worker(end=6)
    for _ in range(looks):
        await worker.look_after(LIMITS.stuck_after)
    worker.end, worker.records = 7, [at(6)]
    await worker.look_after(LIMITS.stuck_after)
    assert worker.watchdog.partitions_move
    await worker.look_after(MOMENT)
    await worker.look_after(LIMITS.suspect_after + MOMENT)
    assert not worker.watchdog.partitions_move
    with pytest.raises(StuckPartitionError, match="stands at 6"):
        await worker.look_after(LIMITS.stuck_after)


async def test_time_in_a_rebalance_does_not_count() -> None:
    """It lasts as long as the session of a member that is frozen, and nobody may go on meanwhile."""
    worker = Worker(end=7, records=[at(5)])
    await worker.look_after(MOMENT)
    worker.joined = False
    for _ in range(3):
        await worker.look_after(LIMITS.stuck_after + MOMENT)
    worker.joined = True
    await worker.look_after(LIMITS.stuck_after)
    await worker.look_after(LIMITS.suspect_after)
    assert worker.watchdog.partitions_move
    with pytest.raises(StuckPartitionError, match="stands at 5"):
        await worker.look_after(LIMITS.stuck_after)


async def test_brokers_that_answer_everybody_else_have_moved() -> None:
    worker = Worker(reachable=False, moved=True)
    await worker.look_after(MOMENT)
    await worker.look_after(LIMITS.moved_after)
    with pytest.raises(MovedBrokersError, match="other addresses"):
        await worker.look_after(MOMENT)


@pytest.mark.parametrize("changes", [{"moved": False}, {"reachable": True}])
async def test_brokers_that_answer_nobody_or_us_too_have_not_moved(changes: dict[str, bool]) -> None:
    worker = Worker(reachable=False, moved=True)
    before = {name: getattr(worker, name) for name in changes}
    for _ in range(5):
        await worker.look_after(LIMITS.moved_after)
        vars(worker).update(changes)
        await worker.look_after(LIMITS.moved_after)
        vars(worker).update(before)


async def test_a_worker_outside_its_group_is_ended_and_is_suspicious_before() -> None:
    worker = Worker(joined=False)
    await worker.look_after(MOMENT)
    await worker.look_after(LIMITS.outside_suspect_after + PATIENCE)
    assert worker.watchdog.in_group
    await worker.look_after(MOMENT)
    assert not worker.watchdog.in_group
    with pytest.raises(LostMembershipError, match="not in the group since"):
        await worker.look_after(LIMITS.outside_after - LIMITS.outside_suspect_after)


async def test_a_rebalance_that_ends_starts_the_time_anew() -> None:
    worker = Worker(joined=False)
    for joined in (False, True, False):
        worker.joined = joined
        await worker.look_after(LIMITS.outside_after)
    assert worker.watchdog.in_group


async def test_without_a_broker_nothing_is_concluded() -> None:
    worker = Worker(end=7, records=[at(5)], joined=False)
    await worker.look_after(MOMENT)
    worker.reachable = False
    await worker.look_after(LIMITS.outside_after + PATIENCE)
    worker.reachable = True
    await worker.look_after(MOMENT)
    assert worker.watchdog.partitions_move
    assert worker.watchdog.in_group
