"""How long things may take, to the microsecond."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.deadlines import CLAIM_WINDOW, TIMESTAMP_TOLERANCE
from tests.core.builders import DEADLINES, NOW

TICK = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(("orders", "seconds"), [(0, 300), (1, 330), (50, 1800), (10_000, 300_300)])
def test_the_robot_may_work_thirty_seconds_an_order_and_five_minutes(orders: int, seconds: int) -> None:
    assert DEADLINES.work(orders) == timedelta(seconds=seconds)


def test_a_claims_deadline_leaves_time_for_its_window_the_call_and_the_work() -> None:
    assert DEADLINES.after_claim(NOW, 3) == NOW + timedelta(seconds=30 + 60 + 3 * 30 + 300)


def test_an_accepted_jobs_deadline_counts_from_the_acceptance_only() -> None:
    assert DEADLINES.after_acceptance(NOW, 3) == NOW + timedelta(seconds=3 * 30 + 300)


@given(st.integers(0, 10_000), st.timedeltas(timedelta(0), CLAIM_WINDOW + timedelta(seconds=60)))
def test_an_acceptance_in_time_never_leaves_the_robot_less_than_the_claim_did(orders: int, took: timedelta) -> None:
    assert DEADLINES.after_acceptance(NOW + took, orders) <= DEADLINES.after_claim(NOW, orders)


def test_settings_change_the_arithmetic() -> None:
    other = replace(DEADLINES, per_order=timedelta(seconds=1), base=timedelta(0), call_timeout=timedelta(seconds=2))
    assert other.work(7) == timedelta(seconds=7)
    assert other.after_claim(NOW, 7) == NOW + timedelta(seconds=39)


def test_a_claim_may_be_called_for_thirty_seconds_and_not_a_moment_longer() -> None:
    assert DEADLINES.may_still_be_called(NOW, NOW)
    assert DEADLINES.may_still_be_called(NOW, NOW + timedelta(seconds=30))
    assert not DEADLINES.may_still_be_called(NOW, NOW + timedelta(seconds=30) + TICK)


def test_a_submission_is_too_old_to_call_once_half_of_the_retention_has_passed() -> None:
    half = timedelta(days=3.5)
    assert not DEADLINES.too_old_to_call(NOW - half, NOW)
    assert DEADLINES.too_old_to_call(NOW - half - TICK, NOW)


def test_an_absent_row_proves_nothing_from_an_hour_before_the_end_of_the_retention() -> None:
    known = timedelta(days=7) - HOUR
    assert not DEADLINES.row_may_be_gone(NOW - known, NOW)
    assert DEADLINES.row_may_be_gone(NOW - known - TICK, NOW)


@pytest.mark.parametrize(
    ("retention", "known"),
    [
        (timedelta(seconds=10), timedelta(seconds=5)),
        (timedelta(minutes=30), timedelta(minutes=15)),
        (HOUR, HOUR / 2),
        (2 * HOUR, HOUR),
        (3 * HOUR, 2 * HOUR),
    ],
)
def test_with_a_small_retention_an_absent_row_proves_something_for_at_least_half_of_it(
    retention: timedelta, known: timedelta
) -> None:
    small = replace(DEADLINES, retention=retention)
    assert not small.row_may_be_gone(NOW - known, NOW)
    assert small.row_may_be_gone(NOW - known - TICK, NOW)


@given(st.timedeltas(timedelta(seconds=1), timedelta(days=400)), st.timedeltas(-HOUR, timedelta(days=800)))
def test_a_submission_whose_row_may_be_gone_is_too_old_to_be_called(retention: timedelta, age: timedelta) -> None:
    small = replace(DEADLINES, retention=retention)
    assert small.too_old_to_call(NOW - age, NOW) or not small.row_may_be_gone(NOW - age, NOW)


@given(st.timedeltas(2 * HOUR, timedelta(days=400)), st.timedeltas(timedelta(0), timedelta(days=800)), st.booleans())
def test_a_job_that_was_forgotten_is_never_called_again_even_if_its_producers_clock_was_an_hour_ahead(
    retention: timedelta, extra: timedelta, ahead: bool
) -> None:
    """The row of a job goes one retention after its end, and a job ends after it was read."""
    long = replace(DEADLINES, retention=retention)
    submitted_at = NOW + HOUR if ahead else NOW
    assert not long.from_the_future(submitted_at, NOW)
    forgotten_at = NOW + retention + TICK + extra
    assert long.row_may_be_gone(submitted_at, forgotten_at)
    assert long.too_old_to_call(submitted_at, forgotten_at)


def test_a_timestamp_may_be_an_hour_ahead_and_not_a_moment_more() -> None:
    assert TIMESTAMP_TOLERANCE == HOUR
    assert not DEADLINES.from_the_future(NOW - HOUR, NOW)
    assert not DEADLINES.from_the_future(NOW + HOUR, NOW)
    assert DEADLINES.from_the_future(NOW + HOUR + TICK, NOW)
