"""A robot that is started again in the middle of a batch: whoever owns the job by then says so in its row."""

import asyncio
from datetime import timedelta

import pytest

from streams.core.job import FailureReason, Job, JobKey, Status
from streams.engine.robot_watch import UPTIME_SECONDS
from streams.names import Topic
from tests.simulation.robots import SilentRobot
from tests.simulation.world import Plan, World, false_alarms, rows, submission

KEY = JobKey("workspace-0", "job-0")
DEADLINE_SECONDS = 600.0
# What a worker's start, a session and a load take, with room to spare.
TAKEOVER_SECONDS = 30.0


class Scene:
    """A worker with a job that the robot has accepted."""

    def __init__(self) -> None:
        self.world = World(0, Plan(base_seconds=DEADLINE_SECONDS))
        self.world.robot = SilentRobot(self.world)

    @property
    def row(self) -> Job | None:
        return next((job for job in reversed(rows(self.world)) if job.key == KEY), None)

    async def begin(self) -> None:
        self.world.start_worker()
        self.world.publish(Topic.SUBMITTED, KEY, submission(KEY, 1))
        await self.world.until(lambda: self.row is not None and self.row.accepted_at is not None)

    async def until_known(self, within_seconds: float) -> None:
        async with asyncio.timeout(within_seconds):
            await self.world.until(lambda: self.row is not None and self.row.robot_restarted_at is not None)


def test_a_restart_is_in_the_row_within_a_minute_and_the_job_waits_for_its_deadline() -> None:
    scene = Scene()

    async def main() -> None:
        await scene.begin()
        await asyncio.sleep(3)
        scene.world.robot.start()
        await scene.until_known(UPTIME_SECONDS + 1)
        await scene.world.until(lambda: scene.row is not None and scene.row.ended)
        row = scene.row
        assert row is not None
        assert row.deadline is not None
        assert row.ended_at is not None
        assert (row.status, row.reason, row.robot_may_have_received) == (Status.FAILED, FailureReason.TIMEOUT, True)
        assert row.deadline <= row.ended_at < row.deadline + timedelta(seconds=5)
        assert "was started again" in (row.error or "")

    scene.world.play(main())
    assert false_alarms(scene.world) == []


def test_the_next_owner_of_a_partition_finds_what_was_lost_before_its_time() -> None:
    scene = Scene()

    async def main() -> None:
        await scene.begin()
        (first,) = scene.world.live()
        first.host.die()
        await asyncio.sleep(3)
        scene.world.robot.start()
        scene.world.start_worker()
        await scene.until_known(UPTIME_SECONDS + TAKEOVER_SECONDS)

    scene.world.play(main())
    assert false_alarms(scene.world) == []


@pytest.mark.parametrize("later", [0.0, 1.5])
def test_a_batch_that_was_accepted_right_after_the_start_is_not_taken_for_lost(later: float) -> None:
    """Nor one from just before: which of both it was cannot be told from an uptime and two clocks."""
    scene = Scene()

    async def main() -> None:
        if not later:
            scene.world.robot.start()
        await scene.begin()
        await asyncio.sleep(later)
        if later:
            scene.world.robot.start()
        await asyncio.sleep(3 * UPTIME_SECONDS)
        assert scene.row is not None
        assert scene.row.robot_restarted_at is None

    scene.world.play(main())
