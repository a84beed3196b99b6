"""Jobs that wait: for their workspace, for a call slot, for their payload, for too long."""

from schemas import JobFailed
from streams.dev.robot import Fate
from streams.kafka.admin import admin_client
from tests.support.builders import submission
from tests.support.scene import Scene

HOUR_MS = 3_600_000


async def test_a_worker_has_as_many_calls_under_way_as_its_settings_say(scene: Scene) -> None:
    """What has no place or slot is not even claimed: a claim that waited for its call would grow too old for it."""
    limits = {"ROBOT_ORCHESTRATOR_JOBS_PER_WORKSPACE": "2", "ROBOT_ORCHESTRATOR_ROBOT_CONCURRENCY": "3"}
    await scene.worker(**limits)  # type: ignore[arg-type] # all of them are variables
    crowded = [submission(workspace_id="crowded") for _ in range(3)]
    payloads = (*crowded, submission(), submission())
    rows = [await scene.row(await scene.submit(payload, Fate.HANG)) for payload in payloads]
    assert [row.status for row in rows] == ["processing", "processing", "pending", "processing", "pending"]


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
