"""Dead letters keep what was there and say why."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import DeadLetterHeaders
from streams.names import DLQ_OF, DeadLetterReason, Header, Topic
from streams.wire.dead_letters import RECORD_OVERHEAD, dead_letter, record_size
from streams.wire.records import Headers
from tests.core.builders import NOW
from tests.unit.builders import encoded, record

BIG = 10_000_000
OWN = {name.value for name in Header if name.value.startswith(("__streams", "robot.dlq", "kafka_dlt"))}
DOUBLED: Headers = (("trace", b"1"), ("trace", b"2"), ("empty", b""), ("ünï", b"\xff\x00"), ("trace", b"1"))

reasons = st.sampled_from(DeadLetterReason)
headers = st.lists(
    st.tuples(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda name: name not in OWN), st.binary())
)


@given(st.none() | st.binary(), st.none() | st.binary(), headers, reasons)
def test_bytes_key_partition_and_headers_are_kept(
    key: bytes | None, value: bytes | None, given_headers: list[tuple[str, bytes]], reason: DeadLetterReason
) -> None:
    source = record(value, key=key, headers=tuple(given_headers), partition=5)
    letter = dead_letter(source, reason, "why", BIG)
    assert (letter.value, letter.partition) == (value, 5)
    # aiokafka takes no record that has neither.
    assert letter.key == (b"" if key is None and value is None else key)
    assert letter.headers[: len(given_headers)] == tuple(given_headers)
    assert {name for name, _ in letter.headers[len(given_headers) :]} == OWN


@pytest.mark.parametrize("max_bytes", [BIG, 1024])
@pytest.mark.parametrize("age", [timedelta(days=400), timedelta(0), timedelta(days=-400)])
def test_a_letter_has_the_time_of_its_writing_whatever_its_records_was(age: timedelta, max_bytes: int) -> None:
    """Under the original's it could be refused, or deleted at once by the topic's retention."""
    letter = dead_letter(record(b"x" * 2000, timestamp=NOW - age), DeadLetterReason.INVALID, "why", max_bytes)
    assert letter.timestamp is None


@pytest.mark.parametrize("topic", list(DLQ_OF))
def test_a_letter_goes_to_the_dead_letter_topic_of_its_source(topic: Topic) -> None:
    letter = dead_letter(record(b"x", topic=topic), DeadLetterReason.MALFORMED, "why", BIG)
    assert letter.topic == f"dlq.{topic}"


@given(reasons, st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_the_headers_of_a_letter_can_be_read_by_the_contract(reason: DeadLetterReason, message: str) -> None:
    source = record(b"x", topic=Topic.BATCH_COMPLETED, partition=6, offset=2**63 - 1, headers=DOUBLED)
    parsed = DeadLetterHeaders.from_headers(dead_letter(source, reason, message, BIG).headers)
    assert parsed.topic == parsed.original_topic == "robot.job.batch_completed"
    assert (parsed.partition, parsed.offset, parsed.redrive_count) == (6, 2**63 - 1, 0)
    assert parsed.reason == parsed.exception == reason.value
    assert (parsed.message, parsed.stacktrace) == (message, "")
    assert parsed.letter_id == "robot.job.batch_completed-6-9223372036854775807"


def test_a_letter_that_was_sent_back_and_fails_again_says_so_once() -> None:
    """What an earlier letter said about itself gives way; how often it was sent back stays."""
    first = dead_letter(record(b"x", headers=DOUBLED), DeadLetterReason.CONFLICT, "first", BIG)
    others = [header for header in first.headers if header[0] != Header.DLQ_REDRIVE_COUNT]
    redriven = (*others, (Header.DLQ_REDRIVE_COUNT.value, b"2"))
    again = dead_letter(record(b"x", offset=99, headers=redriven), DeadLetterReason.INVALID, "second", BIG)
    names = [name for name, _ in again.headers]
    assert all(names.count(name) == 1 for name in OWN)
    assert again.headers[:5] == DOUBLED
    parsed = DeadLetterHeaders.from_headers(again.headers)
    assert (parsed.redrive_count, parsed.message, parsed.offset) == (2, "second", 99)


@pytest.mark.parametrize("count", [b"", b"-1", b"x", b"1.5", b"\xff", "٣".encode(), b"1" * 10, b" 1"])
def test_a_redrive_count_that_is_no_small_number_counts_as_none(count: bytes) -> None:
    letter = dead_letter(
        record(b"x", headers=((Header.DLQ_REDRIVE_COUNT.value, count),)), DeadLetterReason.INVALID, "", BIG
    )
    assert DeadLetterHeaders.from_headers(letter.headers).redrive_count == 0


def test_a_letter_that_just_fits_is_whole_and_one_byte_less_makes_it_short() -> None:
    source = record(encoded(), headers=DOUBLED)
    size = record_size(dead_letter(source, DeadLetterReason.INVALID, "why", BIG))
    assert dead_letter(source, DeadLetterReason.INVALID, "why", size).value == source.value
    assert dead_letter(source, DeadLetterReason.INVALID, "why", size - 1).value != source.value


def test_a_short_letter_says_where_the_original_lies_and_how_large_it_was() -> None:
    source = record(b"x" * 5000, key=b"k" * 5000, partition=3, offset=17, headers=(("h", b"y" * 5000),))
    letter = dead_letter(source, DeadLetterReason.TOO_LARGE, "why", 4096)
    assert record_size(letter) <= 4096
    assert letter.value is not None
    assert json.loads(letter.value) == {
        "topic": "robot.job.submitted",
        "partition": 3,
        "offset": 17,
        "originalBytes": 5000,
    }
    assert (letter.key, letter.partition) == (None, 3)
    parsed = DeadLetterHeaders.from_headers(letter.headers)
    assert parsed.message == "why; the original was too large to be copied"
    assert parsed.reason == "too_large"
    assert (parsed.topic, parsed.partition, parsed.offset) == ("robot.job.submitted", 3, 17)


def test_headers_alone_can_make_a_letter_short_even_that_of_a_tombstone() -> None:
    letter = dead_letter(record(None, headers=(("h", b"y" * 5000),)), DeadLetterReason.MALFORMED, "why", 4096)
    assert letter.value is not None
    assert json.loads(letter.value)["originalBytes"] == 0
    assert {name for name, _ in letter.headers} == OWN


@given(st.none() | st.binary(), st.none() | st.binary(), headers)
def test_the_size_of_a_record_is_never_under_what_its_parts_take(
    key: bytes | None, value: bytes | None, given_headers: list[tuple[str, bytes]]
) -> None:
    parts = len(key or b"") + len(value or b"") + sum(len(n.encode()) + len(v) for n, v in given_headers)
    size = record_size(record(value, key=key, headers=tuple(given_headers)))
    assert size >= parts + RECORD_OVERHEAD
