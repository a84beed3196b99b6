"""What a worker insists on before it starts, and how it says so."""

import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka.admin import NewTopic

from schemas import JobCompleted
from streams.dev.kafka import EmbeddedKafka
from streams.dev.loopback import free_port
from streams.kafka.admin import admin_client
from streams.kafka.adopt import adopt_table
from streams.kafka.topics import TopicsError, check_topics, create_topics
from streams.names import changelog_topic
from streams.settings import KafkaSettings
from streams.wire.rows import ROW_VERSION
from tests.support.builders import CALLBACK_SECRET, NOWHERE, submission, worker_variables
from tests.support.scene import PARTITIONS, Scene
from tests.support.settings import settings_of
from tests.support.worker import WorkerProcess

COMMANDS = [("-m", "streams.cli", "worker"), ("-m", "faust", "-A", "streams.app", "worker")]


def last_error(worker: WorkerProcess) -> str:
    return str(worker.log_lines()[-1]["error"])


async def test_a_missing_topic_is_named(scene: Scene) -> None:
    worker = await scene.worker(ready=False, ROBOT_ORCHESTRATOR_APP_ID="nobody-made-this")
    assert await worker.wait_ended() == 78
    assert last_error(worker).startswith("missing topics: nobody-made-this-jobs-changelog")


async def test_a_table_that_was_made_anew_is_refused_until_it_is_adopted(scene: Scene) -> None:
    """Its accepted jobs would vanish without an outcome."""
    first, second = submission(), submission()
    worker = await scene.worker()
    await scene.submit(first)
    await scene.outcome(first["jobId"])
    await worker.stop()
    changelog = changelog_topic(scene.app_id)
    async with admin_client(bootstrap_servers=scene.bootstrap_servers) as admin:
        await admin.delete_topics([changelog])
    await create_topics(KafkaSettings(**cast(Any, scene.variables)), scene.partitions, 1)
    refused = await scene.worker(ready=False)
    assert await refused.wait_ended() == 78
    assert last_error(refused).startswith(f"{changelog}-")
    assert "has no table, but the group has worked on robot.job.submitted" in last_error(refused)
    assert last_error(refused).endswith("robot-orchestrator topics adopt")
    await adopt_table(KafkaSettings(**cast(Any, scene.variables)))
    await scene.worker()
    await scene.submit(second)
    assert (await scene.outcome(second["jobId"])).status == "completed"


async def test_a_row_of_a_newer_release_is_one_line_and_no_internal_failure(scene: Scene) -> None:
    changelog = changelog_topic(scene.app_id)
    value = b'{"version":99,"status":"paused"}'
    await scene.producer.send_and_wait(changelog, value, key=b'["workspace","job"]', partition=2)
    worker = await scene.worker(ready=False)
    assert await worker.wait_ended() == 78
    assert last_error(worker) == (
        f"{changelog}-2: a job row has version 99, this release reads 1 to {ROW_VERSION}: run the release that wrote it"
    )
    assert "Traceback" not in worker.log_path.read_text()


TOO_SMALL = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "compact", "max.message.bytes": "262143"}


@pytest.mark.parametrize(
    ("partitions", "config", "problem"),
    [
        (PARTITIONS + 1, {}, f" has {PARTITIONS + 1}"),
        # A worker would crash on its first busy moment, and again after each restart.
        (PARTITIONS, TOO_SMALL, ": max.message.bytes is 262143, must be 262144: a busy worker writes batches of that"),
    ],
)
async def test_topics_that_would_not_do_are_named(
    scene: Scene, partitions: int, config: dict[str, str], problem: str
) -> None:
    app_id = f"{scene.app_id}-other"
    async with admin_client(bootstrap_servers=scene.bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(changelog_topic(app_id), partitions, 1, topic_configs=config)])
    with pytest.raises(TopicsError, match=f"{changelog_topic(app_id)}{problem}"):
        await check_topics(settings_of(scene.bootstrap_servers, ROBOT_ORCHESTRATOR_APP_ID=app_id), worker=True)


