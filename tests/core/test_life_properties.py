"""Random lives of several jobs: whatever comes in whatever order, the promises hold."""

import dataclasses
from collections import Counter
from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from streams.core.controls import Action, Control, Decision
from streams.core.effects import CallRobot, PublishAmendment, PublishOutcome
from streams.core.events import (
    Admitted,
    BatchCompleted,
    BatchLost,
    CallFailed,
    DeadlinePassed,
    Event,
    InvalidSubmission,
    JobSubmitted,
    OrderReported,
    PayloadGone,
    Resubmitted,
    RobotAccepted,
)
from streams.core.job import FailureReason, Job, JobKey, OrderResult, OrderStatus, Source, Status
from streams.core.packed import values_of
from streams.core.table import Change, JobTable
from streams.core.transition import State, state_of
from tests.core.builders import DEADLINES, NOW

KEYS = [JobKey(workspace, f"job-{number}") for workspace in ("a", "b") for number in range(4)]
keys = st.sampled_from(KEYS)
counts = st.integers(0, 3)
REFUSALS = [(FailureReason.ROBOT_REJECTED, 409), (FailureReason.ROBOT_UNREACHABLE, None)]
CALL_FAILURES = [
    (FailureReason.ROBOT_REJECTED, True, 503),
    (FailureReason.DISPATCH_UNKNOWN, True, None),
    (FailureReason.NOT_DISPATCHED, False, None),
]
MAY_GET_A_DEADLINE = {State.PENDING, State.CALLED, State.ACCEPTED, State.COMPLETED, State.FAILED}


def surely_free_at(job: Job, patient: bool) -> datetime:
    """Say in the test's own words when the next of an ended job's workspace may go, once its call has returned."""
    assert job.ended_at is not None
    if job.status is Status.FAILED and not job.robot_may_have_received:
        return job.ended_at
    reported = [order.status is not OrderStatus.UNREPORTED for order in job.orders]
    told_late = job.success_count is not None or (all(reported) and len(reported) == job.order_count)
    if job.status is Status.FAILED and told_late and job.amended_at is not None:
        return job.amended_at + timedelta(seconds=5)
    if job.status is Status.FAILED and (not patient or job.reason is FailureReason.GIVEN_UP):
        assert job.deadline is not None
        return job.deadline + timedelta(seconds=5)
    return job.ended_at + timedelta(seconds=5)


def new_table(limit: int, patience: timedelta) -> JobTable:
    return JobTable(
        dataclasses.replace(DEADLINES, patience=patience), limit, lambda last: 0 if last is None else last + 1
    )


