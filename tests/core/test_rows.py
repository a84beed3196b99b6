"""Packed rows: that they lose nothing, and how little room they and their jobs' places take."""

import tracemalloc
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.core.events import Admitted, BatchCompleted, JobSubmitted, RobotAccepted
from streams.core.job import Job, JobKey, Source, Status, key_of, text_of, workspace_of
from streams.core.packed import FIELDS, Packer, glance, values_of
from streams.core.rows import Rows
from streams.core.table import JobTable
from tests.core.builders import (
    ACCEPTED,
    CALLED,
    COMPLETED,
    DEADLINES,
    FAILED,
    GIVEN_UP,
    KEY,
    LOST,
    NOW,
    PENDING,
    PUT_OFF,
)

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
DIGITS = "b5ae11b2a5d61ef41c0a9b91388e8833"
JOBS = (PENDING, PUT_OFF, CALLED, ACCEPTED, LOST, GIVEN_UP, COMPLETED, FAILED)
ids = st.text(min_size=1, max_size=300)


@given(ids, ids)
def test_the_text_of_a_key_says_exactly_which_pair_it_is_of(workspace_id: str, job_id: str) -> None:
    key = JobKey(workspace_id, job_id)
    assert key.text == text_of(workspace_id, job_id)
    assert (key_of(key.text), workspace_of(key.text)) == (key, workspace_id)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: str(job.status))
@pytest.mark.parametrize("fingerprint", [DIGITS, DIGITS.upper(), "", "f1", "b5-ae", "b5 ae"])
@pytest.mark.parametrize("trace", [None, TRACE, TRACE.upper(), TRACE.replace("-", ""), "00-4bf9", ""])
def test_what_is_unpacked_is_what_was_packed(job: Job, fingerprint: str, trace: str | None) -> None:
    job = replace(job, fingerprint=fingerprint, traceparent=trace)
    packer = Packer()
    assert packer.unpack(KEY.text, packer.pack(values_of(job))) == job


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("job", JOBS, ids=lambda job: str(job.status))
def test_no_field_is_lost_whatever_the_others_say(job: Job, name: str) -> None:
    given_up = replace(GIVEN_UP, **{each: getattr(COMPLETED, each) for each in ("ended_at", "success_count")})
    other = replace(given_up, put_off=PUT_OFF.put_off, traceparent=TRACE, robot_status=503, error="e", amended_at=NOW)
    other = replace(other, answered_at=NOW, called_at=NOW, resubmission_of="a", resubmitted_as="b", error_count=0)
    other = replace(other, robot_restarted_at=NOW, reason=FAILED.reason, source=Source("other", 1, 2**63 - 1))
    changed = replace(job, **{name: getattr(other, name)})
    packer = Packer()
    packer.pack(values_of(PENDING))
    assert packer.unpack(KEY.text, packer.pack(values_of(changed))) == changed


@pytest.mark.parametrize("job", JOBS, ids=lambda job: str(job.status))
def test_a_glance_shows_what_the_row_says(job: Job) -> None:
    shown = glance(Packer().pack(values_of(job)))
    for name in ("status", "submitted_at", "order_count", "ended_at", "deadline", "amended_at", "put_off"):
        assert getattr(shown, name) == getattr(job, name)
    assert shown.offset == job.source.offset


def test_a_row_that_will_be_needed_soon_is_unpacked_once_and_packed_when_it_is_put_anew() -> None:
    rows = Rows()
    rows.put(KEY.text, PENDING)
    assert rows.read(KEY.text) is not rows.read(KEY.text)
    assert rows.unpack(KEY.text) is rows.unpack(KEY.text) is rows.read(KEY.text)
    assert rows.glance(KEY.text).submitted_at == PENDING.submitted_at
    rows.put(KEY.text, ACCEPTED)
    assert rows.read(KEY.text) is ACCEPTED
    rows.put(KEY.text, COMPLETED)
    assert rows.read(KEY.text) is not rows.read(KEY.text)
    assert rows.get("nobody's") is None


# A dict is at its largest for each of its entries when it has just made room for more of them.
JUST_GROWN = 4096 * 2 // 3 + 50


@pytest.mark.parametrize("job", JOBS, ids=lambda job: str(job.status))
def test_it_is_known_of_each_job_whether_it_has_ended(job: Job) -> None:
    rows = Rows()
    assert not rows.is_open(KEY.text)
    rows.put(KEY.text, job)
    assert rows.is_open(KEY.text) == (job.status in (Status.PENDING, Status.PROCESSING))
    rows.pop(KEY.text)
    assert not rows.is_open(KEY.text)


def new_id() -> str:
    return str(uuid.uuid4())


def bytes_a_job(jobs: int, make: Callable[[JobTable], None]) -> float:
    """Return what the table keeps of each of so many jobs, in bytes."""
    table = JobTable(DEADLINES, 1, lambda last: 0 if last is None else last + 1)
    # What is made once for all of them.
    make(table)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(jobs):
            make(table)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / jobs


@pytest.mark.parametrize("traceparent", [None, TRACE])
def test_a_job_that_waits_takes_600_bytes_at_most(traceparent: str | None) -> None:
    """Each of a workspace of its own, with ids as they are made."""
    submitted = JobSubmitted(KEY, NOW, PENDING.source, 2, DIGITS, traceparent=traceparent)

    def submit(table: JobTable) -> None:
        table.apply(replace(submitted, key=JobKey(new_id(), new_id())), NOW)

    assert bytes_a_job(JUST_GROWN, submit) < 600


@pytest.mark.parametrize("traceparent", [None, TRACE])
def test_a_job_that_has_ended_takes_400_bytes_at_most(traceparent: str | None) -> None:
    now = NOW

    def live(table: JobTable) -> None:
        nonlocal now
        now += timedelta(seconds=10)
        key = JobKey(new_id(), new_id())
        table.apply(JobSubmitted(key, now, PENDING.source, 2, DIGITS, traceparent=traceparent), now)
        # As the worker's timer does it.
        assert table.ready(now)
        assert (table.due(now, 10), table.oldest_waiting) == ([], now)
        table.apply(Admitted(key, "worker-1:4711"), now)
        table.apply(RobotAccepted(key, now, now), now)
        change = table.apply(BatchCompleted(key, 2, 0), now)
        assert change.after is not None
        assert change.after.status is Status.COMPLETED

    assert bytes_a_job(JUST_GROWN, live) < 400