async def test_an_application_that_starts_for_the_first_time_says_that_it_calls_what_is_there(tmp_path: Path) -> None:
    """On a Kafka of its own, to which nobody else has written."""
    with EmbeddedKafka(tmp_path / "kafka") as broker:
        async with Scene(broker.bootstrap_servers, tmp_path, new=True) as scene:
            job_id = await scene.submit(submission())
            worker = await scene.worker()
            assert isinstance(await scene.outcome(job_id), JobCompleted)
    expected = f"{scene.app_id} (ROBOT_ORCHESTRATOR_APP_ID) has never run here: it calls all that robot.job.submitted "
    assert [line["problem"].startswith(expected) for line in worker.told("topics_warning")].count(True) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_setting_ends_the_program_with_one_line(command: tuple[str, ...]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROBOT_")}
    ended = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "ROBOT_COORDINADORA_URL is not set" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_worker_begins_with_its_version_and_its_settings(tmp_path: Path, command: tuple[str, ...]) -> None:
    """And names those that are misspelt."""
    variables = worker_variables(
        ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS="20",
        ROBOT_ORCHESTRATOR_JOBS_PER_WORKSPACE="1",
        KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
        KAFKA_SASL_MECHANISM="PLAIN",
        KAFKA_SASL_USERNAME="user",
        KAFKA_SASL_PASSWORD="br0ker-pass",  # made up
        ROBOT_ORCHESTRATOR_DRAIN_SECOND="1",
        ROBOT_ORCHESTRATOR_QUOTA="2",
    )
    worker = WorkerProcess(variables, tmp_path / "worker.log", command)
    try:
        # There is none.
        await worker.wait_told("waiting_for_broker")
    finally:
        worker.close()
    (warning,) = worker.told("settings_warning")
    assert warning["level"] == "warning"
    assert warning["problem"] == (
        "ROBOT_ORCHESTRATOR_DRAIN_SECOND is unknown and ignored (nearest: ROBOT_ORCHESTRATOR_DRAIN_SECONDS); "
        "ROBOT_ORCHESTRATOR_QUOTA is unknown and ignored"
    )
    first = worker.log_lines()[0]
    assert (first["event"], first["version"]) == ("worker_started", metadata.version("robot-orchestrator"))
    assert (
        first["settings"].items()
        >= {
            "KAFKA_BOOTSTRAP_SERVERS": NOWHERE,
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_MECHANISM": "PLAIN",
            "KAFKA_SASL_USERNAME": "user",
            "KAFKA_SASL_PASSWORD": "**********",
            "ROBOT_COORDINADORA_URL": "http://robot.example.com/",
            "ROBOT_CALLBACK_SECRET": "**********",
            "NEXT_PUBLIC_APP_URL": "https://app.example/base",
            "ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS": "20.0",
            "ROBOT_ORCHESTRATOR_PROBE_PORT": str(worker.probe_port),
            "ROBOT_ORCHESTRATOR_LOG_FORMAT": "json",
            "ROBOT_ORCHESTRATOR_APP_ID": "robot-orchestrator",
        }.items()
    )
    assert "br0ker-pass" not in worker.log_path.read_text()
    assert CALLBACK_SECRET not in worker.log_path.read_text()


async def test_without_a_broker_a_worker_waits_and_says_so_and_can_be_stopped(scene: Scene) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    worker = await scene.worker(ready=False, KAFKA_BOOTSTRAP_SERVERS=nowhere)
    await worker.wait_told("waiting_for_broker")
    assert (await worker.get("/livez"))[0] == 200
    assert (await worker.get("/readyz"))[0] == 503
    worker.signal(signal.SIGTERM)
    assert await worker.wait_ended() == 0
    assert worker.log_lines()[-1]["event"] == "worker_stopped"
