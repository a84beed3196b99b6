"""Random lives of several jobs: whatever comes in whatever order, the promises hold."""

from collections import Counter
from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.core.effects import CallRobot, PublishOutcome
from streams.core.events import (
    Admitted,
    BatchCompleted,
    CallFailed,
    DeadlinePassed,
    Event,
    InvalidSubmission,
    JobSubmitted,
    PayloadGone,
    RobotAccepted,
)
from streams.core.job import FailureReason, Job, JobKey, Source, Status
from streams.core.table import JobTable
from streams.core.transition import State, state_of
from tests.core.builders import DEADLINES, NOW

KEYS = [JobKey(workspace, f"job-{number}") for workspace in ("a", "b") for number in range(4)]
keys = st.sampled_from(KEYS)
counts = st.integers(0, 3)
CALL_FAILURES = [
    (FailureReason.ROBOT_REJECTED, False, 409),
    (FailureReason.ROBOT_REJECTED, True, 503),
    (FailureReason.ROBOT_UNREACHABLE, False, None),
    (FailureReason.DISPATCH_UNKNOWN, True, None),
    (FailureReason.NOT_DISPATCHED, False, None),
]
MAY_GET_A_DEADLINE = {State.CALLED, State.ACCEPTED, State.COMPLETED, State.FAILED}


def surely_free_at(job: Job) -> datetime:
    """Say in the test's own words when the robot has let go of an ended job whose call has returned."""
    assert job.ended_at is not None
    if job.status is Status.FAILED and not job.robot_may_have_received:
        return job.ended_at
    if job.status is Status.FAILED:
        assert job.deadline is not None
        return job.deadline + timedelta(seconds=5)
    return job.ended_at + timedelta(seconds=5)


def new_table(limit: int) -> JobTable:
    return JobTable(DEADLINES, limit, lambda last: 0 if last is None else last + 1)


class Lives(RuleBasedStateMachine):
    """A partition's jobs as the ledger keeps them, beside an account of its own of what happened."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.limit = 1
        self.table = new_table(1)
        self.rows: dict[JobKey, Job] = {}
        self.calls_out: set[JobKey] = set()
        # The account: nothing below is read back from the code under test.
        self.calls: Counter[JobKey] = Counter()
        self.outcomes: Counter[JobKey] = Counter()
        self.line: dict[str, list[JobKey]] = {"a": [], "b": []}
        # Until when the robot may be at work on a batch; None while nobody can say.
        self.robot_busy: dict[JobKey, datetime | None] = {}
        # Late completions are in no row: after a restart their jobs hold their places for longer than they must.
        self.held_again: dict[JobKey, datetime] = {}
        self.offset = 0

    @initialize(limit=st.sampled_from([0, 1, 1, 2, 3]))
    def choose_a_limit(self, limit: int) -> None:
        self.limit = limit
        self.table = new_table(limit)

    def apply(self, event: Event) -> None:
        change = self.table.apply(event, self.now)
        before, job = change.before, change.after
        assert before is self.rows.get(event.key)
        assert job is self.table.get(event.key)
        if change.ignored is not None:
            assert (job, change.effects) == (before, ())
        if before is not None and before.ended:
            assert job is before, "nothing changes after a terminal change"
        if isinstance(event, RobotAccepted | CallFailed):
            self.calls_out.discard(event.key)
        if job is None:
            return
        self.rows[event.key] = job
        if before is None and job.status is Status.PENDING:
            self.line[job.workspace_id].append(job.key)
        if before is not None and before.status is Status.PENDING and job is not before:
            assert self.line[job.workspace_id].pop(0) == job.key, "first in, first out"
        if CallRobot() in change.effects:
            self.calls[event.key] += 1
            self.calls_out.add(event.key)
            self.robot_busy[event.key] = None
        self.outcomes[event.key] += change.effects.count(PublishOutcome())
        returned = isinstance(event, RobotAccepted | CallFailed)
        if job.ended and (job is not before or returned) and event.key not in self.calls_out:
            self.let_go(event.key, surely_free_at(job))

    def let_go(self, key: JobKey, surely_at: datetime) -> None:
        """Note when the robot has let go of a batch at the latest."""
        if key in self.robot_busy and not self.robot_has_let_go(key):
            self.robot_busy[key] = surely_at
        if key in self.held_again and self.held_again[key] > self.now:
            self.held_again[key] = surely_at

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
                if line and (self.limit == 0 or self.held(workspace) < self.limit)
            ]
            assert free == [], "a workspace with a free place and a waiting job is never passed over"
            return
        self.apply(PayloadGone(job.key, "gone") if gone else Admitted(job.key, "worker-1"))

    @precondition(lambda self: self.calls_out)
    @rule(data=st.data())
    def the_robot_accepts(self, data: st.DataObject) -> None:
        self.apply(RobotAccepted(data.draw(st.sampled_from(sorted(self.calls_out))), self.now))

    @precondition(lambda self: self.calls_out)
    @rule(data=st.data(), failure=st.sampled_from(CALL_FAILURES))
    def the_call_fails(self, data: st.DataObject, failure: tuple[FailureReason, bool, int | None]) -> None:
        reason, received, status = failure
        self.apply(CallFailed(data.draw(st.sampled_from(sorted(self.calls_out))), reason, "error", received, status))

    @rule(key=keys, success=counts, error=counts)
    def a_completion_is_read(self, key: JobKey, success: int, error: int) -> None:
        late = key in self.rows and self.rows[key].status is Status.FAILED
        self.apply(BatchCompleted(key, success, error))
        if late and key not in self.calls_out:
            self.let_go(key, self.now + timedelta(seconds=5))

    @rule(key=keys)
    def a_deadline_is_said_to_have_passed(self, key: JobKey) -> None:
        before = self.rows.get(key)
        if state_of(before) not in MAY_GET_A_DEADLINE:
            return
        assert before is not None
        self.apply(DeadlinePassed(key))
        if self.rows[key] is not before:
            assert self.now >= self.latest_promise(before), "a deadline never fails a job early"

    def latest_promise(self, job: Job) -> datetime:
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
                self.held_again[key] = surely_free_at(job)
                self.robot_busy[key] = min(self.robot_busy[key] or surely_free_at(job), surely_free_at(job))
        self.table = new_table(self.limit)
        for key, job in self.rows.items():
            self.table.load(key, job)
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
        assert all(number == 1 for number in self.calls.values())

    @invariant()
    def a_job_has_one_outcome_once_it_has_ended_and_none_before(self) -> None:
        assert {key: self.outcomes[key] for key in self.rows} == {key: int(job.ended) for key, job in self.rows.items()}

    @invariant()
    def only_a_called_job_is_at_the_robot_or_completed(self) -> None:
        for key, job in self.rows.items():
            if job.status in (Status.PROCESSING, Status.COMPLETED):
                assert self.calls[key] == 1

    @invariant()
    def a_workspace_never_has_more_jobs_at_the_robot_than_its_limit(self) -> None:
        if self.limit:
            assert all(self.busy(workspace) <= self.limit for workspace in self.line)

    def teardown(self) -> None:
        """Every job that was accepted ends, without any further answer or completion."""
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
