"""The two halves of a scenario, side by side on one Kafka: with the patch, and with the stock part back."""

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
from tests.support.scene import Scene, submission
from tests.support.worker import WorkerProcess

WAIT_SECONDS = 60.0
PAUSE_SECONDS = 0.05

T = TypeVar("T")


async def eventually(look: Callable[[], T | None]) -> T:
    """Return what there is to see as soon as it is there."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not (found := look()):
            await asyncio.sleep(PAUSE_SECONDS)
    return found


@dataclass
class Halves:
    """Two applications that read the same topics, each with a robot of its own: a call tells whose worker made it."""

    patched: Scene
    stock: Scene
    jobs: list[str] = field(default_factory=list)

    async def workers(self, *patches: Patch, ready: bool = True) -> tuple[WorkerProcess, WorkerProcess]:
        """Start a worker of each, with the window of these patches open in both."""
        command = ("-m", "tests.hardening.stock_worker")
        return await asyncio.gather(
            self.patched.worker((*command, Half.PATCHED, *patches), ready=ready),
            self.stock.worker((*command, Half.STOCK, *patches), ready=ready),
        )

    async def plain_workers(self, *, ready: bool = True) -> tuple[WorkerProcess, WorkerProcess]:
        """Start a worker of each as production runs it."""
        return await asyncio.gather(self.patched.worker(ready=ready), self.stock.worker(ready=ready))

    async def submit(self, job_id: str | None = None, fate: Fate = Fate.LOSE) -> str:
        """Publish a job for both; unless another fate is given, its completion never comes."""
        payload = submission(job_id)
        self.stock.fates[payload["jobId"]] = fate
        self.jobs.append(await self.patched.submit(payload, fate))
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

    async def all_called(self, scene: Scene) -> None:
        """Return when every job was called, and no job twice."""
        await eventually(lambda: {call.job_id for call in scene.robot.calls} >= set(self.jobs))
        assert all(scene.posts(job_id) == 1 for job_id in self.jobs)


async def ended_with(worker: WorkerProcess, error: str) -> None:
    """Return when a worker has ended because of an error."""
    assert await worker.wait_ended() == 70, worker.log_tail()
    assert worker.log_lines()[-1]["error"].startswith(error)


async def told(worker: WorkerProcess, event: str, count: int) -> None:
    """Return when an event is that often in a worker's log."""
    await eventually(lambda: sum(line["event"] == event for line in worker.log_lines()) >= count)


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


async def members(scene: Scene) -> int:
    """Return how many members the group has."""
    async with admin_client(bootstrap_servers=scene.bootstrap_servers) as admin:
        (description,) = await admin.describe_consumer_groups([scene.app_id])
        return len(description.groups[0][5])
