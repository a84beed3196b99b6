"""One side of a scenario: an application with the patch, or one with the stock part back in its place."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from aiokafka import TopicPartition

from streams.dev.robot import Fate
from streams.kafka.admin import admin_client
from streams.names import Topic
from tests.hardening.stock_worker import Half, Patch
from tests.support.builders import submission
from tests.support.scene import Scene
from tests.support.worker import WorkerProcess

WAIT_SECONDS = 60.0
PAUSE_SECONDS = 0.05
# What the patched worker does within seconds, the stock one has not done after this time.
NEVER_SECONDS = 10.0

T = TypeVar("T")


async def eventually(look: Callable[[], T | None]) -> T:
    """Return what there is to see as soon as it is there."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not (found := look()):
            await asyncio.sleep(PAUSE_SECONDS)
    return found


@dataclass
class Side:
    """An application of its own; both sides go through the same scenario, and a test asks each for its end of it."""

    half: Half
    scene: Scene
    jobs: list[str] = field(default_factory=list)

    @property
    def stock(self) -> bool:
        """Whether the stock part is back."""
        return self.half is Half.STOCK

    async def worker(self, *patches: Patch, ready: bool = True) -> WorkerProcess:
        """Start a worker with the window of these patches open."""
        command = ("-m", "tests.hardening.stock_worker")
        return await self.scene.worker((*command, self.half, *patches), ready=ready)

    async def submit(self, job_id: str | None = None, fate: Fate = Fate.LOSE) -> str:
        """Publish a job; unless another fate is given, its completion never comes."""
        self.jobs.append(await self.scene.submit(submission(job_id), fate))
        return self.jobs[-1]

    @contextlib.asynccontextmanager
    async def load(self, fate: Fate = Fate.LOSE) -> AsyncIterator[None]:
        """Publish jobs all the time."""

        async def publish() -> None:
            while True:
                await self.submit(fate=fate)
                await asyncio.sleep(PAUSE_SECONDS)

        publishing = asyncio.create_task(publish())
        try:
            yield
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)

    def posts(self, *job_ids: str) -> list[int]:
        """Return how often each of some jobs was called."""
        return [self.scene.posts(job_id) for job_id in job_ids]

    async def called(self, job_id: str) -> None:
        """Return when a job was called."""
        await eventually(lambda: self.scene.posts(job_id))

    async def all_called(self) -> None:
        """Return when every job was called, and no job twice."""
        await eventually(lambda: {call.job_id for call in self.scene.robot.calls} >= set(self.jobs))
        assert set(self.posts(*self.jobs)) == {1}

    async def nothing_is_called(self) -> None:
        """Return when so much time has passed that it never will be."""
        await asyncio.sleep(NEVER_SECONDS)
        assert self.scene.robot.calls == []


async def ended_with(worker: WorkerProcess, error: str) -> None:
    """Return when a worker has ended because of an error."""
    assert await worker.wait_ended() == 70, worker.log_tail()
    assert worker.log_lines()[-1]["error"].startswith(error)


async def committed(scene: Scene, topic: Topic) -> int:
    """Return the group's committed offset of the one partition."""
    async with admin_client(bootstrap_servers=scene.bootstrap_servers) as admin:
        place = TopicPartition(topic, 0)
        return int((await admin.list_consumer_group_offsets(scene.app_id, partitions=[place]))[place].offset)


async def until_committed(scene: Scene, topic: Topic, offset: int) -> None:
    """Return when the group has committed up to there."""
    async with asyncio.timeout(WAIT_SECONDS):
        while await committed(scene, topic) < offset:
            await asyncio.sleep(PAUSE_SECONDS)


async def until_members(scene: Scene, count: int) -> None:
    """Return when the group has so many members."""
    async with asyncio.timeout(WAIT_SECONDS), admin_client(bootstrap_servers=scene.bootstrap_servers) as admin:
        while True:
            (description,) = await admin.describe_consumer_groups([scene.app_id])
            if len(description.groups[0][5]) == count:
                return
            await asyncio.sleep(PAUSE_SECONDS)
