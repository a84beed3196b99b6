"""Jobs that wait: for their workspace, for a call slot, for their payload, for too long."""

import pytest

from schemas import JobFailed
from streams.dev.robot import Fate
from streams.kafka.admin import admin_client
from tests.support.builders import submission
from tests.support.scene import Scene

HOUR_MS = 3_600_000


@pytest.mark.parametrize(("limit", "at_once"), [("2", 2), ("0", 4)])
async def test_jobs_per_workspace_is_a_setting(scene: Scene, limit: str, at_once: int) -> None:
    await scene.worker(ROBOT_ORCHESTRATOR_JOBS_PER_WORKSPACE=limit)
    payloads = [submission() for _ in range(4)]
    for payload in payloads:
        payload["workspaceId"] = payloads[0]["workspaceId"]
        await scene.submit(payload, Fate.LOSE)
    rows = [await scene.row(payload["jobId"]) for payload in payloads]
    assert [row.status for row in rows] == ["processing"] * at_once + ["pending"] * (4 - at_once)


async def test_a_job_without_a_call_slot_is_not_even_claimed(scene: Scene) -> None:
    """A claim that waited for its call would grow too old for it."""
    await scene.worker(ROBOT_ORCHESTRATOR_ROBOT_CONCURRENCY="1")
    await scene.submit(submission(), Fate.HANG)
    await scene.robot.wait_for_calls(1)
    assert (await scene.row(await scene.submit(submission()))).status == "pending"


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
