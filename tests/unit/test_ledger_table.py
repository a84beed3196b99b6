"""How a ledger loads its table, which tables it refuses, and that no step of it takes too long."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from streams.core.events import DeadlinePassed
from streams.core.job import OrderResult, Status
from streams.engine import ledger as ledgers
from streams.engine.ledger import (
    DUE_AT_ONCE,
    KEEP_ALIVE,
    STEP_MAX_ITEMS,
    STEP_READ_SECONDS,
    LostTableError,
    MisplacedRowError,
)
from streams.engine.ports import ChangelogBatch
from streams.names import CHANGELOG_OPENED_KEY, CHANGELOG_TABLE_KEY, SOURCE_TOPICS, Topic, changelog_topic
from streams.wire.placement import partition_of
from streams.wire.records import NewRecord, TopicPartition
from streams.wire.rows import Owner, OwnerEntry, UnreadableRowError, decode_entry, encode_row, row_key
from tests.core.builders import ACCEPTED, ACCEPTED_DEADLINE, COMPLETED, DEADLINES, FAILED, PENDING
from tests.simulation.loop import in_virtual_time
from tests.support.engine import APP
from tests.unit.builders import encoded
from tests.unit.partition import HERE, MOMENT, PARTITIONS, Partition, opened


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


async def test_a_step_of_resubmissions_writes_the_rows_of_large_former_jobs_a_bounded_number_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledgers, "STEP_MAX_ORDERS", 25)
    partition = Partition()
    orders = tuple(OrderResult(f"item-{number}") for number in range(10))
    jobs = [replace(FAILED, job_id=f"job-{number}", orders=orders, order_count=10) for number in range(5)]
    partition.store(*jobs)
    await partition.ledger.open(partition.now)
    for job in jobs:
        partition.write(Topic.SUBMITTED, encoded(jobId=f"again-{job.job_id}", resubmissionOf=job.job_id))
    partition.ledger.admitting = False
    noted = []
    for _ in range(3):
        assert await partition.ledger.step(partition.clock)
        noted.append(sum(job.resubmitted_as is not None for job in partition.ledger.jobs()))
    assert noted == [2, 4, 5]


@pytest.mark.parametrize("completed", [True, False], ids=["completions", "deadlines"])
async def test_a_step_writes_large_rows_a_bounded_number_at_once(
    monkeypatch: pytest.MonkeyPatch, *, completed: bool
) -> None:
    """Else a transaction of them could take longer than it may, and whoever restarts would make the same one."""
    monkeypatch.setattr(ledgers, "STEP_MAX_ORDERS", 25)
    partition = Partition()
    orders = tuple(OrderResult(f"item-{number}") for number in range(10))
    jobs = [replace(ACCEPTED, job_id=f"job-{number}", orders=orders, order_count=10) for number in range(5)]
    partition.store(*jobs)
    await partition.ledger.open(partition.now)
    partition.now = ACCEPTED_DEADLINE
    for job in jobs:
        if completed:
            partition.complete(job.job_id)
        else:
            partition.ledger.tell(DeadlinePassed(job.key))
    ended = []
    for _ in range(3):
        assert await partition.ledger.step(partition.clock)
        ended.append(len(jobs) - partition.ledger.jobs_by_status[Status.PROCESSING])
    assert ended == [2, 4, 5]


# The claim's time


async def test_slow_reads_of_payloads_do_not_use_up_the_time_in_which_a_claim_may_be_called() -> None:
    partition = await opened(payload_bytes=0, slots=40)
    partition.ledger.admitting = False
    workspaces = [name for number in range(400) if partition_of(name := f"workspace-{number}", PARTITIONS) == HERE]
    for name in workspaces[:40]:
        partition.write(Topic.SUBMITTED, encoded(workspaceId=name))
    await partition.work()
    partition.ledger.admitting = True
    partition.read_takes = timedelta(seconds=1.2)
    while partition.to_do:
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


# The table


class StoredLog:
    """A log with rows, in batches that are there at once; it takes what is committed."""

    def __init__(self, batches: Sequence[ChangelogBatch]) -> None:
        self._batches = batches
        self.committed: list[NewRecord] = []

    async def open(self, _owner: bytes | None = None) -> AsyncGenerator[ChangelogBatch, None]:
        return self._read()

    async def _read(self) -> AsyncGenerator[ChangelogBatch, None]:
        for batch in self._batches:
            yield batch

    async def commit(self, records: Sequence[NewRecord]) -> None:
        self.committed += records

    async def close(self) -> None:
        return


async def test_the_event_loop_turns_while_rows_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come at once: heartbeats are sent by the same loop, and each of 64 partitions may load."""
    # Then every row has taken long enough.
    monkeypatch.setattr("streams.engine.ledger.SLICE_SECONDS", 0)
    jobs = [replace(job, job_id=f"job-{number}-{job.status}") for number in range(50) for job in (COMPLETED, ACCEPTED)]
    partition = Partition()
    partition.ledger = partition.over(StoredLog([[(row_key(job.key), encode_row(job)) for job in jobs]]))
    turns: list[int] = []

    async def turn() -> None:
        while True:
            turns.append(partition.ledger.records_loaded)
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await partition.ledger.open(partition.now)
    turning.cancel()
    assert partition.ledger.jobs_by_status == {Status.COMPLETED: 50, Status.PROCESSING: 50}
    # Within the one batch, and while the rows are put in order.
    assert len(set(turns)) > 5
    assert turns.count(len(jobs)) > 5


