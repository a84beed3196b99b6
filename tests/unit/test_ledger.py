"""What one partition's ledger promises beside the transition table: turns, places, payloads, slots, memory."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from streams.claims import CallSlots, Claim, PayloadCache
from streams.core.events import CallFailed, DeadlinePassed, RobotAccepted
from streams.core.job import FailureReason, Job, JobKey, Status
from streams.journal import Journal
from streams.ledger import (
    DUE_AT_ONCE,
    KEEP_ALIVE,
    SLICE_ROWS,
    STEP_MAX_ITEMS,
    STEP_READ_SECONDS,
    Ledger,
    LedgerConfig,
    LostTableError,
    MisplacedRowError,
)
from streams.log import ChangelogBatch, FencedError, NewRecord, PartitionLog, TopicPartition, UnreadableError
from streams.metrics import Metrics
from streams.names import CHANGELOG_OPENED_KEY, CHANGELOG_TABLE_KEY, SOURCE_TOPICS, Topic, changelog_topic
from streams.placement import partition_of
from streams.rows import UnreadableRowError, encode_row, row_key
from tests.core.builders import ACCEPTED, ACCEPTED_DEADLINE, COMPLETED, DEADLINES, ENDED_AT, NOW, PENDING
from tests.simulation.broker import Entry, SimulatedBroker, SimulatedPartitionLog, SimulatedReader, State
from tests.support.engine import APP, max_bytes
from tests.unit.builders import completion, encoded

PAUSE = DEADLINES.workspace_pause
MOMENT = timedelta(milliseconds=1)
ROOM_FOR_ALL = 10**6


def key_of(job_id: str) -> JobKey:
    return JobKey("workspace-1", job_id)


@dataclass
class ShuffledLog:
    """A log that gives the rows out in another order than they were written in."""

    log: PartitionLog

    async def open(self) -> AsyncGenerator[ChangelogBatch, None]:
        rows = dict([entry async for batch in await self.log.open() for entry in batch])
        return self._batches(sorted(rows.items(), reverse=True))

    async def _batches(self, rows: ChangelogBatch) -> AsyncGenerator[ChangelogBatch, None]:
        yield rows

    async def commit(self, records: Sequence[NewRecord]) -> None:
        await self.log.commit(records)

    async def close(self) -> None:
        await self.log.close()


class Partition:
    """One partition and its ledger. The test has the clock, and a call lasts until the test answers it."""

    def __init__(self, *, payload_bytes: int = ROOM_FOR_ALL, slots: int = 10) -> None:
        self.now = NOW
        self.readable = True
        # What a read of the log takes, and what it waits for.
        self.read_takes = timedelta(0)
        self.held: asyncio.Event | None = None
        self.broker = SimulatedBroker(1, lambda: self.now)
        self.slots = CallSlots(slots)
        self.payloads = PayloadCache(payload_bytes)
        self.claims: list[Claim] = []
        self.ledger = self.over(self.new_log())

    def new_log(self) -> SimulatedPartitionLog:
        """Return the partition's log, as one more worker would open it."""
        return SimulatedPartitionLog(self.broker, self._write, APP, 0)

    def over(self, log: PartitionLog, *, number: int = 0, partitions: int = 1) -> Ledger:
        """Return the ledger of a partition over a log."""
        config = LedgerConfig(
            app_id=APP,
            worker_id="worker-1",
            partitions=partitions,
            jobs_per_workspace=1,
            deadlines=DEADLINES,
            max_bytes=max_bytes(),
        )
        reader = SimulatedReader(self.broker, self._ask)
        return Ledger(number, config, log, reader, self.slots, self.payloads, self.claims.append, Journal(Metrics()))

    async def _write(self) -> None:
        return

    async def _ask(self) -> None:
        self.now += self.read_takes
        if not self.readable:
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
            self.broker.append(NewRecord(changelog_topic(APP), 0, row_key(job.key), encode_row(job)))

    def submit(self, *job_ids: str) -> list[Entry]:
        """Write submissions and hand them to the ledger."""
        return [self._write_and_deliver(Topic.SUBMITTED, encoded(jobId=job_id)) for job_id in job_ids]

    def complete(self, job_id: str) -> None:
        """Write a completion and hand it to the ledger."""
        self._write_and_deliver(Topic.BATCH_COMPLETED, completion(jobId=job_id))

    def _write_and_deliver(self, topic: Topic, value: bytes) -> Entry:
        entry = self.broker.append(NewRecord(topic, 0, b"workspace-1", value))
        self.ledger.deliver(entry.record, lambda: None)
        return entry

    def accept(self, job_id: str) -> None:
        """Let a call end with the robot's acceptance."""
        self.slots.release()
        self.ledger.tell(RobotAccepted(key_of(job_id), self.now))

    def break_off(self, job_id: str, *, may_have_received: bool = True) -> None:
        """Let a call end without a usable answer."""
        self.slots.release()
        reason = FailureReason.DISPATCH_UNKNOWN if may_have_received else FailureReason.ROBOT_UNREACHABLE
        self.ledger.tell(CallFailed(key_of(job_id), reason, "broken", robot_may_have_received=may_have_received))

    async def work(self, after: timedelta = timedelta(0)) -> None:
        """Let time pass, then work until nothing is left to do."""
        self.now += after
        while self.ledger.has_work(self.now):
            assert await self.ledger.step(self.clock)

    async def call(self, job_id: str) -> None:
        """Submit a job and see it called."""
        self.submit(job_id)
        await self.work()
        assert self.called[-1] == job_id

    async def move(self) -> None:
        """Open the partition at another worker, which knows only what is in the log."""
        self.payloads = PayloadCache(ROOM_FOR_ALL)
        self.ledger = self.over(ShuffledLog(self.new_log()))
        await self.ledger.open(self.now)


