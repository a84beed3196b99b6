"""A trace that is passed on as it came: from a submission to its row, its call and what others are told."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.events import DeadlinePassed
from streams.names import OUTCOME_TOPICS, Header, Topic
from streams.wire.records import Headers
from streams.wire.trace_context import traceparent_of
from tests.support.builders import TRACE_OF_PRODUCER, TRACE_OF_REPORT
from tests.unit.builders import completion, encoded
from tests.unit.partition import FAR, Partition, key_of, opened

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
IN_TRACE: Headers = (("traceparent", TRACE_OF_PRODUCER.encode()),)


def told(partition: Partition) -> list[tuple[str, str | None]]:
    """Return the topics of all outcomes and amendments by now, each with the trace that it is part of."""
    records = [record for topic in (*OUTCOME_TOPICS, Topic.AMENDED) for record in partition.broker.topic(topic)]
    values = (dict(record.headers).get(Header.CE_TRACEPARENT) for record in records)
    traces = (None if value is None else value.decode() for value in values)
    return [(record.topic, trace) for record, trace in zip(records, traces, strict=True)]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        f"00-{'0' * 32}-{PARENT}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE}-{PARENT}-1".encode(),
        f"00-{TRACE}-{PARENT}-01-more".encode(),
        f"00-{TRACE}-{PARENT}-01\n".encode(),
        f" 00-{TRACE}-{PARENT}-01".encode(),
        f"01-{TRACE}-{PARENT}-01".encode(),
        f"ff-{TRACE}-{PARENT}-01".encode(),
        f"00-{TRACE.upper()}-{PARENT}-01".encode(),
        f"00-{TRACE}-{PARENT}".encode(),
    ],
)
async def test_a_malformed_trace_is_none_and_its_submission_as_good_as_any(value: bytes | None) -> None:
    assert traceparent_of([("traceparent", value)]) is None
    partition = await opened()
    partition.write(Topic.SUBMITTED, encoded(), headers=(("traceparent", value),))
    await partition.work()
    assert partition.called == ["job-1"]
    assert partition.claims[0].job.traceparent is None
    partition.complete("job-1")
    await partition.work()
    assert told(partition) == [(Topic.COMPLETED, None)]


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "other"]), st.none() | st.binary(max_size=60))))
def test_whatever_headers_there_are_what_is_passed_on_is_a_trace(headers: list[tuple[str, bytes | None]]) -> None:
    assert re.fullmatch(r"00(-[0-9a-f]+){3}", traceparent_of(headers) or TRACE_OF_PRODUCER)
    assert traceparent_of([*headers, *IN_TRACE]) == TRACE_OF_PRODUCER


async def test_the_trace_of_a_job_outlives_its_owners_and_is_in_all_that_others_are_told_of_it() -> None:
    partition = await opened()
    partition.write(Topic.SUBMITTED, encoded(), headers=IN_TRACE)
    await partition.work()
    assert partition.claims[0].job.traceparent == TRACE_OF_PRODUCER
    partition.accept("job-1")
    await partition.work()
    await partition.move()
    # A completion has a trace of its own, which is not the job's.
    partition.ledger.tell(DeadlinePassed(key_of("job-1")))
    await partition.work(FAR)
    await partition.move()
    partition.write(Topic.BATCH_COMPLETED, completion(), headers=(("traceparent", TRACE_OF_REPORT.encode()),))
    await partition.work()
    assert told(partition) == [(Topic.FAILED, TRACE_OF_PRODUCER), (Topic.AMENDED, TRACE_OF_PRODUCER)]


async def test_a_submission_that_is_invalid_fails_in_its_trace() -> None:
    partition = await opened()
    partition.write(Topic.SUBMITTED, encoded(orders=[]), headers=IN_TRACE)
    partition.write(Topic.SUBMITTED, encoded(jobId="job-2"), headers=IN_TRACE)
    partition.write(Topic.SUBMITTED, encoded(jobId="job-3", resubmissionOf="job-2"), headers=IN_TRACE)
    await partition.work()
    # The one breaks the contract, the other tries a job again that has not ended.
    assert [record.key for record in partition.broker.topic(Topic.FAILED)] == [b"job-1", b"job-3"]
    assert told(partition) == [(Topic.FAILED, TRACE_OF_PRODUCER)] * 2
