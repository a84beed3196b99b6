"""The Python snippets of docs/records.md, each as it is printed there, against a worker on a real Kafka."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from schemas import JobCompleted
from streams.dev.loopback import free_port
from streams.dev.robot import Fate
from streams.names import LogEvent
from tests.support.builders import CALLBACK_SECRET, submission
from tests.support.documents import RECORDS
from tests.support.scene import WAIT_SECONDS, Scene
from tests.support.worker import WorkerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with Scene(kafka_bootstrap, tmp_path_factory.mktemp("snippets")) as scene:
        yield scene


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(scene: Scene) -> WorkerProcess:
    return await scene.worker()


@contextlib.asynccontextmanager
async def snippet(scene: Scene, name: str, *arguments: str, **variables: str) -> AsyncIterator[Process]:
    """Run a snippet until it ends, or until the block does."""
    script = scene.folder / name
    script.write_text(RECORDS.block("python", name).text, encoding="utf-8")
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": scene.bootstrap_servers, **variables}
    process = await asyncio.create_subprocess_exec(sys.executable, script, *arguments, env=environment, stdout=PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def produce(scene: Scene) -> str:
    """Publish a job as producers are told to; return its id."""
    async with snippet(scene, "produce.py") as process:
        told, _ = await process.communicate()
    assert process.returncode == 0
    return told.decode().strip()


async def test_what_the_producer_publishes_is_called_once_and_lies_where_it_belongs(
    scene: Scene, worker: WorkerProcess
) -> None:
    job_id = await produce(scene)
    assert isinstance(await scene.outcome(job_id), JobCompleted)
    assert scene.posts(job_id) == 1
    assert worker.told(LogEvent.RECORD_FORWARDED) == []


async def test_the_bridge_turns_the_robots_reports_into_one_completion(
    scene: Scene, worker: WorkerProcess, tmp_path: Path
) -> None:
    job = submission(orders=3)
    file, port = tmp_path / "job.json", free_port()
    file.write_text(json.dumps(job), encoding="utf-8")
    url = f"http://127.0.0.1:{port}/api/webhooks/robot-callback"
    statuses = ["success", "error", "success"]
    async with (
        snippet(scene, "bridge.py", str(file), PORT=str(port), ROBOT_CALLBACK_SECRET=CALLBACK_SECRET),
        aiohttp.ClientSession() as robot,
    ):
        # This robot reports nothing by itself.
        await scene.submit(job, Fate.LOSE)
        await scene.row(job["jobId"], lambda row: row.accepted_at is not None)
        assert await _answer(robot, url, {"itemId": job["orders"][0]["itemId"], "status": "error"}, "no secret") == 403
        for order, status in zip(job["orders"], statuses, strict=True):
            assert await _answer(robot, url, {"itemId": order["itemId"], "status": status}, CALLBACK_SECRET) == 200
        outcome = await scene.outcome(job["jobId"])
    assert isinstance(outcome, JobCompleted)
    assert (outcome.successCount, outcome.errorCount, outcome.countsMismatch) == (2, 1, False)
    assert worker.told(LogEvent.RECORD_FORWARDED) == []


async def _answer(robot: aiohttp.ClientSession, url: str, report: dict[str, str], secret: str) -> int:
    """Report as the robot does, as soon as the bridge listens; return the status of what it answers."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                async with robot.post(url, json=report, headers={"X-Callback-Secret": secret}) as response:
                    return response.status
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


@pytest.mark.usefixtures("worker")
async def test_the_consumer_is_told_of_each_outcome_once(scene: Scene) -> None:
    job_ids = [await produce(scene), await produce(scene)]
    for job_id in job_ids:
        await scene.outcome(job_id)
    told: list[str] = []
    async with snippet(scene, "consume.py") as process, asyncio.timeout(WAIT_SECONDS):
        assert process.stdout is not None
        # It begins where the topics do: others have written there before.
        while not all(f"{job_id} completed" in told for job_id in job_ids):
            line = await process.stdout.readline()
            assert line, "it has ended"
            told.append(line.decode().strip())
    assert [told.count(f"{job_id} completed") for job_id in job_ids] == [1, 1]
