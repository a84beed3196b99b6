"""What many rows cost in one table: memory, loading, a tick, an event. In CPU of this machine, without Kafka."""

import dataclasses
import gc
import multiprocessing
import os
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count, islice
from pathlib import Path

from msgspec.structs import replace

from streams.core.events import Admitted, BatchCompleted, Event, JobSubmitted, RobotAccepted
from streams.core.job import Job, JobKey, Source, Status
from streams.core.table import JobTable
from streams.engine.ledger import DUE_AT_ONCE
from streams.names import Topic
from streams.wire.rows import LoadedRow, encode_row, load_entry, row_key
from tests.benchmarks.report import BYTES, MICROSECONDS, ROWS_A_SECOND, Row, progress, single
from tests.core.builders import DEADLINES

TICKS = 2_000
# Jobs that are admitted, called and completed while the others wait.
LIVES = 2_000
# What is loaded between two looks at the clock; the rows themselves are made outside of the measured time.
BATCH = 2_000


class Layout(StrEnum):
    """How the jobs lie in workspaces."""

    OWN = "each of its own workspace"
    ONE = "all of one workspace"


def table(rows: int) -> list[Row]:
    """Measure tables of waiting and of ended jobs, each in a process of its own."""
    found = []
    for status in (Status.PENDING, Status.COMPLETED):
        for layout in Layout:
            progress(f"a table of {rows:,} {status} jobs, {layout}")
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
                found += child.submit(_measured, rows, status, layout).result()
    return found


def _measured(rows: int, status: Status, layout: Layout) -> list[Row]:
    title = f"{rows:,} {'waiting' if status is Status.PENDING else 'ended'} jobs in one table, {layout}"
    now = datetime.now(UTC)
    jobs = JobTable(
        dataclasses.replace(DEADLINES, workspace_pause=timedelta(0)), 1, lambda last: 0 if last is None else last + 1
    )
    records = _records(status, layout, now)
    # What the first rows alone need.
    _load(jobs, list(islice(records, BATCH)))
    before, seconds = _memory(), 0.0
    for _ in range(rows // BATCH):
        seconds += _load(jobs, list(islice(records, BATCH)))
    started = time.process_time()
    for _ in jobs.index(now):
        pass
    indexing = time.process_time() - started
    found = [
        single(title, "memory a job", (_memory() - before) / rows, BYTES),
        single(title, "decoded and kept, a second of CPU", rows / seconds, ROWS_A_SECOND),
        single(title, "and put in order, a second of CPU", rows / (seconds + indexing), ROWS_A_SECOND),
        single(title, "a tick, with nothing due", _tick(jobs, now) * 1e6, MICROSECONDS),
    ]
    if status is Status.PENDING:
        found.append(single(title, "a job submitted, CPU", _submit(jobs, layout, now) * 1e6, MICROSECONDS))
        life = "a job claimed, accepted, completed, CPU"
        found.append(single(title, life, _live(jobs, now) * 1e6, MICROSECONDS))
    return found


def _records(status: Status, layout: Layout, now: datetime) -> Iterator[tuple[bytes, bytes]]:
    workspace_id = str(uuid.uuid4())
    for number in count():
        workspace_id = workspace_id if layout is Layout.ONE else str(uuid.uuid4())
        job = _job(workspace_id, number, status, now - timedelta(days=6) + timedelta(milliseconds=100 * number))
        yield row_key(job.key), encode_row(job)


def _job(workspace_id: str, number: int, status: Status, at: datetime) -> Job:
    job = Job(
        workspace_id=workspace_id,
        job_id=str(uuid.uuid4()),
        status=status,
        submitted_at=at,
        source=Source(Topic.SUBMITTED, 0, number),
        fingerprint=uuid.uuid4().hex,
        order_count=2,
    )
    if status is Status.PENDING:
        return job
    return replace(
        job,
        claimed_at=at,
        claimed_by="worker-1:4711",
        called_at=at,
        accepted_at=at,
        deadline=at + timedelta(minutes=6),
        ended_at=at + timedelta(minutes=1),
        success_count=2,
        error_count=0,
        robot_may_have_received=True,
    )


def _load(jobs: JobTable, records: list[tuple[bytes, bytes]]) -> float:
    started = time.process_time()
    for key, value in records:
        entry = load_entry(key, value)
        if isinstance(entry, LoadedRow):
            jobs.load(entry.key, entry.values)
    return time.process_time() - started


def _memory() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _tick(jobs: JobTable, now: datetime) -> float:
    started = time.process_time()
    for _ in range(TICKS):
        jobs.ready(now)
        jobs.forgettable(now)
        jobs.due(now, DUE_AT_ONCE)
    return (time.process_time() - started) / TICKS


def _submit(jobs: JobTable, layout: Layout, now: datetime) -> float:
    first = next(jobs.pending())
    workspaces = [first.workspace_id if layout is Layout.ONE else str(uuid.uuid4()) for _ in range(LIVES)]
    keys = [JobKey(workspace_id, str(uuid.uuid4())) for workspace_id in workspaces]
    source = Source(Topic.SUBMITTED, 0, 2**40)
    return _applied(jobs, [JobSubmitted(key, now, source, 2, uuid.uuid4().hex) for key in keys], now) / LIVES


def _live(jobs: JobTable, now: datetime) -> float:
    seconds = 0.0
    for _ in range(LIVES):
        started = time.process_time()
        jobs.ready(now)
        jobs.next_in_line(1)
        job = jobs.next()
        seconds += time.process_time() - started
        if job is not None:
            key = job.key
            seconds += _applied(
                jobs, [Admitted(key, "worker-1"), RobotAccepted(key, now), BatchCompleted(key, 2, 0)], now
            )
    return seconds / LIVES


def _applied(jobs: JobTable, events: list[Event], now: datetime) -> float:
    started = time.process_time()
    for event in events:
        jobs.apply(event, now)
    return time.process_time() - started
