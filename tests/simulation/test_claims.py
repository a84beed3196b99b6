"""Claims that go wrong between the log and the robot, too seldom for a random world to meet them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from streams.core.job import JobKey
from streams.engine.ports import ChangelogBatch, FencedError, PartitionLog
from streams.names import CHANGELOG_TABLE_KEY, Topic
from streams.wire.records import NewRecord
from tests.simulation.robots import SilentRobot
from tests.simulation.worker import SimulatedWorker
from tests.simulation.world import Plan, World, submission

KEY = JobKey("workspace-0", "job-0")


class HeldLog:
    """A log whose first commit of a job is under way, or done without an answer, until somebody lets it go on."""

    def __init__(self, log: PartitionLog, seconds: float = 0.0, error: Exception | None = None) -> None:
        self._log = log
        self._seconds = seconds
        self._error = error
        self.held = asyncio.Event()
        self.go_on = asyncio.Event()

    async def open(self, owner: bytes | None = None) -> AsyncGenerator[ChangelogBatch, None]:
        return await self._log.open(owner)

    async def close(self) -> None:
        await self._log.close()

    async def commit(self, records: Sequence[NewRecord]) -> None:
        if self._error is None:
            await self._log.commit(records)
        if not self.held.is_set() and records[0].key != CHANGELOG_TABLE_KEY:
            self.held.set()
            await asyncio.sleep(self._seconds)
            await self.go_on.wait()
            if self._error is not None:
                raise self._error


def submit(world: World) -> None:
    world.broker.append(NewRecord(Topic.SUBMITTED, 0, None, submission(KEY, 1)))


@pytest.mark.parametrize(
    ("stands_still_seconds", "calls", "reason"), [(29, 1, b'"timeout"'), (31, 0, b'"not_dispatched"')]
)
def test_a_claim_is_called_within_its_window_or_never(stands_still_seconds: float, calls: int, reason: bytes) -> None:
    def held(log: PartitionLog) -> PartitionLog:
        slow = HeldLog(log, stands_still_seconds)
        slow.go_on.set()
        return slow

    world = World(0, Plan(partitions=1), held)
    world.robot = SilentRobot(world)

    async def scene() -> None:
        world.start_worker()
        submit(world)
        await world.until(lambda: world.broker.topic(Topic.FAILED))

    world.play(scene())
    assert len(world.robot.posts) == calls
    (outcome,) = world.broker.topic(Topic.FAILED)
    assert outcome.value is not None
    assert reason in outcome.value


def test_a_claim_that_was_not_committed_gives_its_call_slot_back() -> None:
    """Fenced in a rebalance the worker lives on, and has the one slot for whoever is next."""
    logs: list[HeldLog] = []

    def fenced_once(log: PartitionLog) -> PartitionLog:
        if logs:
            return log
        logs.append(HeldLog(log, error=FencedError("opened by another worker")))
        return logs[0]

    world = World(0, Plan(partitions=1), fenced_once)
    world.robot = SilentRobot(world)

    async def scene() -> None:
        worker = SimulatedWorker(world, "worker", concurrency=1)
        partitions = worker.worker.partitions
        await partitions.assign({0}, generation=1)
        await world.until(lambda: partitions.ready)
        submit(world)
        (record,) = world.broker.topic(Topic.SUBMITTED)
        partitions.deliver(record, lambda: None)
        await logs[0].held.wait()
        suspended = world.spawn(partitions.suspend())
        await asyncio.sleep(0)
        logs[0].go_on.set()
        await suspended
        # It slept through a generation: what it had is closed and read again.
        await partitions.assign({0}, generation=3)
        await world.until(lambda: partitions.ready)
        partitions.deliver(record, lambda: None)
        await world.until(lambda: world.robot.posts)
        assert worker.crashed_by is None

    world.play(scene())
    assert [post.key for post in world.robot.posts] == [KEY]