async def opened(*, payload_bytes: int = ROOM_FOR_ALL, slots: int = 10) -> Partition:
    partition = Partition(payload_bytes=payload_bytes, slots=slots)
    await partition.ledger.open(partition.now)
    return partition


# Turns


async def test_waiting_jobs_keep_their_turns_in_whatever_order_a_restart_loads_them() -> None:
    partition = await opened()
    names = ["b", "d", "a", "c"]
    partition.ledger.admitting = False
    partition.submit(*names)
    await partition.work()
    await partition.move()
    for name in names:
        await partition.work()
        assert partition.called[-1] == name
        partition.break_off(name, may_have_received=False)
    await partition.work()
    assert partition.called == names


# Places in a workspace


async def test_a_job_that_ended_while_its_call_is_still_out_keeps_its_place_until_the_call_is_back() -> None:
    partition = await opened()
    await partition.call("first")
    partition.submit("second")
    partition.complete("first")
    await partition.work()
    assert partition.job("first").status is Status.COMPLETED
    await partition.work(after=timedelta(hours=1))
    assert partition.called == ["first"]
    assert partition.ledger.calls_under_way
    partition.accept("first")
    await partition.work()
    assert partition.called == ["first", "second"]


async def test_a_job_that_failed_while_its_call_is_still_out_keeps_its_place_whatever_comes_late() -> None:
    partition = await opened()
    await partition.call("first")
    partition.submit("second")
    partition.now += timedelta(hours=1)
    partition.ledger.tell(DeadlinePassed(key_of("first")))
    partition.complete("first")
    await partition.work()
    assert partition.job("first").status is Status.FAILED
    await partition.work(after=timedelta(hours=1))
    assert partition.called == ["first"]
    partition.break_off("first")
    await partition.work()
    assert partition.called == ["first", "second"]


async def test_a_late_completion_of_a_job_whose_call_broke_frees_its_place_a_pause_later() -> None:
    """Without one the robot may be at it until the job's deadline."""
    partition = await opened()
    await partition.call("first")
    partition.submit("second")
    partition.break_off("first")
    await partition.work(after=timedelta(minutes=1))
    assert partition.job("first").reason is FailureReason.DISPATCH_UNKNOWN
    partition.complete("first")
    await partition.work()
    await partition.work(after=PAUSE - MOMENT)
    assert partition.called == ["first"]
    await partition.work(after=MOMENT)
    assert partition.called == ["first", "second"]


async def test_a_completion_right_after_the_deadline_frees_the_place_a_pause_after_itself() -> None:
    partition = await opened()
    await partition.call("first")
    partition.accept("first")
    partition.submit("second")
    await partition.work()
    deadline = partition.job("first").deadline
    assert deadline is not None
    partition.now = deadline
    partition.ledger.tell(DeadlinePassed(key_of("first")))
    await partition.work()
    assert partition.job("first").reason is FailureReason.TIMEOUT
    partition.now += PAUSE - MOMENT
    partition.complete("first")
    await partition.work()
    await partition.work(after=PAUSE - MOMENT)
    assert partition.called == ["first"]
    await partition.work(after=MOMENT)
    assert partition.called == ["first", "second"]


