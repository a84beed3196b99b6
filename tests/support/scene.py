"""An application of a test's own on the shared topics: its group, its changelog, its robot, its workers."""

import asyncio
import contextlib
import itertools
import json
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from schemas import JobAmended, JobCompleted, JobFailed
from streams.core.controls import Decision
from streams.core.job import Job
from streams.dev.robot import BatchCompletion, BatchRequest, Fate, RobotBehaviour, SimulatedRobot
from streams.kafka.adopt import adopt_table
from streams.kafka.topics import create_topics
from streams.names import DLQ_OF, OUTCOME_TOPICS, SOURCE_TOPICS, Topic, changelog_topic
from streams.settings import KafkaSettings
from streams.wire.placement import partition_of
from streams.wire.rows import DecisionEntry, decode_entry, job_in
from tests.support.builders import completion, worker_variables
from tests.support.worker import PRODUCTION, WorkerProcess

PARTITIONS = 4
WAIT_SECONDS = 60.0

T = TypeVar("T")

_numbers = itertools.count()


@dataclass
class Scene:
    """Use as `async with`; `environment` is what its workers get beside the connection.

    With `new` its group has no offsets: for topics that nobody else has written to.
    """

    bootstrap_servers: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    behaviour: RobotBehaviour = field(default_factory=RobotBehaviour)
    robot_class: type[SimulatedRobot] = SimulatedRobot
    partitions: int = PARTITIONS
    new: bool = False
    fates: dict[str, Fate] = field(default_factory=dict)
    records: dict[str, list[ConsumerRecord]] = field(default_factory=lambda: defaultdict(list))
    workers: list[WorkerProcess] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.app_id = f"scene-{uuid.uuid4().hex[:8]}"
        self._stack = contextlib.AsyncExitStack()
        self.robot = self.robot_class(
            behaviour=self.behaviour,
            fate_of=self._fate_of,
            report=self.report,
            log_path=self.folder / f"{self.app_id}-posts.jsonl",
        )
        await self._stack.enter_async_context(self.robot)
        self.variables = {
            **worker_variables(self.bootstrap_servers, self.robot.url),
            "ROBOT_ORCHESTRATOR_APP_ID": self.app_id,
            "ROBOT_ORCHESTRATOR_SESSION_TIMEOUT_SECONDS": "3",
            "ROBOT_ORCHESTRATOR_WORKSPACE_PAUSE_SECONDS": "0.2",
            **self.environment,
        }
        settings = KafkaSettings(**cast(Any, self.variables))
        await create_topics(settings, self.partitions, 1)
        if not self.new:
            # The group has offsets from the beginning, so that it leaves what other scenes have written.
            await adopt_table(settings)
        self.producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers)
        await self.producer.start()
        self._stack.push_async_callback(self.producer.stop)
        self._reader = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, isolation_level="read_committed", fetch_max_wait_ms=50
        )
        await self._reader.start()
        self._stack.push_async_callback(self._reader.stop)
        await self._begin_at_the_end()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for worker in self.workers:
            worker.close()
        await self._stack.aclose()

    async def worker(
        self,
        command: Sequence[str] = PRODUCTION,
        *,
        python: str = sys.executable,
        ready: bool = True,
        **variables: str,
    ) -> WorkerProcess:
        """Start a worker of this application."""
        log_path = self.folder / f"{self.app_id}-worker-{next(_numbers)}.log"
        worker = WorkerProcess({**self.variables, **variables}, log_path, command, python)
        self.workers.append(worker)
        if ready:
            await worker.wait_ready()
        return worker

    async def submit(self, payload: Mapping[str, Any], fate: Fate = Fate.COMPLETE) -> str:
        """Publish a submission as its producer should; return the job id."""
        self.fates[payload["jobId"]] = fate
        await self.publish(Topic.SUBMITTED, payload, payload["workspaceId"])
        return str(payload["jobId"])

    async def complete(self, payload: Mapping[str, Any], success: int, error: int) -> None:
        """Publish a completion as the callback bridge should."""
        await self.publish(Topic.BATCH_COMPLETED, completion(payload, success, error), payload["workspaceId"])

    async def publish(self, topic: Topic, value: object, workspace_id: str) -> ConsumerRecord:
        """Write a JSON value where its workspace belongs."""
        data = json.dumps(value, ensure_ascii=False).encode()
        return await self.write(topic, data, partition_of(workspace_id, self.partitions), workspace_id.encode())

    async def write(
        self, topic: Topic, value: bytes | None, partition: int, key: bytes | None = None, **more: Any
    ) -> ConsumerRecord:
        """Write bytes to a partition; return where they are."""
        return await self.producer.send_and_wait(topic, value, key=key, partition=partition, **more)

    async def outcome(self, job_id: str) -> JobCompleted | JobFailed:
        """Return the outcome of a job when it is there; it validates against the contract."""
        record = await self.wait_for(
            lambda: next((r for topic in OUTCOME_TOPICS for r in self.records[topic] if r.key == job_id.encode()), None)
        )
        model = JobCompleted if record.topic == Topic.COMPLETED else JobFailed
        return model.model_validate_json(record.value)

    async def amendment(self, job_id: str) -> JobAmended:
        """Return the first amendment of a job when it is there; it validates against the contract."""
        record = await self.wait_for(
            lambda: next((r for r in self.records[Topic.AMENDED] if r.key == job_id.encode()), None)
        )
        return JobAmended.model_validate_json(record.value)

    async def dead_letter(self, topic: Topic, where: ConsumerRecord) -> ConsumerRecord:
        """Return the dead letter of a record when it is there."""
        wanted = f"{where.topic}-{where.partition}-{where.offset}".encode()
        return await self.wait_for(
            lambda: next((r for r in self.records[DLQ_OF[topic]] if dict(r.headers)["robot.dlq.id"] == wanted), None)
        )

    async def wait_for(self, look: Callable[[], T | None]) -> T:
        """Read on until there is something to see."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (found := look()) is None:
                for source, batch in (await self._reader.getmany(timeout_ms=100)).items():
                    self.records[source.topic].extend(batch)
        return found

    async def read_to_end(self) -> None:
        """Read everything that is committed by now."""
        ends = await self._reader.end_offsets(self._reader.assignment())
        async with asyncio.timeout(WAIT_SECONDS):
            for source, end in ends.items():
                while await self._reader.position(source) < end:
                    for read, batch in (await self._reader.getmany(timeout_ms=100)).items():
                        self.records[read.topic].extend(batch)

    async def outcomes_of(self, job_id: str) -> list[ConsumerRecord]:
        """Return every outcome record of a job so far."""
        await self.read_to_end()
        return [r for topic in OUTCOME_TOPICS for r in self.records[topic] if r.key == job_id.encode()]

    async def row(self, job_id: str, matches: Callable[[Job], bool] = lambda _job: True) -> Job:
        """Return the row of a job when it is as wanted."""

        def look() -> Job | None:
            latest = [row for row in self._rows() if row.job_id == job_id][-1:]
            return latest[0] if latest and matches(latest[0]) else None

        return await self.wait_for(look)

    async def decision(self, control_id: str) -> Decision:
        """Return what came of a control when that is written."""

        def look() -> Decision | None:
            entries = [decode_entry(r.key, r.value) for r in self.records[changelog_topic(self.app_id)]]
            found = [e.decision for e in entries if isinstance(e, DecisionEntry) and e.control_id == control_id]
            return found[-1] if found else None

        return await self.wait_for(look)

    async def claimants(self, job_ids: Sequence[str]) -> set[str]:
        """Return the workers that ever claimed one of some jobs."""
        await self.read_to_end()
        return {row.claimed_by for row in self._rows() if row.job_id in job_ids and row.claimed_by}

    def _rows(self) -> list[Job]:
        rows = (job_in(r.key, r.value) for r in self.records[changelog_topic(self.app_id)])
        return [job for job in rows if job is not None]

    async def until(self, instant: datetime) -> None:
        """Let an instant pass."""
        await asyncio.sleep(max(0.0, (instant - datetime.now(UTC)).total_seconds()))

    def posts(self, job_id: str) -> int:
        """Return how often a job was POSTed."""
        return sum(call.job_id == job_id for call in self.robot.calls)

    async def read_everything_again(self) -> None:
        """Set the group's offsets back to where this application began; no worker may be running."""
        await self._commit_offsets(self._beginning)

    async def _commit_offsets(self, offsets: dict[TopicPartition, int] | None) -> dict[TopicPartition, int]:
        """Commit the group's offsets of all sources, their ends if none are given."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, group_id=self.app_id, enable_auto_commit=False
        )
        await consumer.start()
        try:
            sources = [TopicPartition(topic, number) for topic in SOURCE_TOPICS for number in range(self.partitions)]
            consumer.assign(sources)
            offsets = offsets or dict(await consumer.end_offsets(sources))
            await consumer.commit(offsets)
        finally:
            await consumer.stop()
        return offsets

    async def _begin_at_the_end(self) -> None:
        topics = [*OUTCOME_TOPICS, Topic.AMENDED, *DLQ_OF.values(), changelog_topic(self.app_id)]
        readable = [TopicPartition(topic, number) for topic in topics for number in range(self.partitions)]
        self._reader.assign(readable)
        await self._reader.seek_to_end(*readable)
        for source in readable:
            await self._reader.position(source)
        if not self.new:
            self._beginning = await self._commit_offsets(None)

    def _fate_of(self, request: BatchRequest) -> Fate:
        return self.fates.get(request.job_id, Fate.COMPLETE)

    async def report(self, completion: BatchCompletion) -> None:
        """Publish what the robot reports of a batch."""
        ids = {"jobId": completion.job_id, "workspaceId": completion.workspace_id}
        await self.complete(ids, completion.success_count, completion.error_count)
