"""What the job table makes of a robot that is busy: how long a workspace waits, and who is next."""

from dataclasses import replace
from datetime import timedelta

import pytest

from streams.core.events import (
    Admitted,
    BatchCompleted,
    BatchLost,
    CallFailed,
    DeadlinePassed,
    JobSubmitted,
    RobotAccepted,
)
from streams.core.job import FailureReason, JobKey, Source, Status
from streams.core.packed import values_of
from streams.core.table import JobTable
from tests.core.builders import DEADLINES, NOW

SECOND = timedelta(seconds=1)
PATIENT = replace(DEADLINES, patience=900 * SECOND)


class Table:
    """A table with jobs of workspace `a`, and the clock."""

    def __init__(self, jobs: int, *, patient: bool = False, limit: int = 1, pause: timedelta = 5 * SECOND) -> None:
        self.now = NOW
        self._deadlines = replace(PATIENT if patient else DEADLINES, workspace_pause=pause)
        self._limit = limit
        self.table = self._new()
        for number in range(1, jobs + 1):
            source = Source("robot.job.submitted", 0, number)
            self.table.apply(JobSubmitted(JobKey("a", f"job-{number}"), NOW, source, 1, "f"), NOW)

    def _new(self) -> JobTable:
        return JobTable(self._deadlines, self._limit, lambda last: 0 if last is None else last)

    def call(self) -> JobKey:
        """Claim whose turn it is."""
        assert self.table.ready(self.now)
        job = self.table.next()
        assert job is not None
        self.table.apply(Admitted(job.key, "worker-1"), self.now)
        return job.key

    def refuse(self, key: JobKey, wait: timedelta = timedelta(0)) -> None:
        """Let the robot answer that it is busy."""
        busy = CallFailed(key, FailureReason.ROBOT_REJECTED, "busy", False, 409, may_be_repeated=True, wait=wait)
        self.table.apply(busy, self.now)

    def waits(self) -> float:
        """Return the seconds until somebody may be called, and let them pass."""
        started = self.now
        while not self.table.ready(self.now):
            self.now += SECOND
            assert self.now < started + timedelta(hours=1), "nobody is ever called"
        return (self.now - started).total_seconds()

    def restart(self) -> None:
        """Load the rows as the next owner does."""
        rows, self.table = list(self.table.rows()), self._new()
        for row in rows:
            self.table.load(row.key.text, values_of(row))
        for _ in self.table.index(self.now):
            pass


@pytest.mark.parametrize("patient", [True, False])
def test_a_workspace_waits_twice_as_long_after_each_refusal_in_a_row(patient: bool) -> None:
    table, waits = Table(7, patient=patient), []
    for _ in range(6):
        table.refuse(table.call())
        waits.append(table.waits())
    assert waits == [5, 10, 20, 40, 60, 60]
    called = table.call()
    assert called == JobKey("a", "job-1" if patient else "job-7")


def test_an_acceptance_ends_the_row_of_refusals() -> None:
    table = Table(4)
    table.refuse(table.call())
    table.waits()
    key = table.call()
    table.table.apply(RobotAccepted(key, table.now), table.now)
    table.now += timedelta(hours=1)
    table.table.apply(DeadlinePassed(key), table.now)
    table.waits()
    table.refuse(table.call())
    assert table.waits() == 5


def test_a_job_of_long_ago_that_is_forgotten_ends_no_row_of_refusals() -> None:
    table = Table(1, patient=True)
    first = table.call()
    table.table.apply(RobotAccepted(first, table.now), table.now)
    table.table.apply(BatchCompleted(first, 1, 0), table.now)
    table.now += DEADLINES.retention
    second = JobSubmitted(JobKey("a", "job-2"), table.now, Source("robot.job.submitted", 0, 2), 1, "f")
    table.table.apply(second, table.now)
    table.refuse(table.call())
    table.waits()
    assert table.table.forget(table.now, 10) == [first]
    table.refuse(table.call())
    assert table.waits() == 10


def test_the_robot_may_ask_for_a_longer_wait_than_the_workspace_would_have() -> None:
    table = Table(2)
    table.refuse(table.call(), 30 * SECOND)
    assert table.waits() == 30


@pytest.mark.parametrize("patient", [True, False])
def test_the_next_owner_waits_too(patient: bool) -> None:
    table = Table(2, patient=patient)
    table.refuse(table.call())
    table.now += 2 * SECOND
    table.restart()
    assert table.waits() == 3