@in_virtual_time
async def test_an_opening_that_is_cancelled_ends_although_its_log_has_swallowed_that() -> None:
    """As aiokafka may, where a consumer is closed. What comes next waits for brokers, however long they are away."""

    class Swallowing(StoredLog):
        async def _read(self) -> AsyncGenerator[ChangelogBatch, None]:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
            yield []

    partition = Partition()
    partition.readable = False
    partition.ledger = partition.over(Swallowing([]))
    opening = asyncio.create_task(partition.ledger.open(partition.now))
    await asyncio.sleep(1)
    opening.cancel()
    done, _ = await asyncio.wait({opening}, timeout=60)
    assert done
    assert opening.cancelled()


async def test_a_table_has_a_mark_from_its_first_opening_on() -> None:
    partition = await opened()
    marks = [record for record in partition.broker.topic(changelog_topic(APP)) if record.key == CHANGELOG_TABLE_KEY]
    assert len(marks) == 1
    partition.broker.committed_offsets[TopicPartition(Topic.SUBMITTED, HERE)] = 1
    await partition.move()
    marks = [record for record in partition.broker.topic(changelog_topic(APP)) if record.key == CHANGELOG_TABLE_KEY]
    assert len(marks) == 1


@in_virtual_time
async def test_a_ledger_asks_for_the_group_s_offsets_until_it_is_told() -> None:
    partition = Partition()
    partition.readable = False
    opening = asyncio.create_task(partition.ledger.open(partition.now))
    await asyncio.sleep(60)
    assert not opening.done()
    partition.readable = True
    await opening
    assert [partition.ledger.processed(topic) for topic in SOURCE_TOPICS] == [0, 0, 0, 0]


@pytest.mark.parametrize("topic", SOURCE_TOPICS)
async def test_a_partition_that_the_group_has_worked_on_is_not_opened_without_its_table(topic: Topic) -> None:
    """The changelog was deleted or made anew: accepted jobs would vanish without an outcome."""
    partition = Partition()
    partition.broker.committed_offsets[TopicPartition(topic, HERE)] = 1
    for _ in range(2):
        with pytest.raises(LostTableError, match=rf"^{changelog_topic(APP)}-{HERE} has no table.* topics adopt$"):
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
    partition.broker.append(NewRecord(changelog_topic(APP), HERE, row_key(PENDING.key), value))
    with pytest.raises(UnreadableRowError, match=rf"^{changelog_topic(APP)}-{HERE}: .*paused.*newer release"):
        await partition.ledger.open(partition.now)


async def test_an_owner_with_nothing_to_write_shows_once_an_hour_that_it_is_there() -> None:
    """The broker forgets a transactional id that is not used, and with it who may write."""
    partition = await opened()
    partition.now += KEEP_ALIVE
    assert not partition.to_do
    partition.now += MOMENT
    written = len(partition.broker.topic(changelog_topic(APP)))
    await partition.work()
    await partition.work()
    (record,) = partition.broker.topic(changelog_topic(APP))[written:]
    assert record.key == CHANGELOG_OPENED_KEY


async def test_who_has_a_partition_and_whether_that_worker_misses_the_robot_is_in_the_changelog() -> None:
    partition = await opened()
    opened_at = partition.now
    partition.now += MOMENT
    for since in (partition.now, None):
        partition.ledger.robot_away_since = since
        assert partition.to_do
        await partition.work()
        assert not partition.to_do
        last = partition.broker.topic(changelog_topic(APP))[-1]
        assert decode_entry(last.key or b"", last.value) == OwnerEntry(Owner("worker-1", opened_at, since))


async def test_a_table_with_rows_and_without_a_mark_is_of_an_older_release_and_gets_one() -> None:
    partition = Partition()
    partition.store(COMPLETED)
    partition.broker.committed_offsets[TopicPartition(Topic.SUBMITTED, HERE)] = 1
    await partition.ledger.open(partition.now)
    assert CHANGELOG_TABLE_KEY in {record.key for record in partition.broker.topic(changelog_topic(APP))}


async def test_a_partition_that_could_not_read_a_payload_stands_back_until_it_can() -> None:
    """Also while it tries: a vain read takes its time, and the call slots are others' meanwhile."""
    partition = await opened(payload_bytes=0, slots=1)
    partition.submit("job")
    partition.readable = False
    assert not await partition.ledger.step(partition.clock)
    partition.held = asyncio.Event()
    partition.readable = True
    trying = asyncio.create_task(partition.ledger.step(partition.clock))
    await asyncio.sleep(0)
    assert not partition.ledger.rounds
    partition.held.set()
    assert await trying
    assert partition.called == ["job"]
