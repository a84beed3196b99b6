"""What a job that waits for its turn costs: memory, and time when a worker starts with many of them."""

import asyncio
import time
import uuid
from datetime import datetime

from aiokafka import AIOKafkaProducer

from streams.core.job import Status
from streams.names import LogEvent
from tests.benchmarks.application import Application, Cluster, Pace
from tests.benchmarks.children import MeasuredWorker
from tests.benchmarks.jobs import make_submissions
from tests.benchmarks.load import publish
from tests.benchmarks.report import BYTES, MIB, ROWS_A_SECOND, SECONDS, Row, progress, several, single
from tests.benchmarks.usage import rss_bytes

BUSY_WORKSPACES = 50
# What the worker still does after the last commit is over by then.
SETTLE_SECONDS = 2.0


async def memory(cluster: Cluster, jobs: int) -> list[Row]:
    """Let jobs wait behind workspaces whose first job never ends, in two halves; then start a worker with them."""
    progress(f"{jobs} waiting jobs, {cluster.partitions} partitions")
    workspaces = [str(uuid.uuid4()) for _ in range(BUSY_WORKSPACES)]
    halves = [make_submissions(count, workspaces) for count in (jobs - jobs // 2, jobs // 2)]
    producer = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap_servers, acks="all")
    async with producer, Application(cluster, Pace(None)) as application:
        worker = await application.start_worker()
        empty_load = _loading_seconds(worker)
        empty = await _settled(worker)
        await publish(producer, make_submissions(BUSY_WORKSPACES, workspaces))
        await worker.wait_for_metric("jobs", BUSY_WORKSPACES, state=Status.PROCESSING)
        sizes = [await _settled(worker)]
        waiting = 0
        for half in halves:
            await publish(producer, half)
            waiting += len(half)
            await worker.wait_for_metric("jobs", waiting, state=Status.PENDING)
            sizes.append(await _settled(worker))
        await worker.stop()
        started = time.monotonic()
        worker = await application.start_worker()
        ready = time.monotonic() - started
        load = _loading_seconds(worker)
        restarted = await _settled(worker)
    title = f"{jobs} waiting jobs, {cluster.partitions} partitions"
    return [
        single(title, "payload", len(halves[0][0].value), BYTES),
        single(title, "memory a job, payload included", (sizes[2] - sizes[0]) / jobs, BYTES),
        single(title, "the same, of the second half", (sizes[2] - sizes[1]) / len(halves[1]), BYTES),
        single(title, "the same, after a restart (no payloads)", (restarted - empty) / jobs, BYTES),
        single(title, "worker without jobs", empty / 2**20, MIB),
        single(title, "start to ready", ready, SECONDS),
        several(title, "of it loading", {"with the jobs": load, "with no rows": empty_load}, SECONDS),
        single(title, "rows loaded", (jobs + BUSY_WORKSPACES) / load, ROWS_A_SECOND),
    ]


async def _settled(worker: MeasuredWorker) -> int:
    await asyncio.sleep(SETTLE_SECONDS)
    return rss_bytes(worker.pid)


def _loading_seconds(worker: MeasuredWorker) -> float:
    """Return the time from the assignment to the last partition that is open, by the worker's own log."""
    at: dict[str, datetime] = {}
    for line in worker.log_lines():
        at[line["event"]] = datetime.fromisoformat(line["timestamp"])
    return (at[LogEvent.PARTITION_OPENED] - at[LogEvent.REBALANCE_COMPLETED]).total_seconds()
