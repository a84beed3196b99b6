"""What one partition's ledger promises beside the transition table: turns, places, payloads, slots, memory."""

import dataclasses
from datetime import timedelta

import pytest
from msgspec.structs import replace

from streams.core.events import BatchLost
from streams.core.job import FailureReason, JobKey, Status
from streams.engine.holes import LostRecordsError
from streams.engine.ledger import STEP_MAX_BYTES, STEP_MAX_ITEMS
from streams.engine.ports import FencedError
from streams.names import DLQ_OF, SOURCE_TOPICS, Topic, changelog_topic
from streams.wire.records import NewRecord, TopicPartition
from tests.core.builders import COMPLETED, DEADLINES, ENDED_AT, NOW
from tests.simulation.broker import State
from tests.support.engine import APP
from tests.unit.builders import encoded
from tests.unit.partition import (
    FAR,
    HERE,
    MOMENT,
    PAUSE,
    ROOM_FOR_ALL,
    STRANGER,
    Partition,
    key_of,
    opened,
)

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


# Records that are dropped because partitions may move


async def test_records_that_were_dropped_are_not_acknowledged_and_count_when_they_come_again() -> None:
    partition = await opened()
    await partition.call("first")
    acknowledged = list(partition.acknowledged)
    entries = partition.submit("second", "third")
    partition.accept("first")
    partition.ledger.drop_records()
    await partition.work()
    assert partition.job("first").accepted_at is not None
    assert partition.acknowledged == acknowledged
    for entry in entries:
        partition.deliver(entry)
    await partition.work()
    assert [job.job_id for job in partition.ledger.jobs()] == ["first", "second", "third"]
    assert partition.acknowledged == acknowledged + [entry.record.offset for entry in entries]


async def test_records_that_were_dropped_before_all_holes_were_looked_at_are_missed_if_they_do_not_come_again() -> None:
    """Those before the hole have been compared by then, which must count for nothing."""
    partition = await opened()
    for _ in range(3):
        partition.broker.append(NewRecord(Topic.BATCH_COMPLETED, HERE, b"workspace-1", b"x"), State.ABORTED)
    partition.submit("first", "second", "third")
    partition.complete("behind the hole")
    partition.readable = False
    assert not await partition.ledger.step(partition.clock)
    partition.ledger.drop_records()
    partition.readable = True
    fourth = NewRecord(Topic.SUBMITTED, HERE, b"workspace-1", encoded(jobId="fourth"))
    partition.deliver(partition.broker.append(fourth))
    with pytest.raises(LostRecordsError):
        await partition.ledger.step(partition.clock)
    assert partition.acknowledged == []


# A robot that was started again


async def test_that_a_batch_was_lost_is_written_down_and_known_to_the_next_owner() -> None:
    partition = await opened()
    await partition.call("first")
    partition.accept("first")
    await partition.work()
    key, restarted_at = key_of("first"), partition.now + timedelta(seconds=30)
    assert partition.ledger.accepted_before(restarted_at) == [key]
    partition.ledger.tell(BatchLost(key, restarted_at))
    # Asked again before the first was written.
    partition.ledger.tell(BatchLost(key, restarted_at + MOMENT))
    await partition.work()
    assert not partition.ledger.has_batches_at_robot
    await partition.move()
    assert partition.job("first").robot_restarted_at == restarted_at
    assert not partition.ledger.has_batches_at_robot
    assert partition.metrics.registry.get_sample_value("robot_orchestrator_batches_lost_total") == 1


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


async def test_a_completion_after_the_place_was_freed_holds_nobody_up() -> None:
    partition = await opened()
    await partition.call("first")
    partition.break_off("first")
    await partition.work(after=timedelta(minutes=1))
    partition.now += timedelta(hours=1)
    partition.complete("first")
    partition.submit("second")
    # At once: nobody has looked since the place became free.
    assert await partition.ledger.step(partition.clock)
    assert partition.called == ["first", "second"]


async def test_a_pause_that_was_going_on_goes_on_after_a_restart() -> None:
    partition = await opened()
    await partition.call("first")
    partition.submit("second")
    partition.complete("first")
    await partition.work()
    await partition.move()
    await partition.work(after=PAUSE - MOMENT)
    assert partition.called == ["first"]
    await partition.work(after=MOMENT)
    assert partition.called == ["first", "second"]


