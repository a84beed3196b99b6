"""Several environments on one cluster: what differs is a prefix, and they share nothing."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streams.dev.robot import BatchCompletion, Fate, RobotBehaviour, SimulatedRobot
from streams.dev.stack import environment
from streams.kafka.admin import admin_client
from streams.names import TOPIC_PREFIX_VARIABLE, Topic
from tests.support.builders import Fields, completion, submission, worker_variables
from tests.support.worker import WorkerProcess

PREFIXES = ("staging.", "staging.eu_")

WAIT_SECONDS = 60


@dataclass
class Environment:
    """A robot, and a worker and commands with a prefix. Of what the robot loses nothing is reported."""

    prefix: str
    fate: Fate
    folder: Path
    bootstrap_servers: str
    producer: AIOKafkaProducer

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Environment"]:
        """Create the topics and run a worker until the end."""
        robot = SimulatedRobot(
            behaviour=RobotBehaviour(), fate_of=lambda _: self.fate, report=self._report, log_path=self.folder / "posts"
        )
        async with robot:
            self.robot = robot
            variables = worker_variables(self.bootstrap_servers, robot.url)
            self.variables = {
                **variables,
                TOPIC_PREFIX_VARIABLE: self.prefix,
                "ROBOT_ORCHESTRATOR_SESSION_TIMEOUT_SECONDS": "3",
            }
            await self.command("topics", "create", "--partitions", "2", "--replication-factor", "1")
            worker = WorkerProcess(self.variables, self.folder / "worker.log")
            try:
                await worker.wait_ready()
                yield self
            finally:
                worker.close()

    async def command(self, *words: str) -> str:
        """Run a command as a person would; return what it prints."""
        with environment(self.variables):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "streams.cli", *words), stdout=asyncio.subprocess.PIPE
            )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        return out.decode()

    async def submit(self, payload: Fields) -> None:
        """Send a submission in, as a file."""
        file = self.folder / f"{payload['jobId']}.json"
        file.write_text(json.dumps(payload))
        await self.command("submit", str(file))

    async def job(self, payload: Fields) -> dict[str, Any]:
        """Return what is known of a job."""
        words = ("jobs", "show", str(payload["jobId"]), "--workspace", str(payload["workspaceId"]), "--json")
        shown: dict[str, Any] = json.loads(await self.command(*words))
        return shown

    async def has_become(self, payload: Fields, status: str) -> None:
        """Return when a job has a status."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (await self.job(payload))["status"] != status:
                await asyncio.sleep(0.1)

    async def _report(self, told: BatchCompletion) -> None:
        ids = {"jobId": told.job_id, "workspaceId": told.workspace_id}
        value = json.dumps(completion(ids, told.success_count, told.error_count)).encode()
        topic = f"{self.prefix}robot.job.batch_completed"
        await self.producer.send_and_wait(topic, value, key=told.workspace_id.encode())


async def names_on(bootstrap_servers: str) -> tuple[set[str], set[str]]:
    """Return the topics and the groups of a cluster."""
    async with admin_client(bootstrap_servers=bootstrap_servers) as admin:
        topics = {topic["topic"] for topic in await admin.describe_topics() if not topic["is_internal"]}
        return topics, {name for name, *_ in await admin.list_consumer_groups()}


async def outcomes(bootstrap_servers: str, topic: str) -> list[str]:
    """Return the jobs of the outcomes that are in a topic, each as often as there is one."""
    options: dict[str, Any] = {"auto_offset_reset": "earliest", "isolation_level": "read_committed"}
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, **options) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        found = []
        for place, end in ends.items():
            while await consumer.position(place) < end:
                records = await consumer.getmany(place, timeout_ms=500)
                found += [record.key.decode() for record in records.get(place, [])]
        return found


async def test_two_environments_of_one_cluster_share_nothing(kafka_bootstrap: str, tmp_path: Path) -> None:
    """Not with the same job ids and workspaces, not holds, and not where one's prefix begins with the other's."""
    topics_before, groups_before = await names_on(kafka_bootstrap)
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer, contextlib.AsyncExitStack() as stack:
        here, there = [
            await stack.enter_async_context(_environment(prefix, fate, tmp_path, kafka_bootstrap, producer).running())
            for prefix, fate in zip(PREFIXES, (Fate.COMPLETE, Fate.LOSE), strict=True)
        ]
        first, second = submission(), submission()
        for one in (here, there):
            await one.submit(first)
        await here.has_become(first, "completed")
        await there.has_become(first, "processing")
        await there.command("holds", "add", "--all", "--reason", "a test", "--yes")
        for one in (here, there):
            await one.submit(second)
        await here.has_become(second, "completed")
        assert (await there.job(second))["status"] == "pending"
        assert json.loads(await here.command("holds", "list", "--json") or "[]") == []
        assert [call.job_id for call in here.robot.calls] == [first["jobId"], second["jobId"]]
        assert [call.job_id for call in there.robot.calls] == [first["jobId"]]
        assert await outcomes(kafka_bootstrap, f"{PREFIXES[1]}robot.job.completed") == []
        for one in (here, there):
            assert "other applications" not in await one.command("topics", "check")
    topics, groups = (
        now - before
        for now, before in zip(await names_on(kafka_bootstrap), (topics_before, groups_before), strict=True)
    )
    own = [*Topic, "robot-orchestrator-jobs-changelog"]
    assert topics == {f"{prefix}{name}" for prefix in PREFIXES for name in own}
    assert groups == {f"{prefix}robot-orchestrator" for prefix in PREFIXES}


def _environment(
    prefix: str, fate: Fate, folder: Path, bootstrap_servers: str, producer: AIOKafkaProducer
) -> Environment:
    own = folder / prefix
    own.mkdir()
    return Environment(prefix, fate, own, bootstrap_servers, producer)


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("staging", "be up to 50 letters"),
        ("two words.", "be up to 50 letters"),
        (50 * "x" + ".", "be up to 50 letters"),
        ("staging.dlq.", "not end in dlq."),
    ],
)
async def test_a_prefix_is_refused_that_kafka_would_not_take_or_that_leads_to_the_topics_of_others(
    prefix: str, why: str
) -> None:
    with environment({TOPIC_PREFIX_VARIABLE: prefix}):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streams.cli", "topics", "check"), stderr=asyncio.subprocess.PIPE
        )
    _, error = await process.communicate()
    assert process.returncode == 1
    assert error.decode().startswith(f"robot-orchestrator: {TOPIC_PREFIX_VARIABLE}: must {why}")
