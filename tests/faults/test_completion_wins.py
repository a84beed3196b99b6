"""A completion that was in the log before its job's failure was decided completes the job."""

import asyncio
import json
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas import JobCompleted, JobFailed
from streams.dev.robot import Fate
from streams.names import Topic
from streams.wire.placement import partition_of
from tests.support.builders import completion, submission
from tests.support.scene import PARTITIONS, WAIT_SECONDS, Scene

SHORT = {
    "ROBOT_ORCHESTRATOR_TIMEOUT_PER_ORDER_SECONDS": "0",
    "ROBOT_ORCHESTRATOR_TIMEOUT_BASE_SECONDS": "3",
    "ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS": "2",
}
UNRELATED = 5_000


async def test_a_completion_behind_thousands_of_others_counts_although_everybody_was_down_at_the_deadline(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    """In another partition than its job's, from which it is forwarded first."""
    async with Scene(kafka_bootstrap, tmp_path, SHORT) as scene:
        worker = await scene.worker()
        completed, lost = submission(), submission()
        for payload in (completed, lost):
            await scene.submit(payload, Fate.LOSE)
        for payload in (completed, lost):
            row = await scene.row(payload["jobId"], lambda row: row.accepted_at is not None)
        assert row.deadline is not None
        await worker.kill()
        place = (partition_of(completed["workspaceId"], PARTITIONS) + 1) % PARTITIONS
        noise = json.dumps(completion({"jobId": "nobody", "workspaceId": "nobody"})).encode()
        for _ in range(UNRELATED):
            await scene.producer.send(Topic.BATCH_COMPLETED, noise, partition=place)
        value = json.dumps(completion(completed)).encode()
        await scene.write(Topic.BATCH_COMPLETED, value, place)
        await scene.until(row.deadline)
        await scene.worker()
        assert isinstance(await scene.outcome(completed["jobId"]), JobCompleted)
        # One whose completion never came still fails: the barrier is passed.
        outcome = await scene.outcome(lost["jobId"])
        assert isinstance(outcome, JobFailed)
        assert outcome.reason == "timeout"


async def test_an_open_transaction_keeps_those_waiting_that_it_names_and_the_log_says_how_to_end_it(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with Scene(kafka_bootstrap, tmp_path, SHORT) as scene:
        worker = await scene.worker()
        named, unnamed = submission(), submission()
        place = free_of(named, unnamed)
        for payload in (named, unnamed):
            await scene.submit(payload, Fate.LOSE)
        async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=scene.app_id) as other:
            await other.begin_transaction()
            value = json.dumps(completion(named)).encode()
            where = await other.send_and_wait(Topic.BATCH_COMPLETED, value, partition=place)
            outcome = await scene.outcome(unnamed["jobId"])
            assert isinstance(outcome, JobFailed)
            assert outcome.reason == "timeout"
            (line,) = await worker.wait_told("deadlines_held")
            assert (line["topic"], line["partition"]) == (Topic.BATCH_COMPLETED, place)
            (transaction,) = line["open_transactions"]
            assert transaction["start_offset"] == where.offset
            assert transaction["abort_with"].endswith(
                f"abort --topic {Topic.BATCH_COMPLETED} --partition {place} --start-offset {where.offset}"
            )
            _, metrics = await worker.get("/metrics")
            where_behind = f'partition="{place}",topic="{Topic.BATCH_COMPLETED}"'
            behind = f"robot_orchestrator_completions_behind_seconds{{{where_behind}}} "
            assert any(float(row.split()[1]) > 10 for row in metrics.splitlines() if row.startswith(behind))
            assert await scene.outcomes_of(named["jobId"]) == []
            await other.commit_transaction()
        assert isinstance(await scene.outcome(named["jobId"]), JobCompleted)
        async with asyncio.timeout(WAIT_SECONDS):
            while f"{behind}0.0" not in (await worker.get("/metrics"))[1]:
                await asyncio.sleep(0.1)


def free_of(*payloads: dict[str, Any]) -> int:
    """Return a partition that is the home of none of some jobs."""
    homes = {partition_of(payload["workspaceId"], PARTITIONS) for payload in payloads}
    return min(set(range(PARTITIONS)) - homes)


async def test_a_call_that_broke_fails_its_job_only_behind_every_completion_in_the_log(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with Scene(kafka_bootstrap, tmp_path, SHORT | {"ROBOT_ORCHESTRATOR_TIMEOUT_BASE_SECONDS": "60"}) as scene:
        worker = await scene.worker()
        payload = submission()
        place = partition_of(payload["workspaceId"], PARTITIONS)
        async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=scene.app_id) as other:
            # Nobody sees what lies behind an open transaction.
            await other.begin_transaction()
            await other.send_and_wait(Topic.BATCH_COMPLETED, b"given up", partition=place)
            await scene.submit(payload, Fate.HANG)
            await scene.robot.wait_for_calls(1)
            await scene.complete(payload, success=2, error=0)
            async with asyncio.timeout(WAIT_SECONDS):
                while 'dispatches_total{result="unknown"} 1.0' not in (await worker.get("/metrics"))[1]:
                    await asyncio.sleep(0.1)
            # Several ticks later nothing is decided yet.
            await asyncio.sleep(1)
            assert await scene.outcomes_of(payload["jobId"]) == []
            await other.abort_transaction()
        assert isinstance(await scene.outcome(payload["jobId"]), JobCompleted)
        assert len(await scene.outcomes_of(payload["jobId"])) == 1
