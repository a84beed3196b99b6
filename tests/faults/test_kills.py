"""Workers killed at the worst moments: one POST at most, exactly one outcome, nothing lost."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas import JobCompleted
from streams.dev.robot import Fate, RobotBehaviour
from tests.support.builders import submission
from tests.support.saboteur import OF_ONE_JOB, How, Point, command
from tests.support.scene import Scene
from tests.support.worker import WorkerProcess

SHORT = {
    "ROBOT_ORCHESTRATOR_TIMEOUT_PER_ORDER_SECONDS": "0",
    "ROBOT_ORCHESTRATOR_TIMEOUT_BASE_SECONDS": "3",
    "ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS": "3",
}


async def duplicates(worker: WorkerProcess) -> tuple[float, ...]:
    """Return how many submissions and completions it found to be known already."""
    _, metrics = await worker.get("/metrics")
    pattern = r'^robot_orchestrator_{}_total{{result="duplicate"}} (\S+)$'
    found = [re.search(pattern.format(what), metrics, re.MULTILINE) for what in ("submissions", "completions")]
    return tuple(float(match[1]) if match else 0.0 for match in found)


@pytest.fixture
async def scene(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with Scene(kafka_bootstrap, tmp_path, SHORT) as scene:
        yield scene


@pytest.mark.parametrize("point", OF_ONE_JOB)
async def test_a_kill_at_any_point_of_a_call_neither_repeats_nor_loses_it(scene: Scene, point: Point) -> None:
    payload = submission()
    bystander = submission()
    dying = await scene.worker(command(point, job_id=payload["jobId"]))
    # It has ended before: a job in flight at the kill would be in the same doubt.
    await scene.outcome(await scene.submit(bystander))
    await scene.submit(payload)
    assert await dying.wait_ended() == -signal.SIGKILL
    await scene.worker()
    if point in (Point.AFTER_CLAIM_COMMIT, Point.BEFORE_POST):
        # Whether the call was made cannot be known any more: it is not made again.
        row = await scene.row(payload["jobId"])
        assert (row.status, row.accepted_at) == ("processing", None)
        assert scene.posts(payload["jobId"]) == 0
        # A completion decides it, as if the call had been made.
        await scene.complete(payload, 2, 0)
    outcome = await scene.outcome(payload["jobId"])
    assert isinstance(outcome, JobCompleted)
    assert isinstance(await scene.outcome(bystander["jobId"]), JobCompleted)
    for job_id in (payload["jobId"], bystander["jobId"]):
        assert scene.posts(job_id) <= 1
        assert len(await scene.outcomes_of(job_id)) == 1


async def test_a_worker_that_slept_through_its_session_does_nothing_any_more(scene: Scene) -> None:
    """SIGSTOP for longer than the session: it wakes up with records in its hands, claims none, ends or joins anew."""
    sleeper = await scene.worker()
    before = [await scene.submit(submission()) for _ in range(5)]
    for job_id in before:
        await scene.outcome(job_id)
    sleeper.freeze()
    try:
        # At once: the answer to its last fetch carries some of them, and waits for it in its socket.
        meanwhile = [await scene.submit(submission()) for _ in range(20)]
        other = await scene.worker(ready=False)
        await other.wait_ready()
        for job_id in meanwhile:
            assert isinstance(await scene.outcome(job_id), JobCompleted)
        joined = len(sleeper.told("rebalance_completed"))
    finally:
        sleeper.signal(signal.SIGCONT)
    async with asyncio.timeout(60):
        while sleeper.running and len(sleeper.told("rebalance_completed")) == joined:
            await asyncio.sleep(0.05)
    if not sleeper.running:
        assert await sleeper.wait_ended() == 70
        assert sleeper.log_lines()[-1]["error"].startswith("FencedError")
    after = [await scene.submit(submission()) for _ in range(20)]
    for job_id in after:
        await scene.outcome(job_id)
    (its_id,) = await scene.claimants(before)
    assert its_id not in await scene.claimants(meanwhile)
    jobs = before + meanwhile + after
    for job_id in jobs:
        assert isinstance(await scene.outcome(job_id), JobCompleted)
        assert scene.posts(job_id) == 1
        assert len(await scene.outcomes_of(job_id)) == 1


async def test_a_worker_frozen_in_a_transaction_wakes_up_fenced_and_ends(scene: Scene) -> None:
    """It wakes up with the claim in its hands: without the fence it would commit it and make a second call."""
    payload = submission()
    frozen = await scene.worker(command(Point.BEFORE_CLAIM_COMMIT, How.STOP, job_id=payload["jobId"]))
    await scene.submit(payload)
    await scene.worker()
    assert isinstance(await scene.outcome(payload["jobId"]), JobCompleted)
    frozen.signal(signal.SIGCONT)
    assert await frozen.wait_ended() == 70
    assert frozen.log_lines()[-1]["error"].startswith("FencedError")
    assert scene.posts(payload["jobId"]) == 1
    assert len(await scene.outcomes_of(payload["jobId"])) == 1


async def test_everything_read_again_changes_nothing(scene: Scene) -> None:
    """The group's offsets set back to the beginning: every record is redelivered."""
    worker = await scene.worker()
    payloads = [submission() for _ in range(20)]
    for payload in payloads:
        await scene.submit(payload)
    for payload in payloads:
        await scene.outcome(payload["jobId"])
    calls = len(scene.robot.calls)
    assert await worker.stop() == 0
    await scene.read_everything_again()
    worker = await scene.worker()
    async with asyncio.timeout(60):
        while min(await duplicates(worker)) < len(payloads):
            await asyncio.sleep(0.05)
    assert await duplicates(worker) == (len(payloads), len(payloads))
    assert isinstance(await scene.outcome(await scene.submit(submission())), JobCompleted)
    assert len(scene.robot.calls) == calls + 1
    for payload in payloads:
        assert len(await scene.outcomes_of(payload["jobId"])) == 1


async def test_sigterm_lets_the_calls_in_flight_finish(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with Scene(kafka_bootstrap, tmp_path, SHORT, RobotBehaviour(answer_delay_seconds=1.0)) as scene:
        worker = await scene.worker()
        jobs = [await scene.submit(submission(), Fate.LOSE) for _ in range(5)]
        await scene.robot.wait_for_calls(5)
        assert await worker.stop() == 0
        for job_id in jobs:
            # The answer was written down, so whoever takes over knows that the robot has it.
            await scene.row(job_id, lambda row: row.accepted_at is not None)
            assert scene.posts(job_id) == 1
