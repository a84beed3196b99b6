"""The limit's jobs: what is read, rows, and whose turn it is. No I/O."""

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from aiokafka import ConsumerRecord

from streams.core.job import JobKey

CALLBACK = {"callbackUrl": "https://app.example/api/webhooks/robot-callback", "callbackSecret": "made-up"}


class Submission(msgspec.Struct):
    """What is read of a submission."""

    workspaceId: str  # the name on the wire
    jobId: str  # the name on the wire
    credentials: msgspec.Raw
    orders: list[msgspec.Raw]


class Completion(msgspec.Struct):
    """What is read of a completion."""

    workspaceId: str  # the name on the wire
    jobId: str  # the name on the wire
    successCount: int  # the name on the wire
    errorCount: int  # the name on the wire


class Job(msgspec.Struct, omit_defaults=True, rename="camel"):
    """A row, and with its last status the outcome."""

    workspace_id: str
    job_id: str
    status: str
    source: tuple[str, int, int]
    order_count: int
    submitted_at: datetime
    dispatched_at: datetime | None = None
    accepted_at: datetime | None = None
    ended_at: datetime | None = None
    success_count: int | None = None
    error_count: int | None = None

    @property
    def key(self) -> JobKey:
        """What identifies it."""
        return JobKey(self.workspace_id, self.job_id)


class Claim(NamedTuple):
    """A job whose call may leave, and the body of the POST."""

    key: JobKey
    body: bytes


_submissions = msgspec.json.Decoder(Submission)
_completions = msgspec.json.Decoder(Completion)
encode = msgspec.json.Encoder().encode


class Table:
    """The jobs, and whose turn it is. `bound`: the most claims without the robot's answer."""

    def __init__(self, bound: int) -> None:
        self._jobs: dict[JobKey, Job] = {}
        self._bodies: dict[JobKey, bytes] = {}
        # Of each workspace its jobs that have not ended; of the first ones those that nobody has called yet.
        self._lines: dict[str, deque[JobKey]] = {}
        self._ready: deque[JobKey] = deque()
        self._free = bound

    def submit(self, record: ConsumerRecord) -> Job | None:
        """Take in a submission; return its row, None if there is one already."""
        read = _submissions.decode(record.value)
        key = JobKey(read.workspaceId, read.jobId)
        if key in self._jobs:
            return None
        source = (record.topic, record.partition, record.offset)
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        job = self._jobs[key] = Job(*key, "pending", source, len(read.orders), at)
        body = {"workspaceId": read.workspaceId, "credentials": read.credentials, "jobId": read.jobId, **CALLBACK}
        self._bodies[key] = encode({**body, "orders": read.orders})
        line = self._lines.setdefault(key.workspace_id, deque())
        line.append(key)
        if len(line) == 1:
            self._ready.append(key)
        return job

    def complete(self, record: ConsumerRecord, now: datetime) -> Job | None:
        """Take in a completion; return the row, None unless it is of a job that was claimed and has not ended."""
        read = _completions.decode(record.value)
        job = self._jobs.get(JobKey(read.workspaceId, read.jobId))
        if job is None or job.status != "processing":
            return None
        job.status, job.ended_at = "completed", now
        job.success_count, job.error_count = read.successCount, read.errorCount
        line = self._lines[job.workspace_id]
        line.popleft()
        if line:
            self._ready.append(line[0])
        else:
            del self._lines[job.workspace_id]
        return job

    def answer(self, key: JobKey, now: datetime) -> Job:
        """Take in that the robot has accepted a batch; return the row."""
        self._free += 1
        job = self._jobs[key]
        job.accepted_at = now
        return job

    def claim(self, now: datetime) -> list[Claim]:
        """Claim as many jobs as may be called."""
        claims = []
        while self._ready and self._free:
            key = self._ready.popleft()
            self._free -= 1
            job = self._jobs[key]
            job.status, job.dispatched_at = "processing", now
            claims.append(Claim(key, self._bodies.pop(key)))
        return claims

    def rows(self, keys: Iterable[JobKey]) -> list[Job]:
        """Return rows as they stand."""
        return [self._jobs[key] for key in keys]
