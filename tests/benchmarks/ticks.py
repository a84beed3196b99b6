"""What a tick costs with many jobs that wait for their deadline: measured inside this process, without Kafka."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median

from streams.claims import CallSlots, PayloadCache
from streams.core.deadlines import Deadlines
from streams.core.job import Job, Source, Status
from streams.journal import Journal
from streams.ledger import Ledger, LedgerConfig
from streams.log import ChangelogBatch, NewRecord, Reading, TopicPartition
from streams.metrics import Metrics
from streams.names import CHANGELOG_TABLE_KEY, Topic
from streams.rows import TABLE_MARK, encode_row, row_key
from tests.benchmarks.report import Row, progress

ROWS = (1_000, 20_000)
TICKS = 2_000
REPEATS = 5
TITLE = "tick with jobs at the robot"

_DEADLINES = Deadlines(
    per_order=timedelta(seconds=30),
    base=timedelta(minutes=5),
    call_timeout=timedelta(seconds=60),
    workspace_pause=timedelta(seconds=5),
    retention=timedelta(days=7),
)


class StoredRows:
    """A changelog partition and a reader that hold rows and take no others."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs

    async def open(self) -> AsyncGenerator[ChangelogBatch, None]:
        return self._batches()

    async def _batches(self) -> AsyncGenerator[ChangelogBatch, None]:
        yield [(CHANGELOG_TABLE_KEY, TABLE_MARK), *((row_key(job.key), encode_row(job)) for job in self._jobs)]

    async def commit(self, records: Sequence[NewRecord]) -> None:
        raise NotImplementedError(f"{len(records)} records")

    async def close(self) -> None:
        pass

    async def read(self, topic_partition: TopicPartition, start: int, end: int, limit: int) -> Reading:
        raise NotImplementedError(f"{topic_partition} [{start}, {end}) {limit}")

    async def end_offsets(self, _topic: str) -> dict[int, int]:
        return {0: len(self._jobs)}

    async def has_committed(self, _topic_partition: TopicPartition) -> bool:
        return bool(self._jobs)

    async def committed_offsets(self, _topic: str) -> dict[int, int]:
        return {0: len(self._jobs)}


def ticks() -> list[Row]:
    """Time what a tick asks of a ledger, for few rows and for many."""
    rows = []
    for count in ROWS:
        progress(f"ticks with {count} jobs")
        rows.append(Row(TITLE, f"{count:,} jobs in one partition", f"{asyncio.run(_tick_seconds(count)) * 1e6:.2f} µs"))
    return rows


async def _tick_seconds(count: int) -> float:
    now = datetime.now(UTC)
    log = StoredRows([_processing(number, now) for number in range(count)])
    config = LedgerConfig(
        app_id="bench",
        worker_id="bench",
        partitions=1,
        jobs_per_workspace=1,
        deadlines=_DEADLINES,
        max_bytes={},
    )
    journal = Journal(Metrics())
    ledger = Ledger(0, config, log, log, CallSlots(32), PayloadCache(0), lambda _claim: None, journal)
    await ledger.open(now)
    return median(_timed(ledger, now) for _ in range(REPEATS))


def _timed(ledger: Ledger, now: datetime) -> float:
    started = time.perf_counter()
    for _ in range(TICKS):
        ledger.has_work(now)
        ledger.take_due(now)
    return (time.perf_counter() - started) / TICKS


def _processing(number: int, now: datetime) -> Job:
    """Return a job that the robot works on, its deadline minutes ahead."""
    return Job(
        workspace_id=str(uuid.uuid4()),
        job_id=str(uuid.uuid4()),
        status=Status.PROCESSING,
        submitted_at=now,
        source=Source(Topic.SUBMITTED, 0, number),
        fingerprint="0" * 32,
        order_count=2,
        claimed_at=now,
        claimed_by="bench",
        accepted_at=now,
        deadline=now + timedelta(minutes=6, milliseconds=number),
        robot_may_have_received=True,
    )
