"""Jobs that wait: for their workspace, for a call slot, for their payload, for too long."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from schemas import JobCompleted, JobFailed
from streams.dev.robot import Fate, RobotBehaviour, SimulatedRobot
from streams.kafka.admin import admin_client
from streams.names import DLQ_OF, Topic
from streams.wire.placement import partition_of
from tests.support.builders import submission
from tests.support.scene import PARTITIONS, Scene

HOUR_MS = 3_600_000


class CountingRobot(SimulatedRobot):
    """Knows how many calls it had at once."""

    in_progress = 0
    most_at_once = 0

    async def _create_batch(self, http: web.Request) -> web.StreamResponse:
        self.in_progress += 1
        self.most_at_once = max(self.most_at_once, self.in_progress)
        try:
            return await super()._create_batch(http)
        finally:
            self.in_progress -= 1


@pytest.fixture
async def scene(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        yield scene


@pytest.mark.parametrize(("limit", "at_once"), [("2", 2), ("0", 4)])
async def test_jobs_per_workspace_is_a_setting(scene: Scene, limit: str, at_once: int) -> None:
    await scene.worker(ROBOT_ORCHESTRATOR_JOBS_PER_WORKSPACE=limit)
    payloads = [submission() for _ in range(4)]
    for payload in payloads:
        payload["workspaceId"] = payloads[0]["workspaceId"]
        await scene.submit(payload, Fate.LOSE)
    rows = [await scene.row(payload["jobId"]) for payload in payloads]
    assert [row.status for row in rows] == ["processing"] * at_once + ["pending"] * (4 - at_once)


async def test_calls_in_flight_are_bounded_and_every_job_has_its_turn(kafka_bootstrap: str, tmp_path: Path) -> None:
    behaviour = RobotBehaviour(answer_delay_seconds=0.2)
    async with Scene(kafka_bootstrap, tmp_path, behaviour=behaviour, robot_class=CountingRobot) as scene:
        await scene.worker(ROBOT_ORCHESTRATOR_ROBOT_CONCURRENCY="2")
        jobs = [await scene.submit(submission()) for _ in range(10)]
        for job_id in jobs:
            assert isinstance(await scene.outcome(job_id), JobCompleted)
        assert len(scene.robot.calls) == 10
        assert isinstance(scene.robot, CountingRobot)
        assert scene.robot.most_at_once == 2


async def test_a_job_without_a_call_slot_is_not_even_claimed(scene: Scene) -> None:
    """A claim that waited for its call would grow too old for it."""
    await scene.worker(ROBOT_ORCHESTRATOR_ROBOT_CONCURRENCY="1")
    await scene.submit(submission(), Fate.HANG)
    await scene.robot.wait_for_calls(1)
    assert (await scene.row(await scene.submit(submission()))).status == "pending"


async def test_an_old_submission_is_never_called(scene: Scene) -> None:
    await scene.worker(ROBOT_ORCHESTRATOR_RETENTION_SECONDS=str(10 * 3600))
    now = int(time.time() * 1000)
    waited, forgotten = submission(), submission()
    for payload, age_hours in ((waited, 6), (forgotten, 20)):
        home = partition_of(payload["workspaceId"], PARTITIONS)
        value = json.dumps(payload).encode()
        await scene.write(Topic.SUBMITTED, value, home, timestamp_ms=now - age_hours * HOUR_MS)
    outcome = await scene.outcome(waited["jobId"])
    assert isinstance(outcome, JobFailed)
    assert (outcome.reason, outcome.robotMayHaveReceived) == ("submission_expired", False)
    await scene.outcome(await scene.submit(submission()))
    await scene.wait_for(lambda: scene.records[DLQ_OF[Topic.SUBMITTED]] or None)
    reasons = {r.value: dict(r.headers)["robot.dlq.reason"] for r in scene.records[DLQ_OF[Topic.SUBMITTED]]}
    assert reasons[json.dumps(forgotten).encode()] == b"submission_expired"
    assert await scene.outcomes_of(forgotten["jobId"]) == []
    assert not {call.job_id for call in scene.robot.calls} & {waited["jobId"], forgotten["jobId"]}


async def test_a_payload_that_is_gone_fails_the_job_when_its_turn_comes(scene: Scene) -> None:
    """The submissions topic has lost the record, as retention would lose it, while the job was waiting."""
    from aiokafka.admin import RecordsToDelete
    from aiokafka.structs import TopicPartition

    worker = await scene.worker()
    first = submission()
    second = submission(workspace_id=first["workspaceId"])
    await scene.submit(first, Fate.LOSE)
    await scene.row(first["jobId"], lambda row: row.accepted_at is not None)
    await scene.submit(second)
    row = await scene.row(second["jobId"])
    await worker.stop()
    async with admin_client(bootstrap_servers=scene.bootstrap_servers) as admin:
        place = TopicPartition(row.source.topic, row.source.partition)
        await admin.delete_records({place: RecordsToDelete(before_offset=row.source.offset + 1)})
    await scene.complete(first, 2, 0)
    await scene.worker()
    outcome = await scene.outcome(second["jobId"])
    assert isinstance(outcome, JobFailed)
    assert outcome.reason == "submission_expired"
    assert scene.posts(second["jobId"]) == 0
