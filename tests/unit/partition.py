"""One partition's ledger over a simulated log, with the clock and the robot in the test's hands."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from streams.core.events import CallFailed, RobotAccepted
from streams.core.job import FailureReason, Job, JobKey
from streams.engine.claims import CallSlots, Claim, PayloadCache
from streams.engine.ledger import Ledger, Shared
from streams.engine.ports import ChangelogBatch, PartitionLog, UnreadableError
from streams.names import Topic, changelog_topic
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.placement import partition_of
from streams.wire.records import Headers, NewRecord
from streams.wire.rows import encode_row, row_key
from tests.core.builders import DEADLINES, NOW
from tests.simulation.broker import Entry, SimulatedBroker, SimulatedPartitionLog, SimulatedReader, at_once
from tests.support.engine import APP, FOLLOWED, rules_of
from tests.unit.builders import completion, encoded

PAUSE = DEADLINES.workspace_pause
MOMENT = timedelta(milliseconds=1)
ROOM_FOR_ALL = 10**6
PARTITIONS = 4
HERE = partition_of("workspace-1", PARTITIONS)
# Two workspaces that belong here as well, and one that does not.
NEIGHBOURS = [f"w{n}" for n in range(100) if partition_of(f"w{n}", PARTITIONS) == HERE][:2]
STRANGER = next(f"w{n}" for n in range(100) if partition_of(f"w{n}", PARTITIONS) != HERE)


FAR = timedelta(days=1)


def key_of(job_id: str) -> JobKey:
    return JobKey("workspace-1", job_id)


class ShuffledLog(SimulatedPartitionLog):
    """A log that gives the rows out in another order than they were written in."""

    async def _read_changelog(self, end: int) -> AsyncGenerator[ChangelogBatch, None]:
        rows = dict([entry async for batch in super()._read_changelog(end) for entry in batch])
        yield sorted(rows.items(), reverse=True)


class Partition:
    """One partition and its ledger. The test has the clock, and a call lasts until the test answers it."""

    def __init__(self, *, payload_bytes: int = ROOM_FOR_ALL, slots: int = 10, followed: bool = False) -> None:
        self.rules = rules_of(callback=FOLLOWED) if followed else rules_of()
        self.now = NOW
        self.readable = True
        # How many more reads of the log are answered.
        self.answers = ROOM_FOR_ALL
        # What a read of the log takes, and what it waits for.
        self.read_takes = timedelta(0)
        self.held: asyncio.Event | None = None
        self.metrics = Metrics()
        self.acknowledged: list[int] = []
        self.broker = SimulatedBroker(PARTITIONS, lambda: self.now)
        self.slots = CallSlots(slots)
        self.payloads = PayloadCache(payload_bytes)
        self.claims: list[Claim] = []
        self.ledger = self.over(self.new_log())

    def new_log(self) -> SimulatedPartitionLog:
        """Return the partition's log, as one more worker would open it."""
        return SimulatedPartitionLog(self.broker, at_once, APP, HERE)

    def over(self, log: PartitionLog, *, number: int = HERE, partitions: int = PARTITIONS) -> Ledger:
        """Return the ledger of a partition over a log."""
        shared = Shared(
            rules=replace(self.rules, partitions=partitions),
            reader=SimulatedReader(self.broker, self._ask),
            slots=self.slots,
            payloads=self.payloads,
            hand_over=self.claims.append,
            journal=Journal(self.metrics),
        )
        return Ledger(number, log, shared)

    async def _ask(self) -> None:
        self.now += self.read_takes
        self.answers -= 1
        if not self.readable or self.answers < 0:
            raise UnreadableError("no broker")
        if self.held is not None:
            await self.held.wait()

    def clock(self) -> datetime:
        """Return the time."""
        return self.now

    @property
    def called(self) -> list[str]:
        """The jobs that were called, in that order."""
        return [claim.job.job_id for claim in self.claims]

    def job(self, job_id: str) -> Job:
        """Return a row."""
        (job,) = [job for job in self.ledger.jobs() if job.job_id == job_id]
        return job

    def store(self, *jobs: Job) -> None:
        """Write rows to the changelog."""
        for job in jobs:
            self.broker.append(NewRecord(changelog_topic(APP), HERE, row_key(job.key), encode_row(job)))

    def submit(self, *job_ids: str) -> list[Entry]:
        """Write submissions and hand them to the ledger."""
        return [self.write(Topic.SUBMITTED, encoded(jobId=job_id)) for job_id in job_ids]

    async def line_up(self, **changes: Any) -> list[Entry]:
        """Submit a job of each of three workspaces, none of which is called yet."""
        self.ledger.admitting = False
        workspaces = ("workspace-1", *NEIGHBOURS)
        entries = [self.write(Topic.SUBMITTED, encoded(workspaceId=name, **changes)) for name in workspaces]
        await self.work()
        self.ledger.admitting = True
        return entries

    def complete(self, job_id: str) -> None:
        """Write a completion and hand it to the ledger."""
        self.write(Topic.BATCH_COMPLETED, completion(jobId=job_id))

    def write(self, topic: Topic, value: bytes, timestamp: datetime | None = None, *, headers: Headers = ()) -> Entry:
        """Write a record and hand it to the ledger."""
        entry = self.broker.append(NewRecord(topic, HERE, b"workspace-1", value, headers, timestamp))
        self.deliver(entry)
        return entry

    def deliver(self, entry: Entry) -> None:
        """Hand a record to the ledger."""
        self.ledger.deliver(entry.record, lambda: self.acknowledged.append(entry.record.offset))

    def accept(self, job_id: str) -> None:
        """Let a call end with the robot's acceptance."""
        self.slots.release()
        self.ledger.tell(RobotAccepted(key_of(job_id), self.now))

    def break_off(self, job_id: str, *, may_have_received: bool = True) -> None:
        """Let a call end without a usable answer."""
        self.slots.release()
        reason = FailureReason.DISPATCH_UNKNOWN if may_have_received else FailureReason.ROBOT_UNREACHABLE
        self.ledger.tell(CallFailed(key_of(job_id), reason, "broken", robot_may_have_received=may_have_received))

    @property
    def to_do(self) -> int:
        """How much a step would do now."""
        return self.ledger.has_work(self.now) and self.ledger.to_do(self.slots.shares().get(self.ledger, 0))

    async def work(self, after: timedelta = timedelta(0)) -> None:
        """Let time pass, then work until nothing is left to do."""
        self.now += after
        while self.to_do:
            assert await self.ledger.step(self.clock)

    async def call(self, job_id: str) -> None:
        """Submit a job and see it called."""
        self.submit(job_id)
        await self.work()
        assert self.called[-1] == job_id

    async def move(self) -> None:
        """Open the partition at another worker, which knows only what is in the log."""
        self.payloads = PayloadCache(ROOM_FOR_ALL)
        self.ledger = self.over(ShuffledLog(self.broker, at_once, APP, HERE))
        await self.ledger.open(self.now)


async def opened(*, payload_bytes: int = ROOM_FOR_ALL, slots: int = 10, followed: bool = False) -> Partition:
    partition = Partition(payload_bytes=payload_bytes, slots=slots, followed=followed)
    await partition.ledger.open(partition.now)
    return partition
