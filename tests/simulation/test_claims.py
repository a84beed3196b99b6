"""Claims that go wrong between the log and the robot, too seldom for a random world to meet them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from streams.core.job import JobKey
from streams.engine.ports import ChangelogBatch, PartitionLog
from streams.names import CHANGELOG_TABLE_KEY, Topic
from streams.wire.records import NewRecord
from tests.simulation.robots import SilentRobot
from tests.simulation.world import Plan, World, submission

KEY = JobKey("workspace-0", "job-0")


class SlowLog:
    """A log whose first commit of a job is done, and answered after so many seconds."""

    def __init__(self, log: PartitionLog, seconds: float) -> None:
        self._log = log
        self._seconds = seconds

    async def open(self, owner: bytes | None = None) -> AsyncGenerator[ChangelogBatch, None]:
        return await self._log.open(owner)

    async def close(self) -> None:
        await self._log.close()

    async def commit(self, records: Sequence[NewRecord]) -> None:
        await self._log.commit(records)
        if records[0].key != CHANGELOG_TABLE_KEY:
            seconds, self._seconds = self._seconds, 0.0
            await asyncio.sleep(seconds)


@pytest.mark.parametrize(
    ("stands_still_seconds", "calls", "reason"), [(29, 1, b'"timeout"'), (31, 0, b'"not_dispatched"')]
)
def test_a_claim_is_called_within_its_window_or_never(stands_still_seconds: float, calls: int, reason: bytes) -> None:
    world = World(0, Plan(partitions=1), lambda log: SlowLog(log, stands_still_seconds))
    world.robot = SilentRobot(world)

    async def scene() -> None:
        world.start_worker()
        world.broker.append(NewRecord(Topic.SUBMITTED, 0, None, submission(KEY, 1)))
        await world.until(lambda: world.broker.topic(Topic.FAILED))

    world.play(scene())
    assert len(world.robot.posts) == calls
    (outcome,) = world.broker.topic(Topic.FAILED)
    assert outcome.value is not None
    assert reason in outcome.value