async def test_a_completion_after_the_place_was_freed_holds_nobody_up() -> None:
    partition = await opened()
    await partition.call("first")
    partition.break_off("first")
    await partition.work(after=timedelta(hours=1))
    partition.complete("first")
    partition.submit("second")
    await partition.work()
    assert partition.called == ["first", "second"]


# Payloads


@pytest.mark.parametrize(
    "other",
    [
        encoded(jobId="other"),
        encoded(jobId="job", workspaceId="other"),
        encoded(jobId="job", orders=[{"itemId": "i9", "orderId": "o9", "pedidoInput": {}}]),
        encoded(jobId="job", carrier="another"),
        b"no submission",
        None,
    ],
    ids=["another job id", "another workspace", "other orders", "another carrier", "no submission", "no value"],
)
async def test_what_is_read_again_and_is_another_submission_than_the_row_says_is_not_called(
    other: bytes | None,
) -> None:
    """A topic that was made anew has other records at the same offsets."""
    partition = await opened(payload_bytes=0)
    partition.ledger.admitting = False
    (entry,) = partition.submit("job")
    await partition.work()
    entry.record = replace(entry.record, value=other)
    partition.ledger.admitting = True
    await partition.work()
    assert partition.called == []
    assert partition.job("job").reason is FailureReason.SUBMISSION_EXPIRED
    assert len(partition.broker.topic(Topic.FAILED)) == 1


async def test_what_is_read_again_and_is_the_same_submission_is_called_with_what_was_read() -> None:
    partition = await opened(payload_bytes=0)
    (entry,) = partition.submit("job")
    await partition.work()
    assert [claim.payload for claim in partition.claims] == [entry.record.value]


async def test_payloads_of_jobs_that_wait_no_longer_make_room() -> None:
    partition = await opened()
    partition.submit("called", "waits", "gone")
    await partition.work()
    assert partition.called == ["called"]
    assert partition.payloads.get(key_of("called")) is None
    assert partition.payloads.get(key_of("waits")) is not None
    await partition.work(after=DEADLINES.retention)
    partition.break_off("called", may_have_received=False)
    await partition.work()
    assert partition.job("gone").reason is FailureReason.SUBMISSION_EXPIRED
    assert partition.payloads.get(key_of("waits")) is None
    assert partition.payloads.get(key_of("gone")) is None


async def test_payloads_of_a_partition_that_moved_away_make_room_and_others_stay() -> None:
    partition = await opened()
    other = JobKey("workspace-of-another-partition", "job")
    partition.payloads.offer(other, b"payload")
    partition.submit("called", "waits")
    await partition.work()
    partition.ledger.close()
    assert partition.payloads.get(key_of("waits")) is None
    assert partition.payloads.get(other) == b"payload"


# Call slots


async def test_a_payload_that_cannot_be_read_now_leaves_the_slot_free_and_the_job_waiting() -> None:
    partition = await opened(payload_bytes=0, slots=1)
    partition.submit("job")
    partition.readable = False
    assert not await partition.ledger.step(partition.clock)
    assert partition.slots.in_flight == 0
    assert partition.job("job").status is Status.PENDING
    partition.readable = True
    await partition.work()
    assert partition.called == ["job"]
    assert partition.slots.in_flight == 1


async def test_a_payload_that_is_gone_leaves_the_slot_to_the_next_job() -> None:
    partition = await opened(payload_bytes=0, slots=1)
    partition.ledger.admitting = False
    gone, _ = partition.submit("gone", "next")
    await partition.work()
    gone.state = State.ABORTED
    partition.ledger.admitting = True
    await partition.work()
    assert partition.called == ["next"]
    assert partition.slots.in_flight == 1


async def test_claims_that_are_not_committed_leave_their_slots_free_and_are_not_called() -> None:
    partition = await opened(slots=1)
    partition.submit("job")
    await partition.new_log().open()
    with pytest.raises(FencedError):
        await partition.ledger.step(partition.clock)
    assert partition.slots.in_flight == 0
    assert partition.called == []


