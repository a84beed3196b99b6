"""Who is next at the robot, and when a workspace is free again."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from streams.core.admission import Admission, robot_free_at
from streams.core.job import Job, JobKey, Status, key_of
from tests.core.builders import (
    ACCEPTED,
    ACCEPTED_DEADLINE,
    CALLED,
    CLAIM_DEADLINE,
    COMPLETED,
    DEADLINES,
    ENDED_AT,
    FAILED,
    NOW,
    PENDING,
)

SECOND = timedelta(seconds=1)


def key(name: str) -> str:
    """Return the job `a1`: the first of workspace `a`."""
    return JobKey(name[0], name).text


def waiting(limit: int, names: str) -> Admission:
    admission = Admission(limit)
    for name in names.split():
        admission.wait(key(name))
    return admission


def admit(admission: Admission) -> list[str]:
    """Admit as the ledger does, until nobody may be next."""
    admitted = []
    while (first := admission.first()) is not None:
        admission.take(first)
        admission.hold(first)
        admitted.append(key_of(first).job_id)
    return admitted


@pytest.mark.parametrize(("limit", "admitted"), [(2, ["a1", "a2"]), (3, ["a1", "a2", "a3"]), (9, ["a1", "a2", "a3"])])
def test_with_a_limit_of_n_at_most_n_jobs_of_a_workspace_are_admitted(limit: int, admitted: list[str]) -> None:
    assert admit(waiting(limit, "a1 a2 a3")) == admitted


def test_a_workspace_is_served_first_in_first_out() -> None:
    admission = waiting(1, "a3 a1 a2")
    order = []
    for second in range(3):
        order += admit(admission)
        admission.release(key(order[-1]), NOW + second * SECOND)
        admission.advance(NOW + second * SECOND)
    assert order == ["a3", "a1", "a2"]


def test_workspaces_take_turns_however_many_jobs_one_of_them_has() -> None:
    assert admit(waiting(0, "a1 a2 a3 b1 b2 c1")) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_workspace_that_becomes_free_again_stands_behind_those_that_are_free_already() -> None:
    admission = waiting(1, "a1 a2 b1 c1")
    admission.take(key("a1"))
    admission.hold(key("a1"))
    admission.release(key("a1"), NOW)
    admission.advance(NOW)
    assert admit(admission) == ["b1", "c1", "a2"]


def test_only_the_first_in_line_can_be_taken() -> None:
    admission = waiting(1, "a1 a2")
    with pytest.raises(ValueError, match="a2 is not the first in line of its workspace"):
        admission.take(key("a2"))
    assert admission.first() == key("a1"), "the line is as it was"


def test_a_job_that_is_taken_without_being_held_leaves_its_place_to_the_next() -> None:
    """So it is with a submission that has expired."""
    admission = waiting(1, "a1 a2")
    admission.take(key("a1"))
    assert admission.first() == key("a2")


def test_a_place_is_freed_at_its_instant_and_not_before() -> None:
    admission = waiting(1, "a1 a2")
    admit(admission)
    admission.release(key("a1"), NOW + 5 * SECOND)
    assert admission.first() is None, "the instant has not been seen to come"
    admission.advance(NOW + 5 * SECOND - timedelta(microseconds=1))
    assert admission.first() is None
    admission.advance(NOW + 5 * SECOND)
    assert admission.first() == key("a2")


@pytest.mark.parametrize(("first", "last"), [(60, 5), (5, 60)])
def test_of_several_instants_for_one_place_the_last_one_said_counts(first: int, last: int) -> None:
    admission = waiting(1, "a1 a2")
    admit(admission)
    admission.release(key("a1"), NOW + first * SECOND)
    admission.release(key("a1"), NOW + last * SECOND)
    admission.advance(NOW + last * SECOND - timedelta(microseconds=1))
    assert admission.first() is None
    admission.advance(NOW + last * SECOND)
    assert admission.first() == key("a2")


def test_a_place_that_is_held_again_is_not_freed_by_what_was_said_before() -> None:
    admission = waiting(1, "a1 a2")
    admit(admission)
    admission.release(key("a1"), NOW)
    admission.hold(key("a1"))
    admission.advance(NOW + 60 * SECOND)
    assert admission.first() is None


def test_to_release_a_job_that_holds_no_place_changes_nothing() -> None:
    admission = waiting(1, "a1 a2")
    admit(admission)
    admission.release(key("a2"), NOW)
    admission.release(key("b1"), NOW)
    admission.release(JobKey("b", "a1").text, NOW)
    admission.advance(NOW)
    assert admission.first() is None


def test_more_held_jobs_than_places_let_nobody_in_until_enough_have_left() -> None:
    """So it is after the limit was lowered."""
    admission = waiting(1, "a4")
    for name in ("a1", "a2", "a3"):
        admission.hold(key(name))
    for second, name in enumerate(("a1", "a2", "a3")):
        assert admission.first() is None
        admission.release(key(name), NOW + second * SECOND)
        admission.advance(NOW + second * SECOND)
    assert admission.first() == key("a4")


TOLD_LATE = replace(FAILED, success_count=2, error_count=0, amended_at=NOW)


@pytest.mark.parametrize(
    ("job", "free_at"),
    [
        *((job, None) for job in (PENDING, CALLED, ACCEPTED, replace(COMPLETED, ended_at=None))),
        (COMPLETED, ENDED_AT + 5 * SECOND),
        # The robot surely never ran it.
        (replace(FAILED, robot_may_have_received=False), ENDED_AT),
        (replace(PENDING, status=Status.FAILED, ended_at=ENDED_AT), ENDED_AT),
        # It may still be at it.
        (FAILED, CLAIM_DEADLINE + 5 * SECOND),
        (replace(FAILED, amended_at=NOW), CLAIM_DEADLINE + 5 * SECOND),
        (replace(ACCEPTED, status=Status.FAILED, ended_at=ENDED_AT), ACCEPTED_DEADLINE + 5 * SECOND),
        (replace(FAILED, deadline=None), ENDED_AT + 5 * SECOND),
        (TOLD_LATE, NOW + 5 * SECOND),
    ],
)
def test_the_robot_has_let_go_of_a_batch_from_then_on(job: Job, free_at: datetime | None) -> None:
    assert robot_free_at(job, DEADLINES) == free_at


def test_a_job_that_is_withdrawn_leaves_its_turn_to_the_next_of_its_workspace() -> None:
    admission = waiting(1, "a1 a2 a3 b1 b2")
    admission.withdraw(key("a1"))
    admission.withdraw(key("a2"))
    assert admit(admission) == ["a3", "b1"]


def test_a_job_is_withdrawn_wherever_it_stands() -> None:
    admission = waiting(1, "a1 a2 a3")
    admission.withdraw(key("a2"))
    assert list(admission.line("a")) == [key("a1"), key("a3")]
    assert admission.first() == key("a1")
    for name in ("a1", "a3"):
        admission.withdraw(key(name))
    assert (admission.first(), admission.workspaces_waiting) == (None, 0)


def test_a_job_that_is_put_back_gives_its_place_to_the_line_it_leads_again() -> None:
    admission = waiting(1, "a1 a2")
    assert admit(admission) == ["a1"]
    admission.put_back(key("a1"), 0)
    assert list(admission.line("a")) == [key("a1"), key("a2")]
    assert admission.first() == key("a1")


def test_nobody_of_a_paused_workspace_is_called_whatever_places_it_has() -> None:
    admission = waiting(0, "a1 a2 b1")
    admission.pause("a", NOW + 10 * SECOND)
    assert admission.first() == key("b1")
    assert admission.rounds == {0: 1}
    admission.pause("a", NOW + 5 * SECOND)
    admission.advance(NOW + 10 * SECOND - timedelta.resolution)
    assert admit(admission) == ["b1"], "of several pauses the longest counts"
    admission.advance(NOW + 10 * SECOND)
    assert admission.first() == key("a1")


def test_a_pause_outlasts_an_empty_line() -> None:
    admission = Admission(1)
    admission.pause("a", NOW + 10 * SECOND)
    admission.wait(key("a1"))
    assert admission.first() is None
    admission.advance(NOW + 10 * SECOND)
    assert admission.first() == key("a1")


def test_the_jobs_next_in_line_are_those_that_would_be_admitted_in_that_order() -> None:
    for limit, most in ((0, 9), (1, 9), (2, 9), (2, 3), (1, 1)):
        admission = waiting(limit, "a1 a2 a3 b1 b2 c1")
        foreseen = [key_of(found).job_id for found in admission.next_in_line(most)]
        assert foreseen == admit(admission)[:most]
