"""An application of a run's own: its group and changelog on the shared topics, its robot, its workers or the limit."""

import contextlib
import itertools
import uuid
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, cast

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.kafka.admin import admin_client
from streams.kafka.adopt import adopt_table
from streams.kafka.topics import create_topics
from streams.names import SOURCE_TOPICS, Topic, changelog_topic
from streams.settings import KafkaSettings
from tests.benchmarks.children import Child, Measured, MeasuredLimit, MeasuredWorker
from tests.support.builders import worker_variables

# The calls that each program may have in flight.
CALLS = 64


@dataclass(frozen=True, slots=True)
class Pace:
    """A robot's seconds from a POST to its answer, and from that to the completion, which never comes with None.

    `calls`: how many each program may have in flight.
    """

    delay_seconds: float | None
    answer_seconds: float = 0.0
    calls: int = CALLS


class Program(StrEnum):
    """What does the jobs."""

    WORKER = "worker"
    LIMIT = "limit"


@dataclass(frozen=True)
class Cluster:
    """A Kafka with the topics' partition count; `folder` is for logs. `broker_pid` None: it is no process of ours."""

    bootstrap_servers: str
    partitions: int
    folder: Path
    broker_pid: int | None = None


async def existing_partitions(bootstrap_servers: str) -> int | None:
    """Return the partition count that the topics of a cluster have already, None where there are none."""
    async with admin_client(bootstrap_servers=bootstrap_servers) as admin:
        described = {topic["topic"]: topic for topic in await admin.describe_topics()}
    return len(described[Topic.SUBMITTED]["partitions"]) if Topic.SUBMITTED in described else None


class Application:
    """Use as `async with`."""

    def __init__(self, cluster: Cluster, pace: Pace) -> None:
        self.cluster = cluster
        self.app_id = f"bench-{uuid.uuid4().hex[:8]}"
        self._pace = pace
        self._stack = contextlib.AsyncExitStack()
        self._numbers = itertools.count()

    async def __aenter__(self) -> Self:
        servers = self.cluster.bootstrap_servers
        arguments = ["--bootstrap-servers", servers, "--answer-seconds", str(self._pace.answer_seconds)]
        if self._pace.delay_seconds is not None:
            arguments += ["--delay-seconds", str(self._pace.delay_seconds)]
        async with contextlib.AsyncExitStack() as on_failure:
            self.robot = await on_failure.enter_async_context(Child("tests.benchmarks.robot", *arguments))
            self._robot_url = (await self.robot.read())["url"]
            self.variables = {
                **worker_variables(servers, self._robot_url),
                "ROBOT_ORCHESTRATOR_APP_ID": self.app_id,
                "ROBOT_ORCHESTRATOR_ROBOT_CONCURRENCY": str(self._pace.calls),
            }
            settings = KafkaSettings(**cast(Any, self.variables))
            await create_topics(settings, self.cluster.partitions, 1)
            await adopt_table(settings)
            on_failure.push_async_callback(self._delete_changelog)
            await self._begin_at_the_end()
            self._stack = on_failure.pop_all()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stack.aclose()

    async def start(self, program: Program) -> Measured:
        """Start what is measured and return it when it is ready."""
        return await (self.start_worker() if program is Program.WORKER else self._start_limit())

    async def _start_limit(self) -> MeasuredLimit:
        arguments = ("--bootstrap-servers", self.cluster.bootstrap_servers, "--group", self.app_id)
        child = MeasuredLimit(
            "tests.benchmarks.limit", *arguments, "--robot-url", self._robot_url, "--bound", str(self._pace.calls)
        )
        limit = await self._stack.enter_async_context(child)
        await limit.read()
        return limit

    async def start_worker(self) -> MeasuredWorker:
        """Start a worker and return it when it is ready. One that still runs at the end is stopped then."""
        log_path = self.cluster.folder / f"{self.app_id}-{next(self._numbers)}.log"
        worker = MeasuredWorker(self.variables, log_path)

        async def end() -> None:
            # Killed, it would leave a transaction open that the readers of the next run had to wait for.
            try:
                if worker.running:
                    await worker.stop()
            finally:
                worker.close()

        self._stack.push_async_callback(end)
        await worker.wait_ready()
        return worker

    async def robot_calls(self) -> dict[str, list[tuple[str, float]]]:
        """End the robot; return its `posts` and `completions` as (job id, seconds since 1970)."""
        self.robot.end_input()
        return cast(dict[str, list[tuple[str, float]]], await self.robot.read())

    async def _begin_at_the_end(self) -> None:
        """Leave what earlier runs have published to them."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.cluster.bootstrap_servers, group_id=self.app_id, enable_auto_commit=False
        )
        async with consumer:
            numbers = range(self.cluster.partitions)
            sources = [TopicPartition(topic, number) for topic in SOURCE_TOPICS for number in numbers]
            consumer.assign(sources)
            await consumer.commit(dict(await consumer.end_offsets(sources)))

    async def _delete_changelog(self) -> None:
        async with admin_client(bootstrap_servers=self.cluster.bootstrap_servers) as admin:
            await admin.delete_topics([changelog_topic(self.app_id)])
