"""A robot that is busy, or not there: what becomes of the jobs, on a real Kafka and over real HTTP."""

import asyncio
from pathlib import Path

from schemas import JobCompleted
from streams.core.job import Status
from streams.dev.loopback import free_port
from streams.dev.robot import Fate, RobotBehaviour, SimulatedRobot
from streams.engine.robot_watch import START_ERROR
from tests.support.builders import submission
from tests.support.scene import Scene

PATIENT = {"ROBOT_ORCHESTRATOR_PATIENCE_SECONDS": "900"}
JOBS = 12


def statuses(scene: Scene, job_id: str) -> list[int | None]:
    """Return what the robot answered to a job's POSTs."""
    return [call.status for call in scene.robot.calls if call.job_id == job_id]


async def test_with_patience_a_job_that_a_busy_robot_refuses_is_called_again(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    behaviour = RobotBehaviour(busy_attempts=1)
    async with Scene(kafka_bootstrap, tmp_path, PATIENT, behaviour) as scene:
        await scene.worker()
        first, other, behind = submission(), submission(), submission()
        behind["workspaceId"] = first["workspaceId"]
        busy = await scene.submit(first, Fate.BUSY_409)
        last = await scene.submit(behind)
        limited = await scene.submit(other, Fate.LIMIT_429)
        row = await scene.row(busy, lambda job: job.put_off is not None)
        assert row.put_off is not None
        assert (row.status, row.put_off.times, row.put_off.robot_status) == (Status.PENDING, 1, 409)
        assert [isinstance(await scene.outcome(job), JobCompleted) for job in (busy, limited, last)] == [True] * 3
        assert (statuses(scene, busy), statuses(scene, limited)) == ([409, 200], [429, 200])
        # It was put back at the head of its line.
        order = [call.job_id for call in scene.robot.calls if call.job_id in (busy, last)]
        assert order == [busy, busy, last]


async def test_a_robot_that_is_not_there_costs_no_job_and_all_are_called_when_it_comes(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    port = free_port()
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        worker = await scene.worker(ROBOT_COORDINADORA_URL=f"http://127.0.0.1:{port}")
        await scene.wait_for(lambda: worker.told("robot_away") or None)
        assert "[!] robot answers" in (await worker.get("/readyz?verbose"))[1]
        jobs = [await scene.submit(submission()) for _ in range(JOBS)]
        for job_id in jobs:
            assert (await scene.row(job_id)).status is Status.PENDING
        async with SimulatedRobot(port=port, report=scene.report) as robot:
            assert {type(await scene.outcome(job_id)) for job_id in jobs} == {JobCompleted}
            assert sorted(call.job_id for call in robot.calls) == sorted(jobs)
        assert "[+] robot answers" in (await worker.get("/readyz?verbose"))[1]


async def test_a_robot_that_is_started_again_has_lost_its_batches_and_somebody_is_told_at_once(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    """By the uptime that it answers; here it is asked because a call has broken."""
    port, working = free_port(), RobotBehaviour(order_seconds=3600)
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        async with SimulatedRobot(port=port, behaviour=working):
            worker = await scene.worker(ROBOT_COORDINADORA_URL=f"http://127.0.0.1:{port}")
            lost = await scene.submit(submission())
            await scene.row(lost, lambda job: job.accepted_at is not None)
            await asyncio.sleep(START_ERROR.total_seconds() + 0.5)
        async with SimulatedRobot(port=port, fate_of=lambda _request: Fate.CUT):
            await scene.outcome(await scene.submit(submission()))
            row = await scene.row(lost, lambda job: job.robot_restarted_at is not None)
        assert row.status is Status.PROCESSING
        (line,) = [line for line in worker.log_lines() if line["event"] == "batch_lost"]
        assert (line["level"], line["job_id"]) == ("warning", lost)
        assert "robot_orchestrator_batches_lost_total 1.0" in (await worker.get("/metrics"))[1]