async def test_no_more_jobs_are_claimed_than_slots_are_free() -> None:
    partition = await opened(slots=2)
    for number in range(3):
        value = encoded(jobId="job", workspaceId=f"workspace-{number}")
        entry = partition.broker.append(NewRecord(Topic.SUBMITTED, 0, None, value))
        partition.ledger.deliver(entry.record, lambda: None)
    await partition.work()
    assert len(partition.claims) == 2
    assert not partition.ledger.has_work(partition.now)
    partition.slots.release()
    await partition.work()
    assert len(partition.claims) == 3


# Memory


async def test_jobs_are_forgotten_a_retention_after_their_end_a_bounded_number_a_step() -> None:
    partition = Partition()
    changelog = changelog_topic(APP)
    partition.store(*(replace(COMPLETED, job_id=f"job-{number}") for number in range(STEP_MAX_ITEMS + 1)))
    partition.now = ENDED_AT + DEADLINES.retention
    await partition.ledger.open(partition.now)
    assert not partition.ledger.has_work(partition.now)
    partition.now += MOMENT
    assert partition.ledger.has_work(partition.now)
    await partition.ledger.step(partition.clock)
    assert len(partition.ledger.jobs()) == 1
    assert partition.ledger.jobs_by_status[Status.COMPLETED] == 1
    await partition.work()
    assert partition.ledger.jobs() == []
    tombstones = [record for record in partition.broker.topic(changelog) if record.value is None]
    assert len(tombstones) == STEP_MAX_ITEMS + 1


async def test_jobs_that_became_too_old_in_line_are_failed_a_bounded_number_a_step() -> None:
    partition = Partition()
    partition.store(*(replace(PENDING, job_id=f"job-{number}") for number in range(STEP_MAX_ITEMS + 1)))
    await partition.ledger.open(partition.now)
    partition.now += DEADLINES.retention * 0.6
    assert await partition.ledger.step(partition.clock)
    assert partition.ledger.jobs_by_status[Status.FAILED] == STEP_MAX_ITEMS
    await partition.work()
    assert partition.ledger.jobs_by_status[Status.FAILED] == STEP_MAX_ITEMS + 1
    assert partition.called == []


async def test_deadlines_that_have_come_are_taken_a_bounded_number_a_tick() -> None:
    partition = Partition()
    partition.store(*(replace(ACCEPTED, job_id=f"job-{number}") for number in range(DUE_AT_ONCE + 1)))
    await partition.ledger.open(partition.now)
    later = ACCEPTED_DEADLINE
    assert len(partition.ledger.take_due(later)) == DUE_AT_ONCE
    assert len(partition.ledger.take_due(later)) == 1
    assert partition.ledger.take_due(later) == []


# The claim's time


async def test_slow_reads_of_payloads_do_not_use_up_the_time_in_which_a_claim_may_be_called() -> None:
    partition = await opened(payload_bytes=0, slots=40)
    partition.ledger.admitting = False
    for number in range(40):
        value = encoded(jobId=f"job-{number}", workspaceId=f"workspace-{number}")
        entry = partition.broker.append(NewRecord(Topic.SUBMITTED, 0, None, value))
        partition.ledger.deliver(entry.record, lambda: None)
    await partition.work()
    partition.ledger.admitting = True
    partition.read_takes = timedelta(seconds=1.2)
    while partition.ledger.has_work(partition.now):
        before = len(partition.claims)
        started = partition.now
        assert await partition.ledger.step(partition.clock)
        assert partition.now - started <= timedelta(seconds=STEP_READ_SECONDS) + partition.read_takes
        assert {claim.job.claimed_at for claim in partition.claims[before:]} == {partition.now}
    assert len(partition.claims) == 40


async def test_a_step_that_is_cancelled_while_it_reads_a_payload_leaves_its_slots_free() -> None:
    partition = await opened(payload_bytes=0, slots=1)
    partition.submit("job")
    partition.held = asyncio.Event()
    step = asyncio.create_task(partition.ledger.step(partition.clock))
    await asyncio.sleep(0)
    step.cancel()
    assert isinstance((await asyncio.gather(step, return_exceptions=True))[0], asyncio.CancelledError)
    assert partition.slots.in_flight == 0


async def test_slots_are_not_kept_for_a_partition_that_cannot_read_its_payloads() -> None:
    partition = await opened(payload_bytes=0, slots=1)
    partition.submit("job")
    assert not partition.ledger.rounds
    partition.readable = False
    assert not await partition.ledger.step(partition.clock)
    assert not partition.ledger.rounds
    assert partition.ledger.has_work(partition.now), "it is tried again"
    partition.readable = True
    await partition.work()
    assert partition.called == ["job"]


