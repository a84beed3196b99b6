"""What one partition's ledger promises beside the transition table: turns, places, payloads, slots, memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from streams.claims import CallSlots, Claim, PayloadCache
from streams.core.events import CallFailed, DeadlinePassed, RobotAccepted
from streams.core.job import FailureReason, Job, JobKey, Status
from streams.journal import Journal
from streams.ledger import STEP_MAX_ITEMS, Ledger, LedgerConfig
from streams.log import FencedError, NewRecord, PartitionLog, UnreadableError
from streams.metrics import Metrics
from streams.names import Topic, changelog_topic
from streams.rows import encode_row, row_key
from tests.core.builders import COMPLETED, DEADLINES, ENDED_AT, NOW
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

    async def open(self) -> Sequence[tuple[bytes, bytes]]:
        return sorted(await self.log.open(), reverse=True)

    async def commit(self, records: Sequence[NewRecord]) -> None:
        await self.log.commit(records)

    async def close(self) -> None:
        await self.log.close()


class Partition:
    """One partition and its ledger. The test has the clock, and a call lasts until the test answers it."""

    def __init__(self, *, payload_bytes: int = ROOM_FOR_ALL, slots: int = 10) -> None:
        self.now = NOW
        self.readable = True
        self.broker = SimulatedBroker(1, lambda: self.now)
        self.slots = CallSlots(slots)
        self.payloads = PayloadCache(payload_bytes)
        self.claims: list[Claim] = []
        self.ledger = self._make(self.new_log())

    def new_log(self) -> SimulatedPartitionLog:
        """Return the partition's log, as one more worker would open it."""
        return SimulatedPartitionLog(self.broker, self._write, APP, 0)

    def _make(self, log: PartitionLog) -> Ledger:
        config = LedgerConfig(
            app_id=APP,
            worker_id="worker-1",
            partitions=1,
            jobs_per_workspace=1,
            deadlines=DEADLINES,
            max_bytes=max_bytes(),
        )
        reader = SimulatedReader(self.broker, self._ask)
        return Ledger(0, config, log, reader, self.slots, self.payloads, self.claims.append, Journal(Metrics()))

    async def _write(self) -> None:
        return

    async def _ask(self) -> None:
        if not self.readable:
            raise UnreadableError("no broker")

    @property
    def called(self) -> list[str]:
        """The jobs that were called, in that order."""
        return [claim.job.job_id for claim in self.claims]

    def job(self, job_id: str) -> Job:
        """Return a row."""
        (job,) = [job for job in self.ledger.jobs() if job.job_id == job_id]
        return job

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
            assert await self.ledger.step(self.now)

    async def call(self, job_id: str) -> None:
        """Submit a job and see it called."""
        self.submit(job_id)
        await self.work()
        assert self.called[-1] == job_id

    async def move(self) -> None:
        """Open the partition at another worker, which knows only what is in the log."""
        self.payloads = PayloadCache(ROOM_FOR_ALL)
        self.ledger = self._make(ShuffledLog(self.new_log()))
        await self.ledger.open()


async def opened(*, payload_bytes: int = ROOM_FOR_ALL, slots: int = 10) -> Partition:
    partition = Partition(payload_bytes=payload_bytes, slots=slots)
    await partition.ledger.open()
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
    assert not await partition.ledger.step(partition.now)
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
        await partition.ledger.step(partition.now)
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
    for number in range(STEP_MAX_ITEMS + 1):
        job = replace(COMPLETED, job_id=f"job-{number}")
        partition.broker.append(NewRecord(changelog, 0, row_key(job.key), encode_row(job)))
    await partition.ledger.open()
    partition.now = ENDED_AT + DEADLINES.retention
    assert not partition.ledger.has_work(partition.now)
    partition.now += MOMENT
    assert partition.ledger.has_work(partition.now)
    await partition.ledger.step(partition.now)
    assert len(partition.ledger.jobs()) == 1
    assert partition.ledger.jobs_by_status[Status.COMPLETED] == 1
    await partition.work()
    assert partition.ledger.jobs() == []
    tombstones = [record for record in partition.broker.topic(changelog) if record.value is None]
    assert len(tombstones) == STEP_MAX_ITEMS + 1
