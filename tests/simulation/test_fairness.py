"""Who is called when there are fewer call slots than jobs that could be called."""

import asyncio
import itertools
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from streams.core.job import JobKey
from streams.dev.history import Post
from streams.engine.ports import Accepted, Answer
from streams.names import Topic
from streams.wire.placement import partition_of
from streams.wire.records import NewRecord
from streams.wire.robot_request import RobotRequest
from tests.simulation.worker import Host, SimulatedWorker
from tests.simulation.world import Plan, SimulatedRobot, World, completion, submission

PARTITIONS = 8
SLOTS = 8
CALL_SECONDS = 1.0


class SlowRobot(SimulatedRobot):
    """Takes a while to accept, and reports at once."""

    async def receive(self, request: RobotRequest, _host: Host) -> Answer:
        key = JobKey(request.workspace_id, request.job_id)
        self.posts.append(Post(key, self.world.now()))
        await asyncio.sleep(CALL_SECONDS)
        self.world.broker.append(
            NewRecord(Topic.BATCH_COMPLETED, partition_of(key.workspace_id, PARTITIONS), None, completion(key, 1, 0))
        )
        return Accepted()


def test_a_workspace_has_as_many_calls_as_one_in_a_more_crowded_partition() -> None:
    world = World(3, Plan(partitions=PARTITIONS))
    world.deadlines = replace(world.deadlines, workspace_pause=timedelta(0))
    world.robot = SlowRobot(world)
    missing = Counter(dict.fromkeys(range(PARTITIONS), 2) | {0: 26})
    numbers = itertools.count()
    while missing.total():
        name = f"workspace-{next(numbers)}"
        partition = partition_of(name, PARTITIONS)
        if missing[partition]:
            missing[partition] -= 1
            for job in range(20):
                key = JobKey(name, f"job-{job}-of-{name}")
                world.broker.append(NewRecord(Topic.SUBMITTED, partition, None, submission(key, orders=1)))

    async def scene() -> None:
        worker = SimulatedWorker(world, "worker", concurrency=SLOTS)
        world.workers.append(worker)
        running = world.spawn(worker.run())
        await asyncio.sleep(60)
        running.cancel()

    world.play(scene())
    calls = Counter(post.key.workspace_id for post in world.robot.posts)
    assert len(calls) == 40
    assert max(calls.values()) - min(calls.values()) <= 3, calls