# Payloads


@pytest.mark.parametrize("other", [encoded(jobId="job", carrier="another"), None], ids=["another", "no value"])
async def test_what_is_read_again_and_is_another_submission_than_the_row_says_is_not_called(
    other: bytes | None,
) -> None:
    """A topic that was made anew has other records at the same offsets."""
    partition = await opened(payload_bytes=0)
    partition.ledger.admitting = False
    (entry,) = partition.submit("job")
    await partition.work()
    entry.record = dataclasses.replace(entry.record, value=other)
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


async def test_a_step_reads_a_bounded_number_of_bytes_again() -> None:
    partition = await opened(payload_bytes=0)
    large = [{"itemId": "i", "orderId": "o", "pedidoInput": {"text": "x" * (STEP_MAX_BYTES // 2)}}]
    await partition.line_up(orders=large)
    await partition.ledger.step(partition.clock)
    assert len(partition.claims) == 2
    await partition.work()
    assert len(partition.claims) == 3


async def test_what_was_kept_is_not_read_again() -> None:
    partition = await opened()
    partition.readable = False
    await partition.call("job")


async def test_one_step_ends_all_the_jobs_whose_submission_is_too_old_or_gone() -> None:
    partition = await opened(payload_bytes=0)
    for entry in await partition.line_up():
        entry.state = State.ABORTED
    await partition.ledger.step(partition.clock)
    assert len(partition.broker.topic(Topic.FAILED)) == 3
    partition.ledger.admitting = False
    partition.submit("a", "b", "c")
    await partition.work()
    partition.ledger.admitting = True
    partition.now += DEADLINES.retention
    await partition.ledger.step(partition.clock)
    assert len(partition.broker.topic(Topic.FAILED)) == 6
    assert partition.called == []


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


async def test_of_a_submission_that_never_waits_no_payload_is_kept() -> None:
    partition = await opened()
    partition.write(Topic.SUBMITTED, encoded(jobId="invalid", orders=[]))
    await partition.work()
    assert partition.job("invalid").status is Status.FAILED
    assert partition.payloads.get(key_of("invalid")) is None


async def test_payloads_of_a_partition_that_moved_away_make_room_and_others_stay() -> None:
    partition = await opened()
    other = JobKey("workspace-of-another-partition", "job")
    partition.payloads.offer(other, b"payload")
    partition.submit("called", "waits")
    await partition.work()
    await partition.ledger.close()
    assert partition.payloads.get(key_of("waits")) is None
    assert partition.payloads.get(other) == b"payload"


# Call slots


async def test_a_payload_that_cannot_be_read_now_leaves_the_slot_free_and_the_job_waiting() -> None:
    partition = await opened(payload_bytes=0, slots=1)
    partition.submit("job")
    partition.readable = False
    assert not await partition.ledger.step(partition.clock)
    assert partition.slots.in_flight == 0
    assert not partition.ledger.rounds, "no slot is kept for it"
    assert partition.to_do, "it is tried again"
    assert partition.job("job").status is Status.PENDING
    partition.readable = True
    await partition.work()
    assert partition.called == ["job"]
    assert partition.slots.in_flight == 1


async def test_the_payloads_that_could_be_read_before_one_that_could_not_are_called() -> None:
    partition = await opened(payload_bytes=0)
    await partition.line_up()
    partition.answers = 1
    assert not await partition.ledger.step(partition.clock)
    assert len(partition.claims) == 1
    partition.answers = ROOM_FOR_ALL
    await partition.work()
    assert len(partition.claims) == 3


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
    await partition.line_up()
    await partition.work()
    assert len(partition.claims) == 2
    assert partition.ledger.workspaces_waiting == 1
    assert partition.ledger.rounds
    assert not partition.to_do
    partition.slots.release()
    await partition.work()
    assert len(partition.claims) == 3
    assert partition.ledger.workspaces_waiting == 0
    assert not partition.ledger.rounds


async def test_a_partition_that_moved_away_is_owed_no_slot() -> None:
    partition = await opened(slots=1)
    await partition.line_up()
    await partition.work()
    await partition.ledger.close()
    await partition.move()
    for claimed in (2, 3):
        partition.slots.release()
        await partition.work()
        assert len(partition.claims) == claimed


# Deadlines


async def test_a_job_is_due_from_the_instant_of_its_deadline_on_and_once() -> None:
    partition = await opened()
    await partition.call("job")
    deadline = partition.job("job").deadline
    assert deadline is not None
    assert partition.ledger.take_due(deadline - MOMENT) == []
    assert partition.ledger.take_due(deadline) == [key_of("job")]
    assert partition.ledger.take_due(deadline) == []


async def test_a_deadline_that_the_acceptance_moved_is_due_only_where_it_is_now() -> None:
    partition = await opened()
    await partition.call("job")
    first = partition.job("job").deadline
    assert first is not None
    partition.now = first - timedelta(minutes=1)
    partition.accept("job")
    await partition.work()
    assert partition.ledger.take_due(first) == []
    moved = partition.job("job").deadline
    assert moved is not None
    assert partition.ledger.take_due(moved) == [key_of("job")]


async def test_a_job_that_has_ended_is_never_due_even_when_it_is_forgotten() -> None:
    partition = await opened()
    await partition.call("ended")
    partition.complete("ended")
    partition.accept("ended")
    await partition.work()
    assert partition.ledger.take_due(partition.now + FAR) == []
    await partition.work(after=PAUSE)
    await partition.call("forgotten")
    partition.complete("forgotten")
    await partition.work()
    await partition.work(after=DEADLINES.retention + MOMENT)
    assert partition.ledger.jobs() == []
    assert partition.ledger.take_due(partition.now) == []


# Transactions


@pytest.mark.parametrize("topic", SOURCE_TOPICS)
@pytest.mark.parametrize("skipped", [0, 1])
async def test_records_that_were_skipped_on_their_way_end_the_ledger(topic: Topic, skipped: int) -> None:
    partition = await opened()
    for entry in [partition.broker.append(NewRecord(topic, HERE, None, b"record")) for _ in range(3)]:
        if entry.record.offset != skipped:
            partition.deliver(entry)
    with pytest.raises(LostRecordsError, match=f"@{skipped} was skipped"):
        await partition.ledger.step(partition.clock)


async def test_a_ledger_begins_where_the_group_has_committed() -> None:
    partition = await opened()
    for number, topic in enumerate(SOURCE_TOPICS):
        partition.broker.committed_offsets[TopicPartition(topic, HERE)] = 7 + number
    await partition.move()
    assert [partition.ledger.processed(topic) for topic in SOURCE_TOPICS] == [7, 8, 9, 10]


async def test_a_hole_that_cannot_be_looked_into_now_leaves_everything_queued_in_its_order() -> None:
    partition = await opened()
    partition.broker.append(NewRecord(Topic.SUBMITTED, HERE, None, b"aborted"), State.ABORTED)
    partition.submit("first", "second")
    partition.readable = False
    assert not await partition.ledger.step(partition.clock)
    assert partition.ledger.jobs() == []
    assert partition.acknowledged == []
    partition.readable = True
    await partition.work()
    assert partition.called == ["first"]
    assert [job.job_id for job in partition.ledger.jobs()] == ["first", "second"]
    assert partition.acknowledged == [1, 2]


@pytest.mark.parametrize(("value", "most"), [(b"no json", STEP_MAX_ITEMS), (bytes(STEP_MAX_BYTES // 2), 2)])
async def test_a_step_takes_a_bounded_number_of_records_and_of_bytes(value: bytes, most: int) -> None:
    partition = await opened()
    for _ in range(most + 1):
        partition.write(Topic.SUBMITTED, value)
    await partition.ledger.step(partition.clock)
    assert len(partition.acknowledged) == most
    await partition.work()
    assert len(partition.acknowledged) == most + 1


async def test_records_from_which_nothing_follows_cost_no_transaction() -> None:
    partition = await opened()
    (entry,) = partition.submit("job")
    await partition.work()
    changelog = TopicPartition(changelog_topic(APP), HERE)
    before = partition.broker.high_watermark(changelog)
    partition.deliver(entry)
    await partition.work()
    assert partition.acknowledged == [0, 0]
    assert partition.broker.high_watermark(changelog) == before


async def test_what_happened_is_counted_once_it_is_committed() -> None:
    partition = await opened()
    old = partition.now - DEADLINES.retention
    partition.submit("job", "job")
    partition.write(Topic.SUBMITTED, encoded(jobId="job", carrier="another"))
    partition.write(Topic.SUBMITTED, encoded(workspaceId=STRANGER))
    partition.write(Topic.SUBMITTED, encoded(jobId="expired"), timestamp=old)
    partition.write(Topic.SUBMITTED, encoded(jobId="invalid", orders=[]))
    partition.complete("unknown")
    assert counts(partition) == {}
    await partition.work()
    submitted, completed = Topic.SUBMITTED.value, Topic.BATCH_COMPLETED.value
    assert counts(partition) == {
        ("submissions", "accepted"): 1,
        ("submissions", "duplicate"): 1,
        ("submissions", "conflict"): 1,
        ("submissions", "expired"): 1,
        ("submissions", "invalid"): 1,
        ("completions", "unknown_job"): 1,
        ("outcomes", "failed", "invalid_submission"): 1,
        ("forwarded_records", submitted): 1,
        ("dead_letters", submitted, "conflict"): 1,
        ("dead_letters", submitted, "submission_expired"): 1,
        ("dead_letters", submitted, "invalid"): 1,
        ("dead_letters", completed, "unknown_job"): 1,
    }
    assert partition.ledger.processed(Topic.SUBMITTED) == 6
    assert partition.ledger.processed(Topic.BATCH_COMPLETED) == 1
    for topic in (submitted, completed):
        name = "robot_orchestrator_last_record_processed_timestamp_seconds"
        assert partition.metrics.registry.get_sample_value(name, {"topic": topic})


def counts(partition: Partition) -> dict[tuple[str, ...], float]:
    """Return the counters that have counted something, by name and labels."""
    return {
        (sample.name.removeprefix("robot_orchestrator_").removesuffix("_total"), *sample.labels.values()): sample.value
        for family in partition.metrics.registry.collect()
        for sample in family.samples
        if family.type == "counter" and sample.name.startswith("robot_") and sample.value
    }


async def test_the_jobs_are_counted_by_what_they_are_at() -> None:
    partition = await opened()
    partition.submit("completed", "failed", "waits")
    await partition.work()
    assert +partition.ledger.jobs_by_status == {Status.PROCESSING: 1, Status.PENDING: 2}
    partition.complete("completed")
    partition.accept("completed")
    await partition.work()
    await partition.work(after=PAUSE)
    partition.break_off("failed", may_have_received=False)
    await partition.work()
    one_of_each = dict.fromkeys((Status.COMPLETED, Status.FAILED, Status.PROCESSING), 1)
    assert +partition.ledger.jobs_by_status == one_of_each
    await partition.move()
    assert +partition.ledger.jobs_by_status == one_of_each


# Memory


async def test_jobs_are_forgotten_a_retention_after_their_end_a_bounded_number_a_step() -> None:
    partition = Partition()
    changelog = changelog_topic(APP)
    partition.store(*(replace(COMPLETED, job_id=f"job-{number}") for number in range(STEP_MAX_ITEMS + 1)))
    partition.now = ENDED_AT + DEADLINES.retention
    await partition.ledger.open(partition.now)
    assert not partition.to_do
    partition.now += MOMENT
    assert partition.to_do
    await partition.ledger.step(partition.clock)
    assert len(partition.ledger.jobs()) == 1
    assert partition.ledger.jobs_by_status[Status.COMPLETED] == 1
    await partition.work()
    assert partition.ledger.jobs() == []
    tombstones = [record for record in partition.broker.topic(changelog) if record.value is None]
    assert len(tombstones) == STEP_MAX_ITEMS + 1
    partition.ledger = partition.over(partition.new_log())
    await partition.ledger.open(partition.now)
    assert partition.ledger.jobs() == []


async def test_a_submission_of_a_job_in_the_table_is_a_duplicate_however_old_it_is() -> None:
    partition = await opened()
    (entry,) = partition.submit("job")
    await partition.work(after=DEADLINES.retention / 3)
    partition.complete("job")
    partition.accept("job")
    await partition.work()
    partition.now = NOW + DEADLINES.retention
    assert DEADLINES.row_may_be_gone(entry.record.timestamp, partition.now)
    partition.deliver(entry)
    await partition.work()
    assert partition.broker.topic(DLQ_OF[Topic.SUBMITTED]) == []
    assert partition.acknowledged == [0, 0, 0]
