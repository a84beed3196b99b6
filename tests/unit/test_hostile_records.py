"""Hostile records through the whole engine on a simulated log: accounted for, and nothing too large comes of them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas import ERROR_MAX_LENGTH, ID_MAX_LENGTH
from streams.core.job import Job, JobKey
from streams.dev.history import position
from streams.dev.history_check import check
from streams.kafka.messages import instant_of
from streams.kafka.partition_log import MAX_BATCH_BYTES
from streams.names import DLQ_OF, SOURCE_TOPICS, DeadLetterReason, Topic, changelog_topic
from streams.wire.dead_letters import dead_letter
from streams.wire.outcomes import outcome_record
from streams.wire.records import NewRecord
from streams.wire.robot_request import Callback
from streams.wire.rows import encode_row, row_key
from tests.core.builders import COMPLETED, DEADLINES, FAILED, NOW
from tests.support.account import account
from tests.support.engine import APP, FOLLOWED, NOT_FOLLOWED, Engine, assert_producible, batch_of, filled, max_bytes
from tests.support.hostile import LONG_IDS, PASSWORD, Hostile, Settled, hostile_records, order
from tests.unit.builders import completion, encoded, payload, record

PARTITIONS = 2
# Ids that meet again, in each partition.
WORKSPACES = ["a", "b", "c", "\x00", "ñ"]
# Less than any topic is made for; a short letter fits in any case.
SMALL_TOPIC_BYTES = 8192

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
ids = st.fixed_dictionaries({"jobId": st.sampled_from("jk"), "workspaceId": st.sampled_from(WORKSPACES)})
orders = st.just([order()]) | st.lists(trees, max_size=2)
credentials = st.just({"username": "u", "password": PASSWORD}) | trees
counts = st.integers(-1, 2) | trees
fields = st.fixed_dictionaries(
    {},
    optional={"orders": orders, "credentials": credentials, "successCount": counts, "errorCount": counts, "x": trees},
)
objects = st.builds(lambda names, more: json.dumps(names | more).encode(), ids, fields)
# Mostly what is well-formed otherwise, or nothing but one check would ever be reached.
values = (
    objects
    | st.builds(lambda names: json.dumps(payload(**names)).encode(), ids)
    | st.builds(lambda names: completion(**names), ids)
    | st.builds(
        lambda value, at, damage: value[: at % len(value)] + damage + value[at % len(value) :],
        objects,
        st.integers(0, 10**6),
        st.binary(max_size=3),
    )
    | st.none()
    | st.binary(max_size=20)
)
headers = st.lists(st.tuples(texts, st.none() | st.binary(max_size=20)), max_size=3).map(tuple)
keys = st.none() | st.binary(max_size=20)
timestamps = st.just(NOW) | st.integers(-(2**63), 2**63 - 1).map(instant_of)
records = st.builds(
    NewRecord, st.sampled_from(SOURCE_TOPICS), st.integers(0, PARTITIONS - 1), keys, values, headers, timestamps
)


def written(engine: Engine, hostile: Hostile) -> str:
    """Write a record as a worker reads it; return where it lies."""
    at = instant_of(hostile.timestamp) if isinstance(hostile.timestamp, int) else hostile.timestamp
    names = tuple((str(name), value) for name, value in hostile.headers)
    new = NewRecord(hostile.topic, hostile.partition, hostile.key, hostile.value, names, at)
    return position(engine.broker.append(new).record)


# Among so many is every kind, most of them several times.
@pytest.mark.parametrize("callback", [NOT_FOLLOWED, FOLLOWED], ids=["", "followed"])
async def test_every_hostile_record_meets_its_fate(capsys: pytest.CaptureFixture[str], callback: Callback) -> None:
    engine = Engine(4, DEADLINES, NOW, callback)
    await engine.open()
    settled = Settled([(JobKey("w", "completed"), 1)], [JobKey("w", "failed")])
    for key, batch in ((settled.completed[0][0], [order()]), (settled.failed[0], [])):
        value = encoded(jobId=key.job_id, workspaceId=key.workspace_id, orders=batch)
        engine.broker.append(NewRecord(Topic.SUBMITTED, 0, None, value))
    await engine.work_off()
    places = [(hostile, written(engine, hostile)) for hostile in hostile_records(7, 2_000, 4, NOW, settled)]
    await engine.work_off()
    fates, problems = account(places, engine.history(), engine.posts)
    assert problems == []
    assert check(engine.history(), engine.posts, [PASSWORD]) == []
    # A job that waits would be needed for it.
    assert set(fates) == {*DeadLetterReason, "forwarded", "no letter"} - {DeadLetterReason.NOT_DISPATCHED}
    assert PASSWORD not in capsys.readouterr().out


@given(st.lists(records, max_size=12))
@settings(max_examples=300)
async def test_arbitrary_records_are_accounted_for_and_stop_nothing(hostile: list[NewRecord]) -> None:
    engine = Engine(PARTITIONS, DEADLINES, NOW, FOLLOWED)
    await engine.open()
    for new in hostile:
        engine.broker.append(new)
    await engine.work_off()
    assert check(engine.history(), engine.posts) == []


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=ID_MAX_LENGTH, max_size=ID_MAX_LENGTH),
    st.sampled_from([*LONG_IDS.values(), "\\", "\x7f", "\u2028"]),
    st.sampled_from([COMPLETED, FAILED]),
)
def test_the_largest_row_and_outcome_fit_in_a_batch_of_the_smallest_topic(
    name: str, character: str, ended: Job
) -> None:
    """Control characters take six bytes in JSON, and half a message can be made of them."""
    for identifier in (name, character * ID_MAX_LENGTH):
        error = None if ended is COMPLETED else character * ERROR_MAX_LENGTH
        job = replace(ended, workspace_id=identifier, job_id=identifier, error=error, claimed_by="w" * 264)
        row = NewRecord(changelog_topic(APP), 0, row_key(job.key), encode_row(job))
        for produced in (row, outcome_record(job, 0, "a" * 100)):
            assert_producible(produced, MAX_BATCH_BYTES // 8)


@given(
    st.sampled_from(SOURCE_TOPICS),
    st.none() | st.binary() | st.integers(0, 20_000).map(bytes),
    st.none() | st.binary() | st.integers(0, 20_000).map(bytes),
    st.lists(
        st.tuples(texts | st.integers(0, 9000).map("ñ".__mul__), st.none() | st.integers(0, 9000).map(bytes)),
        max_size=40,
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.just("😀" * 300),
    st.sampled_from([SMALL_TOPIC_BYTES, 30_000, 1_048_588]),
)
def test_a_dead_letter_is_taken_by_its_topic_whatever_the_record_is(
    topic: Topic,
    key: bytes | None,
    value: bytes | None,
    names: list[tuple[str, bytes | None]],
    message: str,
    most: int,
) -> None:
    source = record(value, topic=topic, key=key, headers=tuple(names), partition=2**31 - 1, offset=2**63 - 1)
    assert_producible(dead_letter(source, DeadLetterReason.SUBMISSION_EXPIRED, message, most), most)


@pytest.mark.parametrize("topic", SOURCE_TOPICS)
def test_the_largest_record_that_a_source_topic_takes_becomes_a_whole_letter(topic: Topic) -> None:
    source = filled(record(b"not JSON", topic=topic, key=b"k" * 1000), max_bytes()[topic])
    assert len(batch_of(source)) == max_bytes()[topic]
    most = max_bytes()[DLQ_OF[topic]]
    letter = dead_letter(source, DeadLetterReason.MALFORMED, "😀" * 300, most)
    assert (letter.key, letter.value) == (source.key, source.value)
    assert letter.headers[0] == source.headers[0]
    assert_producible(letter, most)
