"""What becomes of ledgers and records when rebalances come at a bad moment."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from streams.core.events import BatchLost, Event
from streams.core.job import JobKey, Status
from streams.engine.partition import GATHER_MAX_SECONDS
from streams.engine.partitions import Partitions
from streams.engine.runtime import Runtime, Supervisor
from streams.engine.turns import Turns
from streams.names import SOURCE_TOPICS, Topic
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.records import SourceRecord, TopicPartition
from tests.core.builders import NOW
from tests.simulation.loop import in_virtual_time
from tests.unit.builders import record

# For what takes some turns of the event loop, and pauses of milliseconds.
PATIENCE = 5
# More than is done in a test.
MUCH = 1_000_000


class SlowLedger:
    """A ledger and its log; it is open when `may_open` is set."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.admitting = True
        self.records_loaded = 0
        self.opening = False
        self.closed = False
        self.may_open = asyncio.Event()
        self.lacks: set[str] = set()
        # How many steps there are to do, and how many have been done; they end as long as `may_step` is set.
        self.work = self.steps = 0
        self.may_step = asyncio.Event()
        self.stepping = False
        self.delivered: list[SourceRecord] = []
        self.told: list[Event] = []
        # When the robot accepted a batch of it, if it did.
        self.accepted_at: datetime | None = None

    @property
    def has_batches_at_robot(self) -> bool:
        return self.accepted_at is not None

    def accepted_before(self, instant: datetime) -> list[JobKey]:
        return [] if self.accepted_at is None or self.accepted_at >= instant else [JobKey("w", f"j{self.partition}")]

    def tell(self, event: Event) -> None:
        self.told.append(event)

    async def open(self, _now: object) -> None:
        self.opening = True
        await self.may_open.wait()

    def deliver(self, record: SourceRecord, _acknowledge: Callable[[], None]) -> None:
        self.delivered.append(record)

    def drop_records(self) -> None:
        assert not self.stepping
        self.delivered.clear()

    def has_work(self, _now: object) -> bool:
        return self.queued > 0

    @property
    def queued(self) -> int:
        return self.work - self.steps

    def to_do(self, _slots: int) -> int:
        return self.queued

    async def step(self, _clock: object) -> bool:
        self.stepping = True
        await self.may_step.wait()
        self.stepping = False
        self.steps += 1
        return True

    @property
    def jobs_by_status(self) -> Counter[Status]:
        return Counter()

    async def close(self) -> None:
        assert not self.stepping
        self.closed = True


class Scene:
    """Partitions over such ledgers, in the order in which they were made."""

    def __init__(self) -> None:
        self.made: list[SlowLedger] = []
        self.crashes: list[BaseException] = []
        runtime = Runtime(lambda: NOW, Journal(Metrics()), Supervisor(self.crashes.append))
        self.partitions = Partitions(self._make, Turns(dict), runtime)

    def _make(self, number: int) -> Any:
        ledger = SlowLedger(number)
        self.made.append(ledger)
        return ledger


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not look():
            await asyncio.sleep(0)


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_an_opening_that_a_rebalance_meets_is_given_up(scene: Scene) -> None:
    await scene.partitions.assign({0}, generation=1)
    await turn()
    assert scene.made[0].opening
    await scene.partitions.suspend()
    scene.made[0].may_open.set()
    await turn()
    assert scene.made[0].closed
    assert not scene.partitions.open_ledgers()


async def test_an_opening_that_swallows_its_cancellation_is_given_up_as_well(scene: Scene) -> None:
    """As aiokafka does where it closes a consumer: whoever waits for the end of it would wait for ever."""

    async def swallowing(ledger: SlowLedger, _now: object) -> None:
        ledger.opening = True
        with contextlib.suppress(asyncio.CancelledError):
            await ledger.may_open.wait()

    await scene.partitions.assign({0}, generation=1)
    ledger = scene.made[0]
    ledger.open = partial(swallowing, ledger)  # type: ignore[method-assign] # for this one
    await turn()
    assert ledger.opening
    async with asyncio.timeout(PATIENCE):
        await scene.partitions.suspend()
    assert ledger.closed
    assert not scene.partitions.open_ledgers()


async def test_nothing_is_opened_for_an_assignment_that_is_over(scene: Scene) -> None:
    await scene.partitions.assign({0}, generation=1)
    await turn()
    scene.made[0].may_open.set()
    await turn()
    assigning = asyncio.create_task(scene.partitions.assign({1}, generation=2))
    # It closes the other partition first, which takes longer than this.
    await asyncio.sleep(0)
    await scene.partitions.suspend()
    await assigning
    await turn()
    assert not scene.made[1].opening
    assert not scene.partitions.ready
    await scene.partitions.assign({1}, generation=3)
    await turn()
    assert scene.made[-1].opening


async def test_a_partition_knows_which_of_its_sources_are_read_elsewhere_until_they_are_not(scene: Scene) -> None:
    here = {TopicPartition(topic, number) for topic in SOURCE_TOPICS for number in (0, 1)}
    for generation, elsewhere in ((1, TopicPartition(Topic.ORDER_REPORTED, 1)), (2, None)):
        await scene.partitions.assign({0, 1}, generation, here - {elsewhere})
        assert [each.lacks for each in scene.made] == [set(), {elsewhere.topic} if elsewhere else set()]


