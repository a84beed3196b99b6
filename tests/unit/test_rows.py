"""The row of the job table as it lies in the changelog."""

import json
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.core.job import FailureReason, Job, JobKey, OrderResult, OrderStatus, PutOff, Source, Status
from streams.core.packed import Packer, values_of
from streams.names import CHANGELOG_OPENED_KEY, CHANGELOG_TABLE_KEY
from streams.wire.rows import (
    ROW_VERSION,
    LoadedRow,
    UnreadableRowError,
    decision_key,
    decode_row,
    encode_row,
    is_job,
    is_no_job,
    keys_of,
    load_entry,
    row_key,
    utc_text,
)
from tests.core.builders import ACCEPTED, COMPLETED, FAILED, KEY, NOW, PENDING, PUT_OFF, STOP

texts = st.text(st.characters(exclude_categories=["Cs"]))
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 # aware by `timezones`
numbers = st.integers(0, 2**31 - 1)
jobs = st.builds(
    Job,
    workspace_id=ids,
    job_id=ids,
    status=st.sampled_from(Status),
    submitted_at=instants,
    source=st.builds(Source, topic=texts, partition=numbers, offset=st.integers(0, 2**63 - 1)),
    fingerprint=texts,
    order_count=st.none() | numbers,
    claimed_at=st.none() | instants,
    claimed_by=st.none() | texts,
    accepted_at=st.none() | instants,
    deadline=st.none() | instants,
    ended_at=st.none() | instants,
    success_count=st.none() | numbers,
    error_count=st.none() | numbers,
    reason=st.none() | st.sampled_from(FailureReason),
    error=st.none() | texts,
    robot_status=st.none() | st.integers(100, 599),
    robot_may_have_received=st.booleans(),
    put_off=st.none()
    | st.builds(
        PutOff,
        times=st.integers(1, 2**31),
        since=instants,
        until=instants,
        reason=st.sampled_from(FailureReason),
        error=texts,
        robot_status=st.none() | st.integers(100, 599),
        gives_up_at=st.none() | instants,
    ),
    orders=st.lists(
        st.builds(OrderResult, ids, st.sampled_from(OrderStatus), *[st.none() | texts] * 3), max_size=3
    ).map(tuple),
    amended_at=st.none() | instants,
    resubmission_of=st.none() | ids,
    resubmitted_as=st.none() | ids,
    robot_restarted_at=st.none() | instants,
    traceparent=st.none() | texts,
)


@given(jobs)
def test_a_job_comes_back_from_its_row_as_it_was(job: Job) -> None:
    again = decode_row(encode_row(job))
    assert again == job
    assert (type(again.source), type(again.status)) == (Source, Status)


@given(jobs)
def test_a_row_is_the_same_bytes_however_often_it_is_written(job: Job) -> None:
    assert encode_row(decode_row(encode_row(job))) == encode_row(job)


def test_every_field_of_a_job_is_in_its_row_and_nothing_else_but_the_version() -> None:
    times = ("accepted_at", "amended_at", "robot_restarted_at", "called_at", "answered_at")
    more: dict[str, Any] = dict.fromkeys(times, NOW)
    more |= {"success_count": 0, "error_count": 0, "put_off": PUT_OFF.put_off, "stop": STOP}
    more |= {"resubmission_of": "job-0", "resubmitted_as": "job-2", "traceparent": "a trace"}
    everything = replace(FAILED, **more)
    snake = {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in name) for name in json.loads(encode_row(everything))
    }
    assert snake == set(Job.__struct_fields__) | {"version"}


@pytest.mark.parametrize("job", [PENDING, ACCEPTED, COMPLETED, FAILED])
def test_no_field_of_a_row_could_hold_a_credential_or_what_is_typed_in(job: Job) -> None:
    row = json.loads(encode_row(job))
    assert not {name for name in row if any(word in name.lower() for word in ("credential", "password", "pedido"))}
    assert row.get("orders", []) == [[order.item_id] for order in job.orders]


@pytest.mark.parametrize(("job", "version"), [(PENDING, 1), (ACCEPTED, 2), (COMPLETED, 1), (FAILED, 1)])
def test_a_row_has_the_version_of_the_first_release_that_decides_rightly_by_it(job: Job, version: int) -> None:
    """An older one would forget what was reported of a job at the robot; of one that has ended it writes no row."""
    assert json.loads(encode_row(job))["version"] == version
    assert json.loads(encode_row(replace(job, orders=())))["version"] == 1
    # And none knows the reasons of a job that somebody has stopped, or that it is given up.
    assert json.loads(encode_row(replace(job, stop=STOP)))["version"] == 3
    assert version <= ROW_VERSION


