"""Batches that are followed order by order: robot, bridge and worker as in production, on a real Kafka."""

import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from schemas import JobCompleted, JobFailed
from streams.dev.loopback import HOST
from streams.dev.robot import Fate, RobotBehaviour
from streams.names import Topic
from tests.support.bridge import PATH, BridgeProcess
from tests.support.builders import submission
from tests.support.scene import Scene

SOON = {"ROBOT_ORCHESTRATOR_TIMEOUT_BASE_SECONDS": "5", "ROBOT_ORCHESTRATOR_TIMEOUT_PER_ORDER_SECONDS": "1"}


@contextlib.asynccontextmanager
async def bridged(kafka_bootstrap: str, folder: Path, order_seconds: float = 0.0) -> AsyncIterator[Scene]:
    """Run a bridge and a robot that reports to it; yields the application, without a worker yet."""
    behaviour = RobotBehaviour(order_seconds=order_seconds, call_back=True)
    async with Scene(kafka_bootstrap, folder, SOON, behaviour) as scene:
        bridge = BridgeProcess(kafka_bootstrap, folder / "bridge.log")
        scene.workers.append(bridge)
        await bridge.wait_ready()
        scene.variables["ROBOT_ORCHESTRATOR_CALLBACK_URL"] = f"http://{HOST}:{bridge.probe_port}{PATH}"
        yield scene


async def test_a_job_is_completed_by_what_the_bridge_was_told_whoever_owns_it_by_then(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with bridged(kafka_bootstrap, tmp_path, order_seconds=0.5) as scene:
        killed = await scene.worker()
        payload = submission(orders=4)
        job_id = await scene.submit(payload, Fate.PARTLY_FAIL)
        # In the middle of the batch.
        await scene.row(job_id, lambda job: any(order.status != "unreported" for order in job.orders))
        await killed.kill()
        await scene.worker()
        outcome = await scene.outcome(job_id)
        assert isinstance(outcome, JobCompleted)
        assert (outcome.successCount, outcome.errorCount, outcome.countsMismatch) == (2, 2, False)
        assert [order.itemId for order in outcome.orders or ()] == [order["itemId"] for order in payload["orders"]]
        assert {order.status for order in outcome.orders or ()} == {"success", "error"}
        assert scene.posts(job_id) == 1


async def test_a_report_that_no_bridge_took_leaves_its_order_unreported_and_a_later_one_is_told(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with bridged(kafka_bootstrap, tmp_path, order_seconds=0.5) as scene:
        await scene.worker()
        (bridge, _worker) = scene.workers
        payload = submission(orders=2)
        job_id = await scene.submit(payload)
        await scene.row(job_id, lambda job: any(order.status == "success" for order in job.orders))
        # The robot never repeats what it could not report.
        bridge.signal(signal.SIGKILL)
        outcome = await scene.outcome(job_id)
        assert isinstance(outcome, JobFailed)
        assert (outcome.reason, outcome.robotMayHaveReceived) == ("timeout", True)
        assert [order.status for order in outcome.orders or ()] == ["success", "unreported"]
        ids = {"workspaceId": payload["workspaceId"], "jobId": job_id, "itemId": payload["orders"][1]["itemId"]}
        late = ids | {"status": "success", "reportedAt": "2026-01-31T12:00:00.000Z"}
        await scene.publish(Topic.ORDER_REPORTED, late, payload["workspaceId"])
        amendment = await scene.amendment(job_id)
        assert [order.status for order in amendment.orders or ()] == ["success", "success"]
        headers = dict((await scene.outcomes_of(job_id))[0].headers)
        assert amendment.outcomeId == headers["ce_id"].decode()
