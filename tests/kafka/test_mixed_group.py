"""A rolling upgrade: a worker of a release with fewer sources is in the group, and then is not."""

from pathlib import Path

from schemas import JobFailed
from streams.core.controls import Action
from streams.names import SOURCE_TOPICS, Topic
from streams.wire.placement import partition_of
from tests.chaos.load import asked
from tests.kafka.former_worker import COMMAND
from tests.support.builders import submission
from tests.support.scene import PARTITIONS, Scene

# One in each partition.
WORKSPACES = {partition_of(name, PARTITIONS): name for name in (f"workspace-{n}" for n in range(100))}


async def test_what_is_asked_for_meanwhile_waits_for_the_last_old_worker_and_stops_nothing(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    assert len(SOURCE_TOPICS) == 4
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        former = await scene.worker(COMMAND)
        await scene.worker()
        for workspace_id in WORKSPACES.values():
            held = asked(f"hold-{workspace_id}", Action.HOLD, workspace_id)
            await scene.write(held.topic, held.value, held.partition)
        both = [submission(workspace_id=f"other-{n}") for n in range(8)]
        for payload in both:
            await scene.submit(payload)
        for payload in both:
            await scene.outcome(payload["jobId"])
        assert await former.stop() == 0
        for workspace_id in WORKSPACES.values():
            await scene.decision(f"hold-{workspace_id}")
        stopped = [submission(workspace_id=name) for name in WORKSPACES.values()]
        for payload in stopped:
            await scene.submit(payload)
            cancel = asked(f"cancel-{payload['jobId']}", Action.CANCEL, payload["workspaceId"], payload["jobId"])
            await scene.row(payload["jobId"])
            await scene.write(cancel.topic, cancel.value, cancel.partition)
        for payload in stopped:
            outcome = await scene.outcome(payload["jobId"])
            assert isinstance(outcome, JobFailed)
            assert outcome.reason == "cancelled"
            assert scene.posts(payload["jobId"]) == 0
        assert not scene.records[Topic.DLQ_CONTROL]