@given(jobs)
def test_what_is_loaded_of_a_row_is_the_job_packed_or_not(job: Job) -> None:
    loaded = load_entry(row_key(job.key), encode_row(job))
    assert loaded == LoadedRow(job.key.text, values_of(job))
    packer = Packer()
    assert packer.unpack(job.key.text, packer.pack(values_of(job))) == job


def refused(value: bytes, match: str = "a job row ") -> None:
    """See both ways refuse a row: to look at it, and to load it."""
    for read in (decode_row, partial(load_entry, row_key(KEY))):
        with pytest.raises(UnreadableRowError, match=match):
            read(value)


@given(st.integers(ROW_VERSION + 1, 2**63 - 1) | st.integers(-(2**63), 0))
def test_a_row_of_a_version_that_this_release_does_not_know_is_refused_with_both_versions(version: int) -> None:
    row = json.loads(encode_row(PENDING)) | {"version": version}
    refused(json.dumps(row).encode(), f"version {version}, this release reads 1 to {ROW_VERSION}: run ")


def test_a_row_of_a_newer_release_is_refused_before_its_unknown_form_is_read() -> None:
    row = json.dumps({"version": ROW_VERSION + 1, "status": "paused"})
    refused(row.encode(), f"version {ROW_VERSION + 1}, this release reads 1 to {ROW_VERSION}: run ")


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b"{}", b'{"version": 1}', b'{"version": "1"}', b"\xff"])
def test_bytes_that_are_no_row_are_refused(value: bytes) -> None:
    refused(value)


def test_a_row_with_a_time_without_zone_is_refused() -> None:
    row = json.loads(encode_row(PENDING)) | {"submittedAt": "2026-01-31T12:00:00"}
    refused(json.dumps(row).encode(), "with a timezone")


@pytest.mark.parametrize(("field", "value"), [("orderCount", 2**63), ("source", ["robot.job.submitted", 0, -(2**64)])])
def test_a_number_that_kafka_could_not_have_given_is_refused(field: str, value: object) -> None:
    refused(json.dumps(json.loads(encode_row(PENDING)) | {field: value}).encode(), "cannot be read")


def test_an_unknown_field_of_a_row_is_passed_over() -> None:
    row = json.loads(encode_row(PENDING)) | {"colour": "red"}
    assert decode_row(json.dumps(row).encode()) == PENDING


def test_ids_with_slashes_make_keys_of_their_own() -> None:
    assert row_key(JobKey("a/b", "c")) != row_key(JobKey("a", "b/c"))


@given(ids, ids)
def test_a_key_says_exactly_which_pair_it_is_of(workspace_id: str, job_id: str) -> None:
    assert json.loads(row_key(JobKey(workspace_id, job_id))) == [workspace_id, job_id]


@given(st.text('ab",[]\\/', min_size=1), st.text('ab",[]\\/', min_size=1), st.integers(1, 5))
def test_moving_characters_from_one_id_to_the_other_makes_another_key(first: str, second: str, shift: int) -> None:
    joined = first + second
    cut = (len(first) + shift) % len(joined)
    other = JobKey(joined[:cut], joined[cut:])
    assert (row_key(other) == row_key(JobKey(first, second))) == (other == (first, second))


# What could be taken for the border between two ids.
hostile_ids = st.text(st.sampled_from('",[]\\aé\u2028'), min_size=1, max_size=6)


@given(hostile_ids, hostile_ids, hostile_ids, hostile_ids)
def test_a_key_is_told_without_being_decoded(workspace_id: str, job_id: str, other_workspace: str, other: str) -> None:
    key = row_key(JobKey(workspace_id, job_id))
    assert not is_no_job(key)
    assert keys_of(other_workspace)(key) == (other_workspace == workspace_id)
    assert is_job(other)(key) == (other == job_id)
    for no_job in (decision_key(job_id), CHANGELOG_OPENED_KEY, CHANGELOG_TABLE_KEY):
        assert is_no_job(no_job)
        assert keys_of(workspace_id)(no_job)
        assert not is_job(other)(no_job)


@given(instants)
def test_an_instant_is_shown_in_utc_with_milliseconds(instant: datetime) -> None:
    text = utc_text(instant)
    assert text is not None
    assert len(text) == len("2026-01-31T12:00:00.000Z")
    assert text.endswith("Z")
    assert timedelta(0) <= instant - datetime.fromisoformat(text) < timedelta(milliseconds=1)


def test_an_instant_of_another_zone_is_shown_in_utc_and_none_stays_none() -> None:
    bogota = timezone(timedelta(hours=-5))
    assert utc_text(datetime(2026, 1, 31, 7, 0, 0, 1999, tzinfo=bogota)) == "2026-01-31T12:00:00.001Z"
    assert utc_text(None) is None