@pytest.mark.parametrize("pause", [0, 5])
def test_a_job_pays_nothing_of_its_patience_for_a_batch_before_it_that_the_robot_may_still_be_at(pause: int) -> None:
    """A call that broke frees its workspace soon, and the robot refuses the next one for as long as it works."""
    table = Table(2, patient=True, pause=pause * SECOND)
    first = table.call()
    broken = CallFailed(first, FailureReason.DISPATCH_UNKNOWN, "broken", robot_may_have_received=True)
    change = table.table.apply(broken, table.now)
    assert change.after is not None
    deadline = change.after.deadline
    assert deadline is not None
    assert table.waits() == pause
    for restarted in (False, True):
        if restarted:
            table.restart()
        second = table.call()
        table.refuse(second)
        row = table.table.get(second)
        assert row is not None
        assert (row.status, row.deadline) == (Status.PENDING, None)
        table.waits()
    table.now = deadline + pause * SECOND
    table.refuse(table.call())
    row = table.table.get(second)
    assert row is not None
    assert row.deadline == table.now + 900 * SECOND


def test_jobs_that_are_put_off_stand_in_line_as_they_did_whatever_order_their_answers_came_in() -> None:
    table = Table(4, patient=True, limit=3)
    first, second, third = table.call(), table.call(), table.call()
    for key in (third, first, second):
        table.refuse(key)
    table.waits()
    assert [table.call() for _ in range(3)] == [first, second, third]


def test_a_job_whose_patience_is_over_leaves_its_line_wherever_it_stands() -> None:
    table = Table(3, patient=True, limit=2)
    table.refuse(table.call())
    first = JobKey("a", "job-1")
    table.waits()
    table.refuse(table.call())
    deadline = table.table.get(first).deadline  # type: ignore[union-attr] # it is there
    assert deadline == NOW + 900 * SECOND
    table.now = deadline
    assert table.table.due(table.now, 10) == [first]
    change = table.table.apply(DeadlinePassed(first), table.now)
    assert change.after is not None
    assert change.after.status is Status.FAILED
    assert table.call() == JobKey("a", "job-2")


@pytest.mark.parametrize("restarted", [True, False])
def test_what_the_robot_has_accepted_is_known_until_it_ends_or_is_lost(restarted: bool) -> None:
    table = Table(4, limit=0)
    keys = [table.call() for _ in range(4)]
    assert not table.table.has_batches_at_robot
    accepted_at = {}
    for key in keys[:3]:
        table.now += SECOND
        accepted_at[key] = table.now
        table.table.apply(RobotAccepted(key, table.now), table.now)
    if restarted:
        table.restart()
    assert table.table.accepted_before(accepted_at[keys[1]]) == keys[:1]
    assert table.table.accepted_before(table.now + SECOND) == keys[:3]
    table.table.apply(BatchLost(keys[0], table.now), table.now)
    table.table.apply(BatchCompleted(keys[1], 1, 0), table.now)
    if restarted:
        table.restart()
    assert table.table.accepted_before(table.now + SECOND) == keys[2:3]
    assert table.table.has_batches_at_robot
    table.now += timedelta(hours=1)
    table.table.apply(DeadlinePassed(keys[2]), table.now)
    assert not table.table.has_batches_at_robot
    assert table.table.accepted_before(table.now) == []


def test_a_job_whose_batch_was_lost_is_due_once_and_holds_its_workspace_until_then() -> None:
    table = Table(2)
    key = table.call()
    table.table.apply(RobotAccepted(key, table.now), table.now)
    table.table.apply(BatchLost(key, table.now + SECOND), table.now + SECOND)
    deadline = table.table.get(key).deadline  # type: ignore[union-attr] # it is there
    assert deadline is not None
    table.now = deadline
    assert not table.table.ready(table.now)
    assert table.table.due(table.now, 10) == [key]
    table.table.apply(DeadlinePassed(key), table.now)
    assert table.waits() == 5


def test_nothing_stays_of_a_workspace_that_never_comes_again() -> None:
    table = Table(1)
    table.refuse(table.call())
    table.now += DEADLINES.retention + SECOND
    assert table.table.forget(table.now, 10) == [JobKey("a", "job-1")]
    assert not table.table._refusals
