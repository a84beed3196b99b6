"""What a million jobs cost a console: the first reading, its file, its memory, and its pages."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import httpx
from aiokafka import AIOKafkaProducer

from streams.core.job import FailureReason, Job, OrderResult, OrderStatus, Source, Status
from streams.dev.loopback import HOST
from streams.kafka.topics import create_topics
from streams.names import Topic, changelog_topic
from streams.wire.placement import partition_of
from streams.wire.rows import encode_row, row_key
from tests.benchmarks.application import Cluster
from tests.benchmarks.report import MIB, ROWS_A_SECOND, SECONDS, Row, Unit, progress, several, single
from tests.support.console import ConsoleProcess
from tests.support.settings import settings_of

APP_ID = "benchmark-console"
# One workspace has a third of all jobs.
LARGE, WORKSPACES = "shop-large", 2_000
TIMES = 40
SENT_AT_ONCE = 10_000
READY_SECONDS = 1800.0
PAGE_MS = Unit("ms")


async def console(cluster: Cluster, jobs: int) -> list[Row]:
    """Write so many rows, let a console read them, and ask it for lists of every kind."""
    settings = settings_of(cluster.bootstrap_servers, ROBOT_ORCHESTRATOR_APP_ID=APP_ID)
    await create_topics(settings, cluster.partitions, 1)
    variables = {"KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers, "ROBOT_ORCHESTRATOR_APP_ID": APP_ID}
    title = f"console, {jobs:,} jobs, {cluster.partitions} partitions"
    progress(title)
    empty = cluster.folder / "empty"
    empty.mkdir()
    without = ConsoleProcess(variables, empty)
    await without.wait_ready()
    bytes_without = without.peak_bytes()
    await without.stop()
    await _write(cluster, jobs)
    full = cluster.folder / "full"
    full.mkdir()
    started = time.monotonic()
    running = ConsoleProcess(variables, full)
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await running.is_ready():
                await asyncio.sleep(0.2)
        caught_up = time.monotonic() - started
        slowest = await _slowest(f"http://{HOST}:{running.probe_port}")
        peak = running.peak_bytes()
        await running.stop()
    finally:
        running.close()
    return [
        single(title, "first reading", caught_up, SECONDS),
        single(title, "rows read", jobs / caught_up, ROWS_A_SECOND),
        single(title, "file", (full / "console.sqlite3").stat().st_size / 2**20, MIB),
        several(title, "most memory", {"with the jobs": peak / 2**20, "without": bytes_without / 2**20}, MIB),
        *(several(title, name, {"p50": p50, "slowest": worst}, PAGE_MS) for name, p50, worst in slowest),
    ]


def _jobs(count: int) -> Iterator[Job]:
    began = datetime.now(UTC) - timedelta(days=6)
    for number in range(count):
        workspace = LARGE if number % 3 == 0 else f"shop-{number % WORKSPACES}"
        at = began + timedelta(milliseconds=number * 400)
        base = {
            "workspace_id": workspace,
            "job_id": f"{number:08d}-4d0c-4b6e-9a53-0c5f1d7f2f10",
            "submitted_at": at,
            "source": Source(Topic.SUBMITTED, 0, number),
            "fingerprint": "d41d8cd98f00b204e9800998ecf8427e",
            "order_count": 2,
        }
        called = {"claimed_at": at, "claimed_by": "worker-1", "accepted_at": at, "called_at": at, "answered_at": at}
        ended = {"ended_at": at + timedelta(minutes=1), "deadline": at + timedelta(minutes=6)}
        orders = tuple(OrderResult(f"item-{number}-{one}", OrderStatus.SUCCESS, "7300000001") for one in (1, 2))
        if number % 100 == 7:
            yield Job(**base, status=Status.PENDING)  # type: ignore[arg-type] # each by its name
        elif number % 50 == 3:
            reason = (FailureReason.TIMEOUT, FailureReason.ROBOT_REJECTED)[number % 4 // 2]
            yield Job(**base, **called, **ended, status=Status.FAILED, reason=reason, error="as it was told")  # type: ignore[arg-type]
        else:
            done = {"success_count": 2, "error_count": 0, "orders": orders}
            yield Job(**base, **called, **ended, **done, status=Status.COMPLETED)  # type: ignore[arg-type]


async def _write(cluster: Cluster, count: int) -> None:
    topic = changelog_topic(APP_ID)
    async with AIOKafkaProducer(
        bootstrap_servers=cluster.bootstrap_servers, linger_ms=20, max_batch_size=500_000
    ) as to:
        sent = []
        for job in _jobs(count):
            place = partition_of(job.workspace_id, cluster.partitions)
            sent.append(await to.send(topic, encode_row(job), key=row_key(job.key), partition=place))
            if len(sent) >= SENT_AT_ONCE:
                await asyncio.gather(*sent)
                sent = []
        await asyncio.gather(*sent)


async def _slowest(url: str) -> list[tuple[str, float, float]]:
    """Return of each kind of page the median and the longest time in milliseconds."""
    lists = {
        "list": [{}, {"oldest": "true"}],
        "list of a status": [{"status": status, "oldest": order} for status in Status for order in ("true", "false")],
        "list of a reason": [{"status": "failed", "reason": reason} for reason in ("timeout", "robot_rejected")],
        "list of a workspace": [
            {"workspace": LARGE},
            {"workspace": LARGE, "status": "failed"},
            {"workspace": "shop-8"},
        ],
        "found by an id": [{"find": "00000007"}],
    }
    pages = {name: [f"/jobs?{urlencode(query)}" for query in queries] for name, queries in lists.items()}
    deep = await _deep(url)
    pages["a page in the middle of a list"] = [f"/jobs?{urlencode({'after': deep})}"]
    pages["summary"] = ["/"]
    found = []
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        for name, paths in pages.items():
            times = []
            for _ in range(TIMES):
                for path in paths:
                    began = time.monotonic()
                    (await client.get(path)).raise_for_status()
                    times.append((time.monotonic() - began) * 1000)
            times.sort()
            found.append((name, times[len(times) // 2], times[-1]))
    return found


async def _deep(url: str) -> str:
    """Return the cursor of a job in the middle, of which a list would come there after thousands of pages."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        ends = [(await client.get(f"/api/jobs?oldest={order}&limit=1")).json()["next"] for order in ("true", "false")]
    first, last = (int(cursor.partition("-")[0]) for cursor in ends)
    return f"{(first + last) // 2}-0"