# The table


class StoredLog:
    """A log with rows, in batches that are there at once; it takes what is committed."""

    def __init__(self, batches: Sequence[ChangelogBatch]) -> None:
        self._batches = batches
        self.committed: list[NewRecord] = []

    async def open(self) -> AsyncGenerator[ChangelogBatch, None]:
        return self._read()

    async def _read(self) -> AsyncGenerator[ChangelogBatch, None]:
        for batch in self._batches:
            yield batch

    async def commit(self, records: Sequence[NewRecord]) -> None:
        self.committed += records

    async def close(self) -> None:
        return


def rows(start: int, stop: int) -> ChangelogBatch:
    jobs = [replace(COMPLETED, job_id=f"job-{number}") for number in range(start, stop)]
    return [(row_key(job.key), encode_row(job)) for job in jobs]


async def test_the_event_loop_turns_while_a_table_is_loaded() -> None:
    partition = Partition()
    batches = [rows(start, start + SLICE_ROWS) for start in range(0, 5 * SLICE_ROWS, SLICE_ROWS)]
    partition.ledger = partition.over(StoredLog(batches))
    turns: list[int] = []

    async def turn() -> None:
        while True:
            turns.append(partition.ledger.records_loaded)
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await partition.ledger.open(partition.now)
    turning.cancel()
    assert partition.ledger.jobs_by_status[Status.COMPLETED] == 5 * SLICE_ROWS
    # Between any two batches, and as often again while the rows are put in order.
    assert {SLICE_ROWS * number for number in range(1, 6)} <= set(turns)
    assert turns.count(5 * SLICE_ROWS) >= 5


async def test_a_table_has_a_mark_from_its_first_opening_on() -> None:
    partition = await opened()
    marks = [record for record in partition.broker.topic(changelog_topic(APP)) if record.key == CHANGELOG_TABLE_KEY]
    assert len(marks) == 1
    partition.broker.committed_offsets[TopicPartition(Topic.SUBMITTED, 0)] = 1
    await partition.move()
    marks = [record for record in partition.broker.topic(changelog_topic(APP)) if record.key == CHANGELOG_TABLE_KEY]
    assert len(marks) == 1


@pytest.mark.parametrize("topic", SOURCE_TOPICS)
async def test_a_partition_that_the_group_has_worked_on_is_not_opened_without_its_table(topic: Topic) -> None:
    """The changelog was deleted or made anew: accepted jobs would vanish without an outcome."""
    partition = Partition()
    partition.store(COMPLETED)
    partition.broker.committed_offsets[TopicPartition(topic, 0)] = 1
    for _ in range(2):
        with pytest.raises(LostTableError, match=r"^robot-orchestrator-jobs-changelog-0 has no table.* topics adopt$"):
            await partition.ledger.open(partition.now)


async def test_a_row_whose_workspace_belongs_elsewhere_is_refused() -> None:
    """The partition count was raised: its job would be looked for, not found, and called again."""
    partition = Partition()
    partition.store(PENDING)
    partition.ledger = partition.over(partition.new_log(), partitions=2, number=1 - partition_of("workspace-1", 2))
    with pytest.raises(MisplacedRowError, match="the partition count was changed"):
        await partition.ledger.open(partition.now)


async def test_a_row_that_cannot_be_read_is_refused_with_the_partition_that_has_it() -> None:
    partition = Partition()
    value = encode_row(PENDING).replace(b'"pending"', b'"paused"')
    partition.broker.append(NewRecord(changelog_topic(APP), 0, row_key(PENDING.key), value))
    with pytest.raises(UnreadableRowError, match=r"^robot-orchestrator-jobs-changelog-0: .*paused.*newer release"):
        await partition.ledger.open(partition.now)


async def test_an_owner_with_nothing_to_write_shows_once_an_hour_that_it_is_there() -> None:
    """The broker forgets a transactional id that is not used, and with it who may write."""
    partition = await opened()
    partition.now += KEEP_ALIVE
    assert not partition.ledger.has_work(partition.now)
    partition.now += MOMENT
    written = len(partition.broker.topic(changelog_topic(APP)))
    await partition.work()
    await partition.work()
    (record,) = partition.broker.topic(changelog_topic(APP))[written:]
    assert (record.key, record.value) == (CHANGELOG_OPENED_KEY, None)