class Lives(RuleBasedStateMachine):
    """A partition's jobs as the ledger keeps them, beside an account of its own of what happened."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.limit = 1
        self.patience = timedelta(0)
        self.table = new_table(1, self.patience)
        self.rows: dict[JobKey, Job] = {}
        self.calls_out: set[JobKey] = set()
        # The account: nothing below is read back from the code under test.
        self.calls: Counter[JobKey] = Counter()
        self.outcomes: Counter[JobKey] = Counter()
        self.line: dict[str, list[JobKey]] = {"a": [], "b": []}
        # Until when the robot may be at work on a batch; None while nobody can say.
        self.robot_busy: dict[JobKey, datetime | None] = {}
        # After a restart jobs hold their places for as long as their rows say.
        self.held_again: dict[JobKey, datetime] = {}
        # The first report of each order that a job took.
        self.reports: dict[JobKey, dict[str, OrderStatus]] = {}
        # Jobs whose last call did nothing, so that another one is no second one.
        self.refused: Counter[JobKey] = Counter()
        # Until when a workspace may have been told to wait, at the latest.
        self.paused: dict[str, datetime] = {}
        # What people hold, and all that was decided of what they asked for.
        self.holds: set[str | None] = set()
        self.decisions: dict[str, Decision] = {}
        self.offset = 0

    @initialize(limit=st.sampled_from([0, 1, 1, 2, 3]), patience=st.sampled_from([0, 60, 900]))
    def choose_a_limit(self, limit: int, patience: int) -> None:
        self.limit = limit
        self.patience = timedelta(seconds=patience)
        self.table = new_table(limit, self.patience)

    def apply(self, event: Event) -> None:
        self.account_for(self.table.apply(event, self.now))

    def ask(self, action: Action, workspace_id: str | None, job_id: str | None = None) -> Decision:
        """Let somebody ask for something, for the first time or once more."""
        number = len(self.decisions)
        asked = Control(
            control_id=f"{number}",
            action=action,
            workspace_id=workspace_id,
            job_id=job_id,
            actor="ana",
            reason="because",
            requested_at=NOW,
        )
        ruling = self.table.decide(asked, self.now)
        if ruling.change is not None:
            self.account_for(ruling.change)
        self.decisions |= {decision.control.control_id: decision for decision in ruling.written}
        again = self.table.decide(asked, self.now)
        assert (again.repeated, again.written, again.change) == (True, (), None)
        return ruling.decision

    def account_for(self, change: Change) -> None:
        event = change.event
        before, job = change.before, change.after
        assert before == self.rows.get(event.key)
        assert job == self.table.get(event.key)
        if change.ignored is not None:
            assert (job, change.effects) == (before, ())
        if before is not None and before.ended:
            learned = {name: getattr(job, name) for name in ("orders", "success_count", "error_count", "amended_at")}
            assert job is not None
            if isinstance(event, OrderReported) and not before.robot_may_have_received:
                learned["robot_may_have_received"] = job.robot_may_have_received
            assert replace(before, **learned, resubmitted_as=job.resubmitted_as) == job, "an outcome stays"
            assert (PublishAmendment() in change.effects) == (job is not before and type(event) is not Resubmitted)
        if isinstance(event, RobotAccepted | CallFailed):
            self.calls_out.discard(event.key)
        if job is None:
            return
        if job is not before:
            self.rows[event.key] = job
        if before is None and job.status is Status.PENDING:
            self.line[job.workspace_id].append(job.key)
        if before is not None and before.status is Status.PENDING and job is not before:
            line = self.line[job.workspace_id]
            if job.status is Status.PROCESSING:
                assert line[0] == job.key, "first in, first out"
            line.remove(job.key)
        if before is not None and before.status is Status.PROCESSING and job.status is Status.PENDING:
            self.put_back(job)
        if CallRobot() in change.effects:
            self.calls[event.key] += 1
            self.calls_out.add(event.key)
            self.robot_busy[event.key] = None
        self.outcomes[event.key] += change.effects.count(PublishOutcome())
        returned = isinstance(event, RobotAccepted | CallFailed)
        if job.ended and (job is not before or returned) and event.key not in self.calls_out:
            self.let_go(event.key, self.surely_free_at(job))

    def put_back(self, job: Job) -> None:
        """Note that the call of a job did nothing: it waits where it stood, and the robot has nothing of it."""
        self.refused[job.key] += 1
        line = self.line[job.workspace_id]
        line.append(job.key)
        line.sort(key=lambda key: self.rows[key].source.offset)
        self.robot_busy.pop(job.key)
        self.reports.pop(job.key, None)
        self.held_again.pop(job.key, None)

    def let_go(self, key: JobKey, surely_at: datetime) -> None:
        """Note when the robot has let go of a batch at the latest."""
        if key in self.robot_busy and not self.robot_has_let_go(key):
            self.robot_busy[key] = surely_at
        if key in self.held_again and self.held_again[key] > self.now:
            self.held_again[key] = surely_at

    def surely_free_at(self, job: Job) -> datetime:
        return surely_free_at(job, patient=bool(self.patience))

    def robot_has_let_go(self, key: JobKey) -> bool:
        until = self.robot_busy[key]
        return until is not None and until <= self.now

    @rule(key=keys, fingerprint=st.sampled_from("fg"), orders=st.integers(1, 3))
    def a_submission_is_read(self, key: JobKey, fingerprint: str, orders: int) -> None:
        self.offset += 1
        self.apply(JobSubmitted(key, self.now, Source("robot.job.submitted", 0, self.offset), orders, fingerprint))

    @precondition(lambda self: len(self.rows) > 2)
    @rule(key=keys)
    def a_bad_submission_is_read(self, key: JobKey) -> None:
        self.offset += 1
        self.apply(InvalidSubmission(key, self.now, Source("robot.job.submitted", 0, self.offset), "bad"))

    @rule(gone=st.sampled_from([False, False, False, True]))
    def the_next_in_line_has_its_turn(self, gone: bool) -> None:
        job = self.table.next() if self.table.ready(self.now) else None
        if job is None:
            free = [
                workspace
                for workspace, line in self.line.items()
                if line and self.paused.get(workspace, self.now) <= self.now
                if not self.holds & {None, workspace}
                if self.limit == 0 or self.held(workspace) < self.limit
            ]
            assert free == [], "a workspace with a free place and a waiting job is never passed over"
            return
        assert not self.holds & {None, job.workspace_id}, "who is held is not called"
        # Half of the jobs are followed order by order.
        items = tuple(f"item-{nth}" for nth in range(job.order_count or 0)) if job.source.offset % 2 else ()
        self.apply(PayloadGone(job.key, "gone") if gone else Admitted(job.key, "worker-1", items))

    @precondition(lambda self: self.calls_out)
    @rule(data=st.data())
    def the_robot_accepts(self, data: st.DataObject) -> None:
        self.apply(RobotAccepted(data.draw(st.sampled_from(sorted(self.calls_out))), self.now))

    @precondition(lambda self: self.calls_out)
    @rule(data=st.data(), failure=st.sampled_from(CALL_FAILURES))
    def the_call_fails(self, data: st.DataObject, failure: tuple[FailureReason, bool, int | None]) -> None:
        reason, received, status = failure
        self.apply(CallFailed(data.draw(st.sampled_from(sorted(self.calls_out))), reason, "error", received, status))

    @precondition(lambda self: self.calls_out)
    @rule(data=st.data(), refusal=st.sampled_from(REFUSALS), wait=st.sampled_from([0, 0, 200]), spared=st.booleans())
    def the_call_is_refused(
        self, data: st.DataObject, refusal: tuple[FailureReason, int | None], wait: int, spared: bool
    ) -> None:
        reason, status = refusal
        key = data.draw(st.sampled_from(sorted(self.calls_out)))
        asked = timedelta(seconds=wait)
        spared = spared and status is None
        self.apply(CallFailed(key, reason, "error", False, status, may_be_repeated=True, wait=asked, spared=spared))
        if status is not None:
            until = self.now + max(timedelta(seconds=60), asked)
            self.paused[key.workspace_id] = max(self.paused.get(key.workspace_id, until), until)

    @rule(key=keys, success=counts, error=counts)
    def a_completion_is_read(self, key: JobKey, success: int, error: int) -> None:
        self.apply(BatchCompleted(key, success, error))

    @rule(key=keys, nth=counts, status=st.sampled_from([OrderStatus.SUCCESS, OrderStatus.ERROR]))
    def an_order_is_reported(self, key: JobKey, nth: int, status: OrderStatus) -> None:
        before = self.rows.get(key)
        self.apply(OrderReported(key, OrderResult(f"item-{nth}", status)))
        after = self.rows.get(key)
        if before is not None and after is not None and after is not before:
            taken = self.reports.setdefault(key, {})
            assert f"item-{nth}" not in taken, "the first report of an order counts"
            taken[f"item-{nth}"] = status
            if before.status is Status.PROCESSING:
                whole = len(taken) == before.order_count
                assert (after.status is Status.COMPLETED) == whole, "a job is completed by the report of its last order"

    @rule(key=keys, new=st.sampled_from(["again-1", "again-2"]))
    def its_orders_are_tried_again(self, key: JobKey, new: str) -> None:
        before = self.rows.get(key)
        self.apply(Resubmitted(key, new))
        if before is not None:
            assert self.rows[key].resubmitted_as == (before.resubmitted_as or (new if before.ended else None))

    @rule(workspace=st.sampled_from([None, "a", "b"]), holding=st.booleans())
    def somebody_holds_or_releases(self, workspace: str | None, holding: bool) -> None:
        decision = self.ask(Action.HOLD if holding else Action.RELEASE, workspace)
        assert (decision.refused is None) == ((workspace in self.holds) != holding)
        if holding:
            self.holds.add(workspace)
        else:
            self.holds.discard(workspace)

    @rule(key=keys, action=st.sampled_from([Action.CANCEL, Action.GIVE_UP]))
    def somebody_stops_a_job(self, key: JobKey, action: Action) -> None:
        before = self.rows.get(key)
        decision = self.ask(action, *key)
        wanted = Status.PENDING if action is Action.CANCEL else Status.PROCESSING
        may = before is not None and before.status is wanted and before.stop is None
        assert (decision.refused is None) == may
        if may:
            assert self.rows[key].decide_at == self.now or self.rows[key].reason is FailureReason.CANCELLED

    @invariant()
    def a_row_says_of_each_order_what_was_reported_first(self) -> None:
        for key, job in self.rows.items():
            told = {order.item_id: order.status for order in job.orders if order.status is not OrderStatus.UNREPORTED}
            assert told == self.reports.get(key, {})

    @rule(ago=st.sampled_from([0, 1, 600]))
    def the_robot_is_said_to_have_been_started_again(self, ago: int) -> None:
        restarted_at = self.now - timedelta(seconds=ago)
        open_rows = [job for job in self.rows.values() if state_of(job) is State.ACCEPTED]
        assert self.table.has_batches_at_robot == any(job.robot_restarted_at is None for job in open_rows)
        for key in self.table.accepted_before(restarted_at):
            before = self.rows[key]
            self.apply(BatchLost(key, restarted_at))
            assert self.rows[key] == replace(before, robot_restarted_at=restarted_at)
        for job in open_rows:
            assert job.accepted_at is not None
            known = self.rows[job.key].robot_restarted_at is not None
            assert known == (job.robot_restarted_at is not None or job.accepted_at < restarted_at)

    @rule(key=keys)
    def a_deadline_is_said_to_have_passed(self, key: JobKey) -> None:
        before = self.rows.get(key)
        if state_of(before) not in MAY_GET_A_DEADLINE:
            return
        assert before is not None
        self.apply(DeadlinePassed(key))
        if self.rows[key] is not before and before.put_off is not None and before.status is Status.PENDING:
            assert self.now >= before.put_off.since + self.patience, "patience is never cut short"
        elif self.rows[key] is not before:
            assert self.now >= self.latest_promise(before), "a deadline never fails a job early"

    def latest_promise(self, job: Job) -> datetime:
        if job.stop is not None:
            return job.stop.at
        work = timedelta(seconds=30 * (job.order_count or 0) + 300)
        if job.accepted_at is not None:
            return job.accepted_at + work
        assert job.claimed_at is not None
        return job.claimed_at + timedelta(seconds=30 + 60) + work

    @rule(seconds=st.sampled_from([0.001, 1.0, 5.0, 30.0, 90.0, 330.0, 400.0, 3600.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        # As the worker's timer does.
        self.table.ready(self.now)

    @rule()
    def the_worker_is_killed_and_another_one_loads_the_rows(self) -> None:
        """Lose the answers to calls under way; where the lines stood is read from the rows."""
        self.calls_out.clear()
        for key, job in self.rows.items():
            if key in self.robot_busy and job.ended:
                free_at = self.surely_free_at(job)
                self.held_again[key] = free_at
                self.robot_busy[key] = min(self.robot_busy[key] or free_at, free_at)
        self.table = new_table(self.limit, self.patience)
        for control_id, decision in self.decisions.items():
            self.table.load_decision(control_id, decision)
        for key, job in self.rows.items():
            self.table.load(key.text, values_of(job))
        for _ in self.table.index(self.now):
            pass

    def held(self, workspace: str) -> int:
        again = {key for key, until in self.held_again.items() if until > self.now}
        busy = {key for key in self.robot_busy if not self.robot_has_let_go(key)}
        return sum(key.workspace_id == workspace for key in again | busy)

    def busy(self, workspace: str) -> int:
        return sum(key.workspace_id == workspace and not self.robot_has_let_go(key) for key in self.robot_busy)

    @invariant()
    def no_job_is_called_twice(self) -> None:
        assert all(number - self.refused[key] in (0, 1) for key, number in self.calls.items())

    @invariant()
    def a_job_has_one_outcome_once_it_has_ended_and_none_before(self) -> None:
        assert {key: self.outcomes[key] for key in self.rows} == {key: int(job.ended) for key, job in self.rows.items()}

    @invariant()
    def only_a_called_job_is_at_the_robot_or_completed(self) -> None:
        for key, job in self.rows.items():
            if job.status in (Status.PROCESSING, Status.COMPLETED):
                assert self.calls[key] - self.refused[key] == 1

    @invariant()
    def a_workspace_never_has_more_jobs_at_the_robot_than_its_limit(self) -> None:
        if self.limit:
            assert all(self.busy(workspace) <= self.limit for workspace in self.line)

    @invariant()
    def it_is_known_to_a_second_since_when_the_oldest_waits(self) -> None:
        waiting = [job.submitted_at for job in self.rows.values() if job.status is Status.PENDING]
        oldest = self.table.oldest_waiting
        assert (oldest is None) == (not waiting)
        assert oldest is None or timedelta(0) <= oldest - min(waiting) < timedelta(seconds=1)

    def teardown(self) -> None:
        """Every job that was accepted ends, without any further answer or completion."""
        for workspace in list(self.holds):
            self.ask(Action.RELEASE, workspace)
        for _ in range(len(KEYS) + 1):
            self.now += timedelta(hours=2)
            for key in sorted(self.calls_out):
                self.apply(CallFailed(key, FailureReason.DISPATCH_UNKNOWN, "stopped", True))
            for key, job in list(self.rows.items()):
                if job.status is Status.PROCESSING:
                    self.apply(DeadlinePassed(key))
            self.now += timedelta(hours=2)
            while self.table.ready(self.now) and (following := self.table.next()) is not None:
                self.apply(Admitted(following.key, "worker-2"))
        assert all(job.ended for job in self.rows.values())
        self.no_job_is_called_twice()
        self.a_job_has_one_outcome_once_it_has_ended_and_none_before()
        super().teardown()


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
