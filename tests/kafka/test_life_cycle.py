"""The whole life of a job on a real Kafka, with a real worker process and a real HTTP robot."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schemas import JobCompleted, JobFailed
from streams.dev.robot import Fate, RobotBehaviour
from tests.support.builders import CALLBACK_SECRET, SECRETS, submission
from tests.support.scene import Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT = {
    "ROBOT_ORCHESTRATOR_TIMEOUT_PER_ORDER_SECONDS": "0.5",
    "ROBOT_ORCHESTRATOR_TIMEOUT_BASE_SECONDS": "3",
    "ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS": "1",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    behaviour = RobotBehaviour(refuse_status=409)
    async with Scene(kafka_bootstrap, tmp_path_factory.mktemp("scene"), SHORT, behaviour) as scene:
        await scene.worker()
        yield scene


async def test_a_submission_becomes_one_post_and_one_completed_outcome(scene: Scene) -> None:
    payload = submission()
    outcome = await scene.outcome(await scene.submit(payload))
    assert isinstance(outcome, JobCompleted)
    assert (outcome.successCount, outcome.errorCount, outcome.countsMismatch) == (2, 0, False)
    assert outcome.orderCount == 2
    assert outcome.dispatchedAt is not None
    assert outcome.submittedAt <= outcome.dispatchedAt <= outcome.endedAt
    (call,) = (call for call in scene.robot.calls if call.job_id == payload["jobId"])
    assert (call.headers["Content-Type"], call.headers["X-Callback-Secret"]) == ("application/json", CALLBACK_SECRET)
    assert json.loads(call.body)["orders"] == payload["orders"]
    assert len(await scene.outcomes_of(payload["jobId"])) == 1


@pytest.mark.parametrize(
    ("fate", "reason", "status", "may_have_received", "text"),
    [
        (Fate.REFUSE, "robot_rejected", 409, False, "Robot service error 409: "),
        (Fate.CRASH_500, "robot_rejected", 500, True, "Robot service error 500: "),
        (Fate.REDIRECT_307, "robot_rejected", 307, False, "Robot service error 307: "),
        (Fate.ECHO_SECRETS, "robot_rejected", 400, False, "Robot service error 400: "),
        (Fate.CUT, "dispatch_unknown", None, True, "The connection broke before the robot's answer"),
        (Fate.HANG, "dispatch_unknown", None, True, "The robot did not answer within 1 s"),
    ],
)
async def test_a_call_that_fails_fails_the_job_at_once_and_is_never_made_again(
    scene: Scene, fate: Fate, reason: str, status: int | None, may_have_received: bool, text: str
) -> None:
    job_id = await scene.submit(submission(), fate)
    outcome = await scene.outcome(job_id)
    assert isinstance(outcome, JobFailed)
    assert (outcome.reason, outcome.robotStatus, outcome.robotMayHaveReceived) == (reason, status, may_have_received)
    assert outcome.error.startswith(text)
    assert len(outcome.error) <= 2048
    assert not any(secret in outcome.error for secret in SECRETS)
    assert scene.posts(job_id) == 1
    assert len(await scene.outcomes_of(job_id)) == 1


async def test_the_probes_answer(scene: Scene) -> None:
    worker = scene.workers[0]
    assert await worker.get("/livez") == (200, "ok\n")
    status, text = await worker.get("/readyz?verbose")
    assert (status, text) == (200, "[+] group joined, partitions loaded\n[+] robot answers\nok\n")


async def test_a_change_of_a_job_is_one_log_line(scene: Scene) -> None:
    job_id = await scene.submit(submission())
    await scene.outcome(job_id)
    events: list[str] = []
    async with asyncio.timeout(60):
        while "job_completed" not in events:
            await asyncio.sleep(0.05)
            events = [line["event"] for line in scene.workers[0].log_lines() if line.get("job_id") == job_id]
    # It may complete before the robot's answer is read.
    assert [event for event in events if event != "job_accepted"] == [
        "job_submitted",
        "job_dispatched",
        "job_completed",
    ]
    assert events.count("job_accepted") <= 1
