"""A foreign producer leaves a transaction open: whom it keeps waiting, and whom not."""

import pytest

from streams.core.job import JobKey
from streams.deadlines import PEEK_MAX_JOBS
from streams.dev.history import Post
from streams.log import NewRecord
from streams.names import Topic
from streams.placement import partition_of
from streams.robot import Accepted, Answer
from streams.robot_request import RobotRequest
from tests.simulation.broker import State
from tests.simulation.worker import Host
from tests.simulation.world import Plan, SimulatedRobot, World, completion, submission

PARTITIONS = 3


class SilentRobot(SimulatedRobot):
    """Accepts every batch and never reports."""

    async def receive(self, request: RobotRequest, _host: Host) -> Answer:
        self.posts.append(Post(JobKey(request.workspace_id, request.job_id), self.world.now()))
        return Accepted()


def key_in(partition: int, job_id: str) -> JobKey:
    """Return a job of a workspace of its own that belongs in a partition."""
    workspaces = (f"workspace-{job_id}-{number}" for number in range(1_000))
    return JobKey(next(name for name in workspaces if partition_of(name, PARTITIONS) == partition), job_id)


def failed(world: World) -> set[str]:
    return {record.key.decode() for record in world.broker.topic(Topic.FAILED) if record.key}


def completed(world: World) -> set[str]:
    return {record.key.decode() for record in world.broker.topic(Topic.COMPLETED) if record.key}


NAMED, UNNAMED, BESIDE, AT_HOME = (
    key_in(0, "named"),
    key_in(0, "unnamed"),
    key_in(1, "beside"),
    key_in(2, "at-home"),
)


@pytest.mark.parametrize("workers", [1, 3])
def test_only_the_jobs_that_it_names_and_those_of_its_own_partition_wait_for_it(workers: int) -> None:
    world = World(0, Plan(partitions=PARTITIONS))
    world.robot = SilentRobot(world)

    async def scene() -> None:
        for _ in range(workers):
            world.start_worker()
        for key in (NAMED, UNNAMED, BESIDE, AT_HOME):
            world.publish(Topic.SUBMITTED, key, submission(key, 1))
        await world.until(lambda: len(world.robot.posts) == 4)
        epoch = world.broker.fence("foreign")
        undecided = NewRecord(Topic.BATCH_COMPLETED, 2, None, completion(NAMED, 1, 0))
        world.broker.produce("foreign", epoch, undecided)
        await world.until(lambda: failed(world) >= {"unnamed", "beside"})
        waited_until = world.time() + 100
        await world.until(lambda: world.time() > waited_until)
        assert (failed(world), completed(world)) == ({"unnamed", "beside"}, set())
        world.broker.end_transaction("foreign", epoch)
        await world.until(lambda: completed(world) == {"named"} and failed(world) == {"unnamed", "beside", "at-home"})

    world.play(scene())


def test_what_it_names_and_takes_back_fails_then() -> None:
    world = World(0, Plan(partitions=PARTITIONS))
    world.robot = SilentRobot(world)

    async def scene() -> None:
        world.start_worker()
        world.publish(Topic.SUBMITTED, NAMED, submission(NAMED, 1))
        await world.until(lambda: world.robot.posts)
        epoch = world.broker.fence("foreign")
        world.broker.produce("foreign", epoch, NewRecord(Topic.BATCH_COMPLETED, 2, None, completion(NAMED, 1, 0)))
        waited_until = world.time() + 100
        await world.until(lambda: world.time() > waited_until)
        assert failed(world) == set()
        world.broker.end_transaction("foreign", epoch, State.ABORTED)
        await world.until(lambda: failed(world) == {"named"})

    world.play(scene())


def test_nobody_is_decided_where_it_names_too_many_to_look_through(monkeypatch: pytest.MonkeyPatch) -> None:
    # A worker goes over so many in one reading; a few at a time they would take an hour.
    monkeypatch.setattr("tests.simulation.worker.READ_OFFSETS", PEEK_MAX_JOBS)
    world = World(0, Plan(partitions=PARTITIONS))
    world.robot = SilentRobot(world)

    async def scene() -> None:
        world.start_worker()
        world.publish(Topic.SUBMITTED, UNNAMED, submission(UNNAMED, 1))
        await world.until(lambda: world.robot.posts)
        epoch = world.broker.fence("foreign")
        for number in range(PEEK_MAX_JOBS + 1):
            value = completion(JobKey("somebody", f"job-{number}"), 1, 0)
            world.broker.produce("foreign", epoch, NewRecord(Topic.BATCH_COMPLETED, 2, None, value))
        waited_until = world.time() + 100
        await world.until(lambda: world.time() > waited_until)
        assert failed(world) == set()
        world.broker.end_transaction("foreign", epoch, State.ABORTED)
        await world.until(lambda: failed(world) == {"unnamed"})

    world.play(scene())
