"""What the job table makes of what people ask for."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from streams.core.controls import Action, Control, Decision
from streams.core.deadlines import Deadlines
from streams.core.effects import IgnoreReason, PublishOutcome
from streams.core.events import Admitted, BatchCompleted, CallFailed, DeadlinePassed, JobSubmitted, RobotAccepted
from streams.core.job import FailureReason, JobKey, Source, Status
from streams.core.packed import values_of
from streams.core.table import HELD_LOOK, JobTable, Ruling
from tests.core.builders import DEADLINES, NOW

SECOND = timedelta(seconds=1)


def asked(action: Action, workspace_id: str | None = "a", job_id: str | None = None, number: int = 1) -> Control:
    return Control(
        control_id=f"{action.value}-{number}",
        action=action,
        workspace_id=workspace_id,
        job_id=job_id,
        actor="alice",
        reason="the portal is down",
        requested_at=NOW,
    )


class Table:
    """A table with two jobs in each of the workspaces `a` and `b`, and what is written of its decisions."""

    def __init__(self, deadlines: Deadlines = DEADLINES) -> None:
        self.written: dict[str, Decision] = {}
        self._deadlines = deadlines
        self.table = self._new()
        for number, (workspace_id, job_id) in enumerate((("a", "1"), ("b", "1"), ("a", "2"), ("b", "2"))):
            submitted = JobSubmitted(
                JobKey(workspace_id, job_id), NOW, Source("robot.job.submitted", 0, number), 1, "f"
            )
            self.table.apply(submitted, NOW)

    def _new(self) -> JobTable:
        return JobTable(self._deadlines, 1, lambda last: 0 if last is None else last + 1)

    def decide(self, control: Control, now: datetime = NOW) -> Ruling:
        ruling = self.table.decide(control, now)
        self.written |= {decision.control.control_id: decision for decision in ruling.written}
        return ruling

    def servable(self, now: datetime = NOW) -> list[JobKey]:
        """Return who could be called now, asked in each of the ways that there are."""
        ready = self.table.ready(now)
        keys = [job.key for job in self.table.next_in_line(10)]
        first = self.table.next()
        assert ready == bool(keys) == bool(self.table.rounds)
        assert (None if first is None else first.key) == (keys[0] if keys else None)
        return keys

    def restart(self, now: datetime = NOW) -> None:
        """Load what is written, as the next owner does."""
        rows, self.table = list(self.table.rows()), self._new()
        for row in rows:
            self.table.load(row.key.text, values_of(row))
        for control_id, decision in self.written.items():
            self.table.load_decision(control_id, decision)
        for _ in self.table.index(now):
            pass


A1, B1 = JobKey("a", "1"), JobKey("b", "1")


@pytest.mark.parametrize("restarted", [False, True])
def test_nobody_of_a_workspace_that_is_held_is_called_until_it_is_released(restarted: bool) -> None:
    table = Table()
    assert table.decide(asked(Action.HOLD)).decision.in_force
    if restarted:
        table.restart()
    assert table.servable() == [B1]
    assert list(table.table.holds) == ["a"]
    assert table.decide(asked(Action.RELEASE)).decision.refused is None
    if restarted:
        table.restart()
    assert sorted(table.servable()) == [A1, B1]
    assert not table.table.holds


@pytest.mark.parametrize("restarted", [False, True])
def test_a_hold_of_everything_is_one_of_its_own_beside_those_of_workspaces(restarted: bool) -> None:
    table = Table()
    table.decide(asked(Action.HOLD, None))
    table.decide(asked(Action.HOLD, "a", number=2))
    if restarted:
        table.restart()
    assert table.servable() == []
    table.decide(asked(Action.RELEASE, None))
    assert table.servable() == [B1]
    table.decide(asked(Action.RELEASE, "a", number=2))
    assert sorted(table.servable()) == [A1, B1]


def test_what_comes_while_a_workspace_is_held_waits_and_what_is_at_the_robot_goes_on() -> None:
    table = Table()
    table.table.apply(Admitted(A1, "worker-1"), NOW)
    table.decide(asked(Action.HOLD))
    table.table.apply(JobSubmitted(JobKey("a", "3"), NOW, Source("robot.job.submitted", 0, 9), 1, "f"), NOW)
    table.table.apply(RobotAccepted(A1, NOW), NOW)
    assert table.table.apply(BatchCompleted(A1, 1, 0), NOW).effects == (PublishOutcome(),)
    assert table.servable(NOW + timedelta(hours=1)) == [B1]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_control_is_applied_once_however_often_and_late_it_is_read(restarted: bool) -> None:
    table = Table()
    hold, release = asked(Action.HOLD), asked(Action.RELEASE)
    first = table.decide(hold)
    table.decide(release)
    if restarted:
        table.restart()
    again = table.decide(hold, NOW + SECOND)
    assert (again.repeated, again.written) == (True, ())
    assert again.decision == replace(first.decision, in_force=False)
    assert sorted(table.servable()) == [A1, B1]


def test_a_refusal_stands_when_its_control_is_read_again() -> None:
    table = Table()
    table.table.apply(Admitted(A1, "worker-1"), NOW)
    cancel = asked(Action.CANCEL, "a", "1")
    assert table.decide(cancel).decision.refused is IgnoreReason.AT_ROBOT
    busy = CallFailed(A1, FailureReason.ROBOT_UNREACHABLE, "away", False, may_be_repeated=True, spared=True)
    table.table.apply(busy, NOW)
    # It could be cancelled now, and its sender was told that it is not.
    again = table.decide(cancel)
    assert (again.repeated, again.decision.refused) == (True, IgnoreReason.AT_ROBOT)


def test_a_second_hold_and_a_release_of_what_is_not_held_are_refused() -> None:
    table = Table()
    assert table.decide(asked(Action.RELEASE)).decision.refused is IgnoreReason.NOT_HELD
    table.decide(asked(Action.HOLD))
    second = table.decide(asked(Action.HOLD, number=2)).decision
    assert (second.refused, second.in_force) == (IgnoreReason.ALREADY_HELD, False)
    assert table.servable() == [B1]
    table.decide(asked(Action.RELEASE, number=2))
    assert sorted(table.servable()) == [A1, B1]


@pytest.mark.parametrize(("job_id", "next_one"), [("1", "2"), ("2", "1")])
def test_a_job_that_is_cancelled_leaves_its_place_in_line_to_the_others(job_id: str, next_one: str) -> None:
    table = Table()
    ruling = table.decide(asked(Action.CANCEL, "a", job_id))
    assert (ruling.decision.refused, len(ruling.written)) == (None, 1)
    assert ruling.change is not None
    row = ruling.change.row
    assert row is not None
    assert (row.status, row.reason, row.robot_may_have_received) == (Status.FAILED, FailureReason.CANCELLED, False)
    assert JobKey("a", next_one) in table.servable()
    assert JobKey("a", job_id) not in table.servable()


def test_a_job_that_is_given_up_is_due_at_once_and_keeps_its_place_at_the_robot_until_its_deadline() -> None:
    table = Table()
    table.table.apply(Admitted(A1, "worker-1"), NOW)
    table.table.apply(RobotAccepted(A1, NOW), NOW)
    assert table.table.due(NOW, 10) == []
    ruling = table.decide(asked(Action.GIVE_UP, "a", "1"), NOW + SECOND)
    assert ruling.decision.refused is None
    assert table.table.due(NOW, 10) == []
    table.restart()
    assert table.table.due(NOW + SECOND, 10) == [A1]
    assert table.servable() == [B1]


@pytest.mark.parametrize("held", ["a", None])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_job_that_was_put_off_for_too_long_is_not_given_up_while_somebody_holds_it(
    held: str | None, *, restarted: bool
) -> None:
    table = Table(replace(DEADLINES, patience=60 * SECOND))
    table.table.apply(Admitted(A1, "worker-1"), NOW)
    busy = CallFailed(A1, FailureReason.ROBOT_REJECTED, "busy", False, 409, may_be_repeated=True)
    table.table.apply(busy, NOW)
    table.decide(asked(Action.HOLD))
    assert table.table.due(NOW + 3600 * SECOND, 10) == []
    released_at = NOW + 3600 * SECOND + HELD_LOOK - SECOND
    table.decide(asked(Action.RELEASE), released_at)
    # It has the time for another call, whenever it was looked at while it was held, and whoever owns it by now.
    assert A1 in table.servable(released_at)
    if restarted:
        table.restart()
    assert table.table.due(released_at + HELD_LOOK - SECOND, 10) == []
    assert table.table.due(released_at + HELD_LOOK, 10) == [A1]


def test_a_job_that_was_put_off_is_spared_also_by_a_hold_that_comes_while_its_deadline_is_looked_at() -> None:
    table = Table(replace(DEADLINES, patience=60 * SECOND))
    table.table.apply(Admitted(A1, "worker-1"), NOW)
    table.table.apply(CallFailed(A1, FailureReason.ROBOT_REJECTED, "busy", False, 409, may_be_repeated=True), NOW)
    later = NOW + 61 * SECOND
    assert table.table.due(later, 10) == [A1]
    table.decide(asked(Action.HOLD), later)
    change = table.table.apply(DeadlinePassed(A1), later)
    assert (change.row, change.ignored) == (None, IgnoreReason.DEADLINE_MOVED)
    table.decide(asked(Action.RELEASE), later + SECOND)
    # It is not forgotten.
    assert table.table.due(later + HELD_LOOK, 10) == []
    assert table.table.due(later + SECOND + HELD_LOOK, 10) == [A1]


def test_what_is_about_no_job_or_an_unknown_one_is_refused() -> None:
    table = Table()
    assert table.decide(asked(Action.CANCEL, "a", "9")).decision.refused is IgnoreReason.UNKNOWN_JOB
    assert table.decide(asked(Action.GIVE_UP, "a", None)).decision.refused is IgnoreReason.UNKNOWN_JOB


@pytest.mark.parametrize("action", [Action.RESUBMIT, Action.REDRIVE])
def test_a_note_of_what_was_done_changes_nothing(action: Action) -> None:
    table = Table()
    before = list(table.table.rows())
    ruling = table.decide(asked(action, "a", "1"))
    assert (ruling.decision.refused, ruling.written, ruling.change) == (None, (), None)
    assert list(table.table.rows()) == before


def test_a_decision_is_forgotten_a_retention_later_but_for_a_hold_in_force() -> None:
    table = Table()
    table.decide(asked(Action.HOLD))
    table.decide(asked(Action.HOLD, "b", number=2))
    table.decide(asked(Action.RELEASE, "b"), NOW + SECOND)
    table.restart()
    later = NOW + DEADLINES.retention
    assert table.table.forget_decisions(later, 10) == []
    later += SECOND + timedelta.resolution
    assert table.table.forgettable(later)
    assert table.table.forget_decisions(later, 1) == ["hold-2"]
    assert table.table.forget_decisions(later, 10) == ["release-1"]
    assert not table.table.forgettable(later)
    assert list(table.table.holds) == ["a"]
