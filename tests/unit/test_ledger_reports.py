"""Batches that are followed order by order: what reports do, whose secrets they may hold, and what is told late."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.job_submitted import ORDERS_MAX
from schemas.order_reported import ERROR_MESSAGE_MAX_LENGTH, ERROR_TYPE_MAX_LENGTH, TRACKING_NUMBER_MAX_LENGTH
from streams.core.events import DeadlinePassed
from streams.core.job import FailureReason, Job, OrderResult, OrderStatus
from streams.kafka.partition_log import MAX_BATCH_BYTES
from streams.names import SOURCE_TOPICS, Topic, changelog_topic
from streams.wire.orders import cut_to_share, item_ids
from streams.wire.outcomes import amendment_record, outcome_record
from streams.wire.records import TopicPartition
from streams.wire.rows import decode_row, encode_row
from tests.core.builders import FAILED, NOW
from tests.simulation.broker import Entry, State
from tests.support.engine import APP
from tests.unit.builders import PASSWORD, encoded
from tests.unit.partition import HERE, Partition, opened

LONGEST = (TRACKING_NUMBER_MAX_LENGTH, ERROR_TYPE_MAX_LENGTH, ERROR_MESSAGE_MAX_LENGTH)
ORDERS = [{"itemId": f"i{nth}", "orderId": f"o{nth}", "pedidoInput": {}} for nth in (1, 2)]
LATE = timedelta(hours=2)


async def called() -> Partition:
    """Return a partition with a job at the robot whose two orders are followed."""
    return (await submitted())[0]


async def submitted() -> tuple[Partition, Entry]:
    partition = await opened(followed=True)
    entry = partition.write(Topic.SUBMITTED, encoded(jobId="job", orders=ORDERS))
    await partition.work()
    partition.accept("job")
    await partition.work()
    return partition, entry


async def move(partition: Partition) -> None:
    """Commit what is done, and open the partition at another worker."""
    for topic in SOURCE_TOPICS:
        partition.broker.committed_offsets[TopicPartition(topic, HERE)] = partition.ledger.processed(topic)
    await partition.move()


def report(partition: Partition, item_id: str, job_id: str = "job", **told: Any) -> None:
    """Hand a report to the ledger: of a success, if nothing else is said."""
    ids = {"workspaceId": "workspace-1", "jobId": job_id, "itemId": item_id}
    value = {**ids, "status": "success", "reportedAt": "2026-01-31T12:00:00.000Z", **told}
    partition.write(Topic.ORDER_REPORTED, json.dumps(value).encode())


def values(partition: Partition, topic: Topic) -> list[dict[str, Any]]:
    return [json.loads(record.value or b"") for record in partition.broker.topic(topic)]


def letters(partition: Partition) -> list[str]:
    records = partition.broker.topic(Topic.DLQ_ORDER_REPORTED)
    return [(dict(record.headers)["robot.dlq.reason"] or b"").decode() for record in records]


async def test_the_report_of_the_last_order_completes_the_job_and_the_outcome_tells_of_each() -> None:
    partition = await called()
    report(partition, "i2", status="error", errorType="portal", errorMessage="No such city")
    await partition.work()
    assert values(partition, Topic.COMPLETED) == []
    report(partition, "i1", trackingNumber="TN-1")
    await partition.work()
    (outcome,) = values(partition, Topic.COMPLETED)
    assert (outcome["successCount"], outcome["errorCount"], outcome["countsMismatch"]) == (1, 1, False)
    assert outcome["orders"] == [
        {"itemId": "i1", "status": "success", "trackingNumber": "TN-1"},
        {"itemId": "i2", "status": "error", "errorType": "portal", "errorMessage": "No such city"},
    ]


async def test_a_batch_whose_callback_names_no_job_is_not_followed() -> None:
    partition = await opened()
    await partition.call("job")
    report(partition, "i1")
    await partition.work()
    assert (partition.job("job").orders, letters(partition)) == ((), ["unknown_item"])


async def test_a_report_of_a_job_that_waits_or_is_unknown_is_a_letter() -> None:
    partition = await called()
    partition.submit("waits")
    await partition.work()
    report(partition, "i1", job_id="waits")
    report(partition, "i1", job_id="unknown")
    report(partition, "i3")
    await partition.work()
    assert letters(partition) == ["not_dispatched", "unknown_job", "unknown_item"]


async def test_a_repeated_report_is_counted_and_one_that_says_something_else_is_a_letter() -> None:
    partition = await called()
    report(partition, "i1", trackingNumber="TN-1")
    report(partition, "i1", trackingNumber="TN-1")
    report(partition, "i1", trackingNumber="TN-9")
    await partition.work()
    counted = partition.metrics.registry.get_sample_value
    results = {name: counted("robot_orchestrator_reports_total", {"result": name}) for name in ("taken", "duplicate")}
    assert results == {"taken": 1, "duplicate": 1}
    assert letters(partition) == ["duplicate_mismatch"]


# Secrets


@pytest.mark.parametrize("moved", [False, True])
async def test_what_the_robot_says_of_an_order_is_scrubbed_by_whoever_owns_the_job(moved: bool) -> None:
    partition = await called()
    if moved:
        await partition.move()
    for item in ("i1", "i2"):
        report(partition, item, status="error", errorType=PASSWORD, errorMessage=f"portal-user / {PASSWORD} is wrong")
    await partition.work()
    (outcome,) = values(partition, Topic.COMPLETED)
    assert {(order["errorType"], order["errorMessage"]) for order in outcome["orders"]} == {
        ("***", "*** / *** is wrong")
    }
    rows = partition.broker.topic(changelog_topic(APP))
    assert PASSWORD.encode() not in b"".join(record.value or b"" for record in rows)


async def test_of_words_that_a_bridge_has_cut_nothing_is_kept_that_could_be_the_beginning_of_a_secret() -> None:
    partition = await called()
    for item, kept in (("i1", 1), ("i2", len(PASSWORD) - 1)):
        words = ("No such city. " * 50)[: ERROR_MESSAGE_MAX_LENGTH - kept] + PASSWORD[:kept]
        report(partition, item, status="error", errorMessage=words)
    await partition.work()
    for order in partition.job("job").orders:
        assert order.error_message
        assert "No such city. ".startswith(order.error_message.split("No such city. ")[-1])


async def test_a_report_waits_while_nobody_can_say_which_secrets_it_may_hold() -> None:
    partition = await called()
    await partition.move()
    partition.readable = False
    report(partition, "i1", status="error", errorMessage=f"{PASSWORD} is wrong")
    assert not await partition.ledger.step(partition.clock)
    assert partition.job("job").orders[0].status is OrderStatus.UNREPORTED
    partition.readable = True
    await partition.work()
    assert partition.job("job").orders[0].error_message == "*** is wrong"


async def test_of_a_report_whose_jobs_secrets_are_gone_the_words_are_left_out_and_the_number_is_kept() -> None:
    partition, submission = await submitted()
    await partition.move()
    # A reader is not shown it any more.
    submission.state = State.ABORTED
    report(partition, "i1", trackingNumber="SIM7300000001", errorType="portal", errorMessage=f"{PASSWORD} is wrong")
    report(partition, "i2", trackingNumber=PASSWORD, errorType=PASSWORD)
    partition.answers = 1
    await partition.work()
    first, second = partition.job("job").orders
    assert first[2:] == ("SIM7300000001", "portal", "***")
    assert second[2:] == (None, None, None)


@pytest.mark.parametrize("name", ["trackingNumber", "errorType"])
async def test_a_number_or_code_that_the_bridge_has_cut_is_left_out(name: str) -> None:
    partition = await called()
    most = TRACKING_NUMBER_MAX_LENGTH if name == "trackingNumber" else ERROR_TYPE_MAX_LENGTH
    report(partition, "i1", **{name: f"{'x' * most}{PASSWORD}"[-most - 3 : -3]})
    await partition.work()
    assert partition.job("job").orders[0][2:] == (None, None, None)


async def test_a_report_without_words_needs_no_secrets() -> None:
    partition = await called()
    await partition.move()
    partition.readable = False
    report(partition, "i1")
    assert await partition.ledger.step(partition.clock)


# Late


async def timed_out() -> Partition:
    partition = await called()
    report(partition, "i1")
    await partition.work()
    partition.break_off("job")
    partition.now += LATE
    (key,) = partition.ledger.take_due(partition.now)
    partition.ledger.tell(DeadlinePassed(key))
    await partition.work()
    assert partition.job("job").reason is FailureReason.TIMEOUT
    return partition


async def test_a_job_that_timed_out_says_which_orders_were_reported_and_what_comes_later_is_told() -> None:
    partition = await timed_out()
    (outcome,) = values(partition, Topic.FAILED)
    assert [order["status"] for order in outcome["orders"]] == ["success", "unreported"]
    report(partition, "i2", trackingNumber="TN-2")
    partition.complete("job")
    await partition.work()
    (amendment,) = values(partition, Topic.AMENDED)
    assert [order["status"] for order in amendment["orders"]] == ["success", "success"]
    assert (amendment["successCount"], amendment["errorCount"]) == (1, 0)
    headers = dict(partition.broker.topic(Topic.FAILED)[0].headers)
    assert amendment["outcomeId"] == (headers["ce_id"] or b"").decode()
    assert values(partition, Topic.FAILED) == [outcome]
    assert letters(partition) == []


async def test_what_became_known_late_is_told_once_however_often_it_is_read() -> None:
    partition = await timed_out()
    for _ in range(2):
        report(partition, "i2")
        await partition.work()
        await move(partition)
    assert len(values(partition, Topic.AMENDED)) == 1


async def test_a_job_leaves_the_table_once_though_it_was_amended() -> None:
    partition = await timed_out()
    report(partition, "i2")
    await partition.work(after=timedelta(days=1))
    await partition.work(after=timedelta(days=8))
    assert partition.ledger.jobs() == []
    assert partition.ledger.jobs_by_status.total() == 0


# Tried again


async def test_a_job_is_tried_again_once_it_has_ended_and_as_one_job_only() -> None:
    partition = await called()
    for job_id in ("too-early", "again", "again", "and-again"):
        if job_id == "again":
            report(partition, "i1")
            report(partition, "i2", status="error")
            await partition.work()
        partition.write(Topic.SUBMITTED, encoded(jobId=job_id, orders=ORDERS[1:], resubmissionOf="job"))
        await partition.work()
    refused = {value["jobId"]: value["error"] for value in values(partition, Topic.FAILED)}
    assert refused == {
        "too-early": "resubmissionOf: the job has not ended",
        "and-again": "resubmissionOf: the job was resubmitted as another one",
    }
    reasons = [dict(record.headers)["robot.dlq.reason"] for record in partition.broker.topic(Topic.DLQ_SUBMITTED)]
    assert reasons == [b"invalid", b"invalid"]
    assert (partition.job("job").resubmitted_as, partition.job("again").resubmission_of) == ("again", "job")


async def test_a_job_that_is_forgotten_keeps_nobody_from_trying_its_orders_again() -> None:
    partition = await opened()
    partition.write(Topic.SUBMITTED, encoded(jobId="again", resubmissionOf="forgotten"))
    await partition.work()
    assert partition.called == ["again"]


# Bounds

characters = st.sampled_from(["x", "ñ", "😀", "\x01", '"'])


def followed(count: int, length: int, character: str, lengths: tuple[int, int, int]) -> Job:
    """Return a job with so many orders as are followed, all of them reported with texts of these lengths."""
    orders = [{"itemId": f"{nth}".ljust(length, character), "orderId": "o", "pedidoInput": {}} for nth in range(count)]
    ids = item_ids(encoded(orders=orders))
    number, code, words = (character * length or None for length in lengths)
    orders_of = tuple(OrderResult(item_id) for item_id in ids)
    reports = (OrderResult(item_id, OrderStatus.ERROR, number, code, words) for item_id in ids)
    kept = tuple(cut_to_share(report, orders_of) for report in reports)
    more: dict[str, Any] = {"order_count": count, "orders": kept, "error": "\x01" * 2048, "amended_at": NOW}
    return replace(FAILED, **more)


@given(
    st.sampled_from([1, 2, 50, 100, 500, 1000, 1300, ORDERS_MAX]),
    st.integers(5, 200),
    characters,
    st.tuples(*(st.integers(0, most) for most in LONGEST)),
)
@example(1000, 36, "x", (78, 0, 400))
@example(500, 36, "\x01", LONGEST)
def test_row_outcome_and_amendment_of_a_batch_that_is_followed_fit_in_every_topic(
    count: int, length: int, character: str, lengths: tuple[int, int, int]
) -> None:
    job = followed(count, length, character, lengths)
    assert decode_row(encode_row(job)) == job
    for size in (
        len(encode_row(job)),
        len(outcome_record(job, 0, "a").value or b""),
        len(amendment_record(job, 0, "a").value or b""),
    ):
        assert size <= MAX_BATCH_BYTES - 4_000


def test_a_batch_of_the_size_that_is_seen_keeps_every_word() -> None:
    job = followed(50, 36, "x", LONGEST)
    assert {tuple(map(len, filter(None, order[2:]))) for order in job.orders} == {LONGEST}


def test_of_a_very_large_batch_numbers_are_kept_whole_and_words_are_cut() -> None:
    orders = (OrderResult("i"),) * 1_000
    told = OrderResult("i", OrderStatus.ERROR, "531000000012", "portal", "No such city, and so on and so forth " * 5)
    kept = cut_to_share(told, orders)
    assert kept[:4] == told[:4]
    assert kept.error_message
    assert (told.error_message or "").startswith(kept.error_message)
    assert cut_to_share(told._replace(tracking_number="9" * 100), orders).tracking_number is None


def test_a_batch_that_is_too_large_is_not_followed() -> None:
    orders = [{"itemId": f"{nth:0>100}", "orderId": "o", "pedidoInput": {}} for nth in range(1_000)]
    assert item_ids(encoded(orders=orders)) == ()
    assert len(item_ids(encoded(orders=orders[:700]))) == 700


def test_an_item_id_that_comes_twice_is_one_item() -> None:
    assert item_ids(encoded(orders=[ORDERS[0], ORDERS[0], ORDERS[1]])) == ("i1", "i2")
