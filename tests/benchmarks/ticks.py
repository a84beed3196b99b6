"""What a tick costs with many jobs that wait for their deadline: measured inside this process, without Kafka."""

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta
from statistics import median

from streams.core.job import Job, Source, Status
from streams.engine.ledger import Ledger
from streams.names import Topic, changelog_topic
from streams.wire.records import NewRecord
from streams.wire.rows import encode_row, row_key
from tests.benchmarks.report import MICROSECONDS, Row, progress, single
from tests.core.builders import DEADLINES
from tests.simulation.broker import SimulatedBroker, SimulatedPartitionLog, SimulatedReader
from tests.support.engine import APP, rules_of, shared_by

ROWS = (1_000, 20_000)
TICKS = 2_000
REPEATS = 5
TITLE = "tick with jobs at the robot"


def ticks() -> list[Row]:
    """Time what a tick asks of a ledger, for few rows and for many."""
    rows = []
    for count in ROWS:
        progress(f"ticks with {count} jobs")
        microseconds = asyncio.run(_tick_seconds(count)) * 1e6
        rows.append(single(TITLE, f"{count:,} jobs in one partition", microseconds, MICROSECONDS))
    return rows


async def _tick_seconds(count: int) -> float:
    now = datetime.now(UTC)
    broker = SimulatedBroker(1, lambda: now)
    for number in range(count):
        job = _processing(number, now)
        broker.append(NewRecord(changelog_topic(APP), 0, row_key(job.key), encode_row(job)))
    shared = shared_by(rules_of(deadlines=DEADLINES), SimulatedReader(broker, _no_way), lambda _claim: None)
    ledger = Ledger(0, SimulatedPartitionLog(broker, _no_way, APP, 0), shared)
    await ledger.open(now)
    return median(_timed(ledger, now) for _ in range(REPEATS))


async def _no_way() -> None:
    """Go nowhere: the broker is in this process."""


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
