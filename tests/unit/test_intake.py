"""What a source record means, whatever its bytes are."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from streams.core.events import BatchCompleted, InvalidSubmission, JobSubmitted, OrderReported
from streams.core.job import JobKey, Source
from streams.names import SOURCE_TOPICS, DeadLetterReason, Topic
from streams.wire.intake import (
    COMPLETION_MAX_BYTES,
    SUBMISSION_MAX_BYTES,
    Apply,
    Forward,
    Meaning,
    Refuse,
    RefuseAndFail,
    Rejection,
    fingerprint,
    interpret,
    jobs_named,
    key_in,
    read_submission,
)
from streams.wire.placement import partition_of
from streams.wire.records import SourceRecord
from tests.core.builders import DEADLINES, NOW
from tests.unit.builders import completion, encoded, payload, record, with_pedido

PARTITIONS = 8
HOME = partition_of("workspace-1", PARTITIONS)
KEY = JobKey("workspace-1", "job-1")
MALFORMED, INVALID = DeadLetterReason.MALFORMED, DeadLetterReason.INVALID

topics = st.sampled_from(SOURCE_TOPICS)
short = st.text(max_size=6)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | short
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3), max_leaves=6
)
NAMES = [*payload(), "successCount", "errorCount", "username", "password", "itemId", "orderId"]


def read(source: SourceRecord) -> Meaning:
    return interpret(source, PARTITIONS, DEADLINES, NOW)


def submitted(value: bytes | None, **other: Any) -> Meaning:
    return read(record(value, partition=HOME, **other))


def completed(value: bytes | None, **other: Any) -> Meaning:
    return read(record(value, topic=Topic.BATCH_COMPLETED, partition=HOME, **other))


def event_of(meaning: Meaning) -> JobSubmitted | InvalidSubmission | BatchCompleted | OrderReported | None:
    return meaning.event if isinstance(meaning, Apply | RefuseAndFail) else None


def rejection_of(meaning: Meaning) -> Rejection:
    assert isinstance(meaning, Refuse | RefuseAndFail)
    return meaning.rejection


def damaged(at: int, damage: bytes) -> bytes:
    good = encoded()
    cut = at % len(good)
    return good[:cut] + damage + good[cut + len(damage) :]


values = (
    st.binary(max_size=300)
    | st.dictionaries(st.sampled_from(NAMES), trees).map(lambda fields: json.dumps(fields).encode())
    | st.builds(
        lambda name, value: json.dumps(payload(successCount=1, errorCount=1) | {name: value}).encode(),
        st.sampled_from([*payload(), "successCount", "errorCount"]),
        trees,
    )
    | st.builds(damaged, st.integers(0, 10**6), st.binary(min_size=1, max_size=3))
)


@given(values, topics, st.just(HOME) | st.integers(0, PARTITIONS - 1))
@example(damaged(5, b"\xed\xa0\x80"), Topic.SUBMITTED, HOME)
@settings(max_examples=400)
def test_no_value_whatever_makes_it_raise(value: bytes, topic: Topic, partition: int) -> None:
    meaning = read(record(value, topic=topic, partition=partition))
    # Only a bad submission of known ids fails its job.
    assert isinstance(event_of(meaning), InvalidSubmission) == isinstance(meaning, RefuseAndFail)


@given(trees)
def test_any_json_object_is_taken_as_pedido_input(pedido: Any) -> None:
    try:
        value = json.dumps({"x": pedido}, allow_nan=False, ensure_ascii=False)
        value.encode()
    except ValueError:
        reject()
    assert isinstance(event_of(submitted(with_pedido(value))), JobSubmitted)


def test_a_good_submission_is_a_submitted_job() -> None:
    value = encoded(orders=payload()["orders"] * 3)
    at = NOW - timedelta(days=5)
    event = event_of(submitted(value, offset=77, timestamp=at))
    assert event == JobSubmitted(KEY, at, Source(Topic.SUBMITTED, HOME, 77), 3, fingerprint(read_submission(value)))


def test_the_payloads_ids_decide_and_not_the_records_key() -> None:
    for key in (None, b"", b"workspace-2", b"\xff"):
        assert event_of(submitted(encoded(), key=key)) == event_of(submitted(encoded()))


# All kinds of them are in tests/support/hostile.py.
@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(None, "the record has no value", id="tombstone"),
        pytest.param(b"hello", "the value is not JSON", id="text"),
        pytest.param(b"[]", "the value is not a JSON object", id="array"),
        pytest.param(b'{"a":' * 60_000, "the value is nested too deeply", id="60,000 open objects"),
    ],
)
def test_a_value_that_is_no_json_object_is_malformed_on_both_topics(value: bytes | None, message: str) -> None:
    for intake in (submitted(value), completed(value)):
        assert intake == Refuse(Rejection(MALFORMED, message))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"credentials": None}, "credentials: Field required"),
        ({"orders": []}, "orders: "),
        ({"orders": [{"itemId": "i", "orderId": "o"}]}, "orders.0.pedidoInput: Field required"),
    ],
)
def test_a_bad_submission_with_readable_ids_is_a_dead_letter_and_fails_its_job(
    changes: dict[str, Any], message: str
) -> None:
    intake = submitted(encoded(**changes), offset=9)
    assert rejection_of(intake).reason is INVALID
    assert rejection_of(intake).message.startswith(message)
    assert event_of(intake) == InvalidSubmission(
        KEY, NOW, Source(Topic.SUBMITTED, HOME, 9), rejection_of(intake).message
    )


@pytest.mark.parametrize("partition", [number for number in range(PARTITIONS) if number != HOME])
def test_a_misplaced_record_is_forwarded_to_its_workspaces_partition(partition: int) -> None:
    for topic, value in ((Topic.SUBMITTED, encoded()), (Topic.BATCH_COMPLETED, completion())):
        assert read(record(value, topic=topic, partition=partition)) == Forward(HOME)


def test_a_timestamp_over_an_hour_ahead_is_rejected_without_failing_the_job() -> None:
    hour, tick = timedelta(hours=1), timedelta(microseconds=1)
    assert isinstance(event_of(submitted(encoded(), timestamp=NOW + hour)), JobSubmitted)
    for value in (encoded(), encoded(orders=[])):
        for partition in (HOME, (HOME + 1) % PARTITIONS):
            assert read(record(value, partition=partition, timestamp=NOW + hour + tick)) == Refuse(
                Rejection(DeadLetterReason.FUTURE_TIMESTAMP, "the record's timestamp is over an hour ahead")
            )


def test_a_completions_timestamp_does_not_matter() -> None:
    assert event_of(completed(completion(), timestamp=NOW + timedelta(days=9))) == BatchCompleted(KEY, 1, 0)


def padded(value: bytes, size: int) -> bytes:
    return value[:-1] + b" " * (size - len(value)) + value[-1:]


def test_a_submission_of_the_largest_size_is_taken_and_one_byte_more_fails_the_job() -> None:
    assert isinstance(event_of(submitted(padded(encoded(), SUBMISSION_MAX_BYTES))), JobSubmitted)
    intake = submitted(padded(encoded(), SUBMISSION_MAX_BYTES + 1))
    message = f"the value has over {SUBMISSION_MAX_BYTES} bytes"
    assert intake == RefuseAndFail(
        InvalidSubmission(KEY, NOW, Source(Topic.SUBMITTED, HOME, 41), message),
        Rejection(DeadLetterReason.TOO_LARGE, message),
    )


def test_a_submission_that_is_too_large_is_not_copied_to_another_partition() -> None:
    intake = read(record(padded(encoded(), SUBMISSION_MAX_BYTES + 1), partition=(HOME + 1) % PARTITIONS))
    message = f"the value has over {SUBMISSION_MAX_BYTES} bytes"
    assert intake == Refuse(Rejection(DeadLetterReason.TOO_LARGE, message))


def test_a_submission_that_is_too_large_and_has_no_ids_fails_no_job() -> None:
    intake = submitted(padded(encoded(jobId=None), SUBMISSION_MAX_BYTES + 1))
    assert event_of(intake) is None
    assert rejection_of(intake).reason is DeadLetterReason.TOO_LARGE


def test_a_completion_of_the_largest_size_is_taken_and_one_byte_more_is_too_large() -> None:
    assert event_of(completed(padded(completion(), COMPLETION_MAX_BYTES))) == BatchCompleted(KEY, 1, 0)
    message = f"the value has over {COMPLETION_MAX_BYTES} bytes"
    assert completed(padded(completion(), COMPLETION_MAX_BYTES + 1)) == Refuse(
        Rejection(DeadLetterReason.TOO_LARGE, message)
    )


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_a_completion_carries_both_counts(success: int, error: int) -> None:
    value = completion(successCount=success, errorCount=error)
    assert completed(value) == Apply(BatchCompleted(KEY, success, error))


@given(st.dictionaries(st.sampled_from(["jobId", "workspaceId", "successCount", "errorCount"]), trees))
@example({"jobId": "job-1", "workspaceId": "workspace-1", "successCount": 1, "errorCount": 0})
def test_every_job_that_a_completion_changes_is_named_by_it_wherever_it_lies(fields: dict[str, Any]) -> None:
    value = json.dumps(fields).encode()
    for partition in range(PARTITIONS):
        intake = read(record(value, topic=Topic.BATCH_COMPLETED, partition=partition))
        event = event_of(intake)
        if isinstance(event, BatchCompleted):
            elsewhere = (partition + 1) % PARTITIONS
            assert event.key in jobs_named(record(value, topic=Topic.BATCH_COMPLETED, partition=elsewhere))


def test_a_record_that_completes_no_job_names_none() -> None:
    for value in (None, b"\xff", b"[]", completion(jobId=None), padded(completion(), COMPLETION_MAX_BYTES + 1)):
        assert jobs_named(record(value, topic=Topic.BATCH_COMPLETED)) == set()
    assert jobs_named(record(completion(successCount=-1), topic=Topic.BATCH_COMPLETED)) == {KEY}


def test_of_fields_with_one_name_the_last_one_counts_everywhere() -> None:
    doubled = b'{"jobId": "first", "workspaceId": "workspace-2", ' + encoded()[1:]
    event = event_of(submitted(doubled))
    assert isinstance(event, JobSubmitted)
    assert event.key == KEY
    assert event_of(completed(b'{"successCount": 7, ' + completion()[1:])) == BatchCompleted(KEY, 1, 0)


def prints(value: bytes) -> str:
    return fingerprint(read_submission(value))


def test_the_fingerprint_leaves_out_credentials_order_of_fields_spaces_and_unknown_fields() -> None:
    backwards = json.dumps(dict(reversed(payload().items())), indent=3).encode()
    others = [
        encoded(credentials={"username": "other", "password": "other"}),
        encoded(traceId="x"),
        encoded(orders=[order | {"extra": 1} for order in payload()["orders"]]),
        with_pedido('{"unidades": 2, "ciudad": "MEDELL\\u00cdN"}'),
        backwards,
    ]
    assert {prints(value) for value in others} == {prints(encoded())}


@pytest.mark.parametrize(
    "other",
    [
        encoded(carrier="another"),
        encoded(carrier=None),
        encoded(orders=payload()["orders"] * 2),
        encoded(orders=[payload()["orders"][0] | {"itemId": "i2"}]),
        encoded(orders=[payload()["orders"][0] | {"orderId": "o2"}]),
        with_pedido('{"ciudad": "MEDELLÍN", "unidades": 3}'),
        with_pedido('{"ciudad": "MEDELLÍN", "unidades": "2"}'),
        with_pedido('{"ciudad": "MEDELLÍN", "unidades": 2, "más": null}'),
        with_pedido("{}"),
    ],
)
def test_the_fingerprint_tells_another_payload(other: bytes) -> None:
    assert prints(other) != prints(encoded())


def test_the_fingerprint_tells_the_order_of_orders() -> None:
    one = payload()["orders"][0]
    two = one | {"itemId": "i2"}
    assert prints(encoded(orders=[one, two])) != prints(encoded(orders=[two, one]))


def test_the_fingerprint_of_a_payload_stays_the_same_over_releases() -> None:
    """It lies in rows: another way of computing it would make every redelivery a conflict."""
    assert prints(encoded()) == "b5ae11b2a5d61ef41c0a9b91388e8833"


def test_an_error_in_reading_a_submission_again_is_a_value_error() -> None:
    """The ledger takes such bytes for a payload that is gone."""
    with pytest.raises(ValueError, match="orders"):
        read_submission(encoded(orders=[]))


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (encoded(orders=[]), KEY),
        (encoded(jobId=17), None),
        (encoded(workspaceId=""), None),
        (b"no JSON", None),
        (b"[1]", None),
        (None, None),
    ],
)
def test_the_job_that_a_bad_record_names_is_known_if_both_ids_can_be_read(
    value: bytes | None, key: JobKey | None
) -> None:
    assert key_in(value) == key
