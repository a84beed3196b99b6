"""The last release and this one in one group, under load: there, and back again.

The former release is its wheel, `hatchling build -t wheel` of its last commit (4d3b7da for 0.3.0), and runs with the
libraries of this one. A new release takes the place of the former one here.
"""

import asyncio
import contextlib
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas import JobCompleted
from streams.names import LogEvent
from streams.version import version
from tests.support.builders import submission
from tests.support.scene import Scene
from tests.support.worker import PRODUCTION, WorkerProcess

FORMER = "0.3.0"
(WHEEL,) = Path(__file__).parent.glob(f"robot_orchestrator-{FORMER}-*.whl")
# Python looks first where its script is, so that this one finds the former release's packages beside it.
SCRIPT = """
import sys
from streams.cli import main
sys.argv = ["robot-orchestrator", "worker"]
main()
"""
PAUSE_SECONDS = 0.05
# Between two restarts, and at the end: some jobs begin and end with the workers as they are.
JOBS_MEANWHILE = 15


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Return the command of a worker of the former release."""
    folder = tmp_path_factory.mktemp("former")
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(folder)
    script = folder / "worker.py"
    script.write_text(SCRIPT)
    return (str(script),)


@contextlib.asynccontextmanager
async def load(scene: Scene) -> AsyncIterator[list[str]]:
    """Publish jobs all the time; yield their ids."""
    jobs: list[str] = []

    async def publish() -> None:
        while True:
            jobs.append(await scene.submit(submission()))
            await asyncio.sleep(PAUSE_SECONDS)

    publishing = asyncio.create_task(publish())
    try:
        yield jobs
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)


async def test_workers_are_replaced_one_after_the_other_there_and_back_and_no_job_notices(
    former: tuple[str, ...], kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        workers = [await scene.worker(former) for _ in range(2)]
        async with load(scene) as jobs:
            for command, release in ((PRODUCTION, version()), (former, FORMER)):
                for nth, worker in enumerate(workers):
                    await more_ended(scene, jobs)
                    assert await worker.stop() == 0
                    workers[nth] = await scene.worker(command)
                    assert release_of(workers[nth]) == release
            await more_ended(scene, jobs)
        for job_id in jobs:
            assert isinstance(await scene.outcome(job_id), JobCompleted)
            assert len(await scene.outcomes_of(job_id)) == 1
            assert scene.posts(job_id) == 1
        assert all(worker.running for worker in workers)


async def more_ended(scene: Scene, jobs: list[str]) -> None:
    """Return when some jobs that are published from now on have ended."""
    first = len(jobs)
    while len(jobs) < first + JOBS_MEANWHILE:
        await asyncio.sleep(PAUSE_SECONDS)
    for job_id in jobs[first : first + JOBS_MEANWHILE]:
        await scene.outcome(job_id)


def release_of(worker: WorkerProcess) -> str:
    (line,) = worker.told(LogEvent.WORKER_STARTED)
    return str(line["version"])
