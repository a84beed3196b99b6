"""How long `jobs show` takes with many jobs in the table."""

import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, cast

from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from streams.core.job import JobKey, OrderResult, OrderStatus
from streams.kafka.topics import create_topics
from streams.names import changelog_topic
from streams.operate.job_rows import record_reader
from streams.operate.table_view import read_view, workspaces_of
from streams.settings import KafkaSettings
from streams.wire.placement import partition_of
from streams.wire.rows import encode_row, row_key
from tests.benchmarks.report import SECONDS, Row, progress, several, spread
from tests.core.builders import COMPLETED

PARTITIONS = 8
# What is left of a job's rows for up to six hours.
ROWS_OF_A_JOB = 3
JOBS_OF_A_WORKSPACE = 100
RUNS = 5


async def showing(bootstrap_servers: str, jobs: int) -> list[Row]:
    """Fill a table, and look for a job of it: in its partition, in all, and with the command."""
    progress(f"{jobs} jobs, {ROWS_OF_A_JOB} rows each")
    variables = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, "ROBOT_ORCHESTRATOR_APP_ID": f"show-{uuid.uuid4().hex}"}
    settings = KafkaSettings(**cast(Any, variables))
    await create_topics(settings, PARTITIONS, 1)
    keys = [JobKey(f"workspace-{number // JOBS_OF_A_WORKSPACE}", str(uuid.uuid4())) for number in range(jobs)]
    await _fill(settings, keys)
    key = keys[jobs // 2]
    title = f"jobs show among {jobs:,}, {PARTITIONS} partitions"
    return [
        several(title, "read with its workspace", await _reading(settings, key.workspace_id, key), SECONDS),
        several(title, "read without", await _reading(settings, None, key), SECONDS),
        several(title, "the command, with its workspace", _command(variables, key), SECONDS),
    ]


async def _fill(settings: KafkaSettings, keys: list[JobKey]) -> None:
    orders = tuple(OrderResult(str(uuid.uuid4()), OrderStatus.SUCCESS, "7300000001") for _ in range(2))
    topic = changelog_topic(settings.app_id)
    async with AIOKafkaProducer(**settings.kafka_client_options(), linger_ms=20) as producer:
        for _ in range(ROWS_OF_A_JOB):
            for key in keys:
                job = replace(COMPLETED, workspace_id=key.workspace_id, job_id=key.job_id, orders=orders)
                number = partition_of(key.workspace_id, PARTITIONS)
                await producer.send(topic, encode_row(job), key=row_key(key), partition=number)
        await producer.flush()


async def _reading(settings: KafkaSettings, workspace_id: str | None, key: JobKey) -> dict[str, float]:
    """Return how long it takes to connect and to read what is shown."""
    took = []
    for _ in range(RUNS):
        began = time.monotonic()
        async with record_reader(settings, changelog_topic(settings.app_id)) as reader:
            own = workspace_id
            if own is None:
                (own,) = await workspaces_of(settings, reader, key.job_id)
            view = await read_view(settings, reader, own)
        if view.get(key) is None:
            raise RuntimeError(f"{key} was not found")
        took.append(time.monotonic() - began)
    return spread(took)


def _command(variables: dict[str, str], key: JobKey) -> dict[str, float]:
    command = ["-m", "streams.cli", "jobs", "show", key.job_id, "--workspace", key.workspace_id, "--json"]
    took = []
    for _ in range(RUNS):
        began = time.monotonic()
        subprocess.run([sys.executable, *command], env=variables, cwd=Path.cwd(), stdout=subprocess.DEVNULL, check=True)
        took.append(time.monotonic() - began)
    return spread(took)