async def test_a_record_of_a_partition_that_has_moved_away_is_left_to_its_owner(scene: Scene) -> None:
    await scene.partitions.assign({0, 1}, generation=1)
    await scene.partitions.suspend()
    await scene.partitions.assign({1}, generation=2)
    scene.partitions.deliver(record(b"moved", partition=0), lambda: None)
    scene.partitions.deliver(record(b"here", partition=1), lambda: None)
    assert [each.value for ledger in scene.made for each in ledger.delivered] == [b"here"]


async def test_what_is_open_goes_on_in_a_rebalance_and_ends_with_its_transaction_if_it_moves(scene: Scene) -> None:
    await scene.partitions.assign({0, 1}, generation=1)
    stays, moves = scene.made
    for ledger in scene.made:
        ledger.work = MUCH
        ledger.may_open.set()
        ledger.may_step.set()
    await until(lambda: stays.steps and moves.steps)
    await scene.partitions.suspend()
    steps = stays.steps, moves.steps
    await until(lambda: stays.steps > steps[0] and moves.steps > steps[1])
    moves.may_step.clear()
    await until(lambda: moves.stepping)
    assigning = asyncio.create_task(scene.partitions.assign({0}, generation=2))
    await turn()
    assert not moves.closed
    moves.may_step.set()
    await assigning
    assert moves.closed
    assert scene.made == [stays, moves]
    assert not scene.crashes


async def test_transactions_that_are_under_way_end_though_others_follow_all_the_time(scene: Scene) -> None:
    """A worker that drains waits for the answers that are being written down, and may be as busy as ever."""
    await scene.partitions.assign({0, 1}, generation=1)
    for ledger in scene.made:
        ledger.work = MUCH
        ledger.may_open.set()
    await until(lambda: all(ledger.stepping for ledger in scene.made))
    finishing = asyncio.create_task(scene.partitions.finish_steps())
    await turn()
    assert not finishing.done()
    for ledger in scene.made:
        ledger.may_step.set()
    await until(finishing.done)
    await until(lambda: all(ledger.steps > 1 for ledger in scene.made))


async def test_of_records_only_those_of_a_transaction_under_way_are_not_dropped(scene: Scene) -> None:
    await scene.partitions.assign({0, 1}, generation=1)
    works, loads = scene.made
    works.work = MUCH
    works.may_open.set()
    await until(lambda: works.stepping)
    for number in (0, 1):
        scene.partitions.deliver(record(b"queued", partition=number), lambda: None)
    dropping = asyncio.create_task(scene.partitions.drop_records())
    await turn()
    assert not dropping.done()
    works.work = 1
    works.may_step.set()
    await dropping
    assert works.steps == 1
    assert [*works.delivered, *loads.delivered] == []


async def test_after_records_were_dropped_none_is_taken_until_the_rebalance_is_over(scene: Scene) -> None:
    """The one before it may be among them."""
    await scene.partitions.assign({0}, generation=1)
    await scene.partitions.drop_records()
    scene.partitions.deliver(record(b"late", partition=0), lambda: None)
    await scene.partitions.suspend()
    await scene.partitions.assign({0}, generation=2)
    scene.partitions.deliver(record(b"again", partition=0), lambda: None)
    assert [each.value for ledger in scene.made for each in ledger.delivered] == [b"again"]


async def test_tables_that_are_being_loaded_show_that_they_get_on(scene: Scene) -> None:
    """Without a bound on how long it takes, a worker that loads must not look like one that is lost."""
    await scene.partitions.assign({0, 1}, generation=1)
    await turn()
    assert not scene.partitions.has_loaded_more()
    scene.made[0].records_loaded = 10
    assert scene.partitions.has_loaded_more()
    assert not scene.partitions.has_loaded_more()
    scene.made[1].records_loaded = 10
    assert scene.partitions.has_loaded_more()


@in_virtual_time
async def test_a_partition_works_as_soon_as_its_own_table_is_loaded() -> None:
    scene = Scene()
    await scene.partitions.assign({0, 1}, generation=1)
    await turn()
    loaded, loading = scene.made
    for ledger in scene.made:
        ledger.work = 2
        ledger.may_step.set()
    loaded.may_open.set()
    await asyncio.sleep(3 * GATHER_MAX_SECONDS)
    assert [ledger.partition for ledger in scene.partitions.open_ledgers()] == [loaded.partition]
    assert (loaded.steps, loading.steps) == (2, 0)
    assert not scene.partitions.ready, "the worker says so once all of them are"
    loading.may_open.set()
    await asyncio.sleep(3 * GATHER_MAX_SECONDS)
    assert (loaded.steps, loading.steps) == (2, 2)
    assert scene.partitions.ready


async def test_of_a_restarted_robot_each_partition_is_told_what_it_has_lost_once_it_is_loaded(scene: Scene) -> None:
    await scene.partitions.assign({0, 1, 2}, generation=1)
    await turn()
    later, lost, loading = scene.made
    later.accepted_at, lost.accepted_at, loading.accepted_at = NOW, *2 * [NOW - timedelta(seconds=1)]
    assert not scene.partitions.has_batches_at_robot
    later.may_open.set()
    lost.may_open.set()
    await turn()
    assert scene.partitions.has_batches_at_robot
    scene.partitions.lose_batches(NOW, NOW + timedelta(seconds=2))
    assert [ledger.told for ledger in scene.made] == [
        [],
        [BatchLost(JobKey("w", "j1"), NOW + timedelta(seconds=2))],
        [],
    ]
