"""The job table of one partition: its rows, who is next in line, which deadlines are due, which rows can go."""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile

import msgspec

from streams.core.admission import Admission, longest_busy, paused_until, robot_free_at
from streams.core.controls import NOTES, Action, Control, Decision
from streams.core.deadlines import Deadlines
from streams.core.effects import CallRobot, Effect, IgnoreReason
from streams.core.events import CallFailed, Cancelled, DeadlinePassed, Event, GivenUp, RobotAccepted
from streams.core.job import BUSY_STATUSES, Job, JobKey, Status, key_of
from streams.core.lines import Ordered
from streams.core.packed import Glance, Values
from streams.core.rows import Rows
from streams.core.transition import transition
from streams.core.waiting import Waiting

# How often a job is looked at that was put off for too long, and that somebody holds; and for how long it may be called
# when nobody holds it any more.
HELD_LOOK = timedelta(seconds=60)


class Change(msgspec.Struct, frozen=True):
    """What an event did: the row before and after it, and what follows; or why it changed nothing."""

    event: Event
    before: Job | None
    after: Job | None
    effects: tuple[Effect, ...]
    ignored: IgnoreReason | None

    @property
    def row(self) -> Job | None:
        """The row that must be written, None if there is none."""
        return None if self.after is self.before else self.after


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a control did: the decision, those that must be written, and the change of the job that it is about."""

    decision: Decision
    written: tuple[Decision, ...] = ()
    change: Change | None = None
    # Whether the control had been decided before.
    repeated: bool = False


class JobTable:
    """The only owner of rows, lines, places and deadlines. Every row that changes goes through `apply`.

    Inside, a job is known by its key's text: the rows, and all that names a job which waits or has ended, share one.

    `round_after` numbers the turns of workspaces over all partitions of a worker (see Admission).
    """

    def __init__(self, deadlines: Deadlines, jobs_per_workspace: int, round_after: Callable[[int | None], int]) -> None:
        self._durations = deadlines
        self._rows = Rows()
        self._admission = Admission(jobs_per_workspace, round_after)
        # The jobs whose call is out: nobody else of their workspace may be called before it is back.
        self._calls: set[str] = set()
        # How often in a row the robot has refused a workspace's calls before any effect, and when it last did.
        self._refusals: dict[str, tuple[int, datetime]] = {}
        # Until when the robot may be at a batch of a workspace that has failed all the same.
        self._doubtful_until: dict[str, datetime] = {}
        self._doubts: list[tuple[datetime, str]] = []
        self._deadlines: list[tuple[datetime, str]] = []
        # The jobs that have ended, in that order: with a clock that was put back some are forgotten later, none sooner.
        self._ended: deque[str] = deque()
        # When the robot accepted what it may be at: a batch that is known to be lost is not among them.
        self._at_robot: dict[JobKey, datetime] = {}
        self._decisions: dict[str, Decision] = {}
        # The holds in force, each by its workspace; None for everything.
        self._holds: dict[str | None, Decision] = {}
        # When a workspace, or everything, was released last.
        self._released: dict[str | None, datetime] = {}
        self._decided: list[tuple[datetime, str]] = []
        self.jobs_by_status: Counter[Status] = Counter()
        self._waiting = Waiting()

    # Loading

    def load(self, key: str, values: Values | None) -> None:
        """Take in what the changelog says of the job of a key's text; the last word counts. Only before `index`."""
        if values is None:
            self._rows.pop(key)
        else:
            self._rows.load(key, values)

    def load_decision(self, control_id: str, decision: Decision | None) -> None:
        """Take in what the changelog says of a control; the last word counts. Only before `index`."""
        if decision is None:
            self._decisions.pop(control_id, None)
        else:
            self._decisions[control_id] = decision

    def index(self, now: datetime) -> Iterator[None]:
        """Put the rows that were loaded in order, one a turn of this iterator; it must be run to its end."""
        for decision in self._decisions.values():
            self._keep(decision)
            yield
        settled = now - longest_busy(self._durations)
        waiting = Ordered(lambda key: self._rows.glance(key).offset)
        ended = Ordered(lambda key: self._rows.glance(key).ended_at or now)
        for key, glance in self._rows.glances():
            self._count(glance)
            if glance.status is Status.PENDING:
                waiting.add(glance.source[2], key)
            elif glance.ended_at is not None:
                ended.add(glance.ended_at, key)
            if glance.status is Status.PROCESSING:
                self._index(key, self._rows.unpack(key), now)
            elif not _is_quiet(glance, settled):
                self._index(key, self._rows.read(key), now)
            yield
        for key in waiting.texts():
            self._admission.wait(key)
            yield
        for key in ended.texts():
            self._ended.append(key)
            yield

    def _index(self, key: str, job: Job, now: datetime) -> None:
        self._follow(key, None, job)
        free_at = robot_free_at(job, self._durations)
        if job.status is Status.PROCESSING:
            self._admission.hold(key)
        elif free_at is not None and free_at > now:
            self._admission.hold(key)
            self._admission.release(key, free_at)
        self._doubt(job, now)
        if (until := paused_until(job)) is not None and until > now:
            self._admission.pause(job.workspace_id, until)

    # What it knows

    def get(self, key: JobKey) -> Job | None:
        """Return a job's row."""
        return self._rows.get(key.text)

    def rows(self) -> Iterator[Job]:
        """Return the rows as they stand, unpacked one by one; nothing may happen meanwhile."""
        return map(self._rows.read, self._rows)

    def keys(self) -> Iterator[JobKey]:
        """Return the jobs that have a row; nothing may happen meanwhile."""
        return map(key_of, self._rows)

    def pending(self) -> Iterator[JobKey]:
        """Return the jobs that wait; nothing may happen meanwhile."""
        return map(key_of, self._admission.lines())

    @property
    def holds(self) -> Mapping[str | None, Decision]:
        """The holds in force, each by its workspace; None for everything."""
        return self._holds

    @property
    def workspaces_waiting(self) -> int:
        """How many workspaces have pending jobs."""
        return self._admission.workspaces_waiting

    @property
    def oldest_waiting(self) -> datetime | None:
        """When the oldest pending job was submitted, to a second, None without any."""
        return self._waiting.oldest

    @property
    def calls_under_way(self) -> bool:
        """Whether a call is out, or its answer has not been applied yet."""
        return bool(self._calls)

    @property
    def has_batches_at_robot(self) -> bool:
        """Whether the robot has accepted a batch that has not ended, and is not known to be lost."""
        return bool(self._at_robot)

    def accepted_before(self, instant: datetime) -> list[JobKey]:
        """Return the jobs of such batches that were accepted before an instant."""
        return [key for key, accepted_at in self._at_robot.items() if accepted_at < instant]

    # Who is next

    @property
    def rounds(self) -> Mapping[int, int]:
        """How many workspaces of each round have a job that waits and a free place for it."""
        return self._admission.rounds

    def ready(self, now: datetime) -> bool:
        """Whether a job could be admitted."""
        self._admission.advance(now)
        while self._doubts and self._doubts[0][0] <= now:
            until, workspace_id = heapq.heappop(self._doubts)
            if self._doubtful_until.get(workspace_id) == until:
                del self._doubtful_until[workspace_id]
        return self._admission.ready

    def next(self) -> Job | None:
        """Return the job whose turn it is."""
        key = self._admission.first()
        return None if key is None else self._rows.unpack(key)

    def next_in_line(self, most: int) -> list[Job]:
        """Return up to `most` jobs in the order in which they would be admitted."""
        return [self._rows.unpack(key) for key in self._admission.next_in_line(most)]

    # What happens

    def apply(self, event: Event, now: datetime) -> Change:
        """Apply an event. Raises ImpossibleTransitionError."""
        key = event.key.text
        if isinstance(event, RobotAccepted | CallFailed):
            event = self._count_refusals(event, now)
        before = self._rows.get(key)
        if isinstance(event, DeadlinePassed) and before is not None and before.status is Status.PENDING:
            spared_until = self._spared_until(before.workspace_id, now)
            if spared_until > now:
                # Somebody holds it since it was found to be due.
                heapq.heappush(self._deadlines, (spared_until, key))
                return Change(event, before, before, (), IgnoreReason.DEADLINE_MOVED)
        after, effects, ignored = transition(before, event, now, self._durations)
        if isinstance(event, RobotAccepted | CallFailed):
            self._calls.discard(key)
        if CallRobot() in effects:
            self._calls.add(key)
        if after is not None and after is not before:
            self._rows.put(key, after)
            self._doubt(after, now)
            self._place(key, before, after, now)
            self._track(key, before, after)
        elif after is not None and after.ended and isinstance(event, RobotAccepted | CallFailed):
            self._leave_robot(key, after, now)
        return Change(event, before, after, effects, ignored)

    def decision(self, control_id: str) -> Decision | None:
        """Return what came of a control, None if it has not been decided, or that is forgotten."""
        return self._decisions.get(control_id)

    def decide(self, control: Control, now: datetime) -> Ruling:
        """Apply what somebody asks for, once by its id. Raises ImpossibleTransitionError."""
        if control.action in NOTES:
            return Ruling(Decision(control, now))
        if (known := self._decisions.get(control.control_id)) is not None:
            return Ruling(known, repeated=True)
        match control.action:
            case Action.HOLD:
                return self._hold(control, now)
            case Action.RELEASE:
                return self._release(control, now)
        return self._stop(control, now)

    def refuse(self, control: Control, reason: IgnoreReason, now: datetime) -> Ruling:
        """Decide that nothing comes of a control, once by its id."""
        if (known := self._decisions.get(control.control_id)) is not None:
            return Ruling(known, repeated=True)
        return self._write(Decision(control, now, reason))

    def _hold(self, control: Control, now: datetime) -> Ruling:
        if control.workspace_id in self._holds:
            return self._write(Decision(control, now, IgnoreReason.ALREADY_HELD))
        return self._write(Decision(control, now, in_force=True))

    def _release(self, control: Control, now: datetime) -> Ruling:
        held = self._holds.get(control.workspace_id)
        if held is None:
            return self._write(Decision(control, now, IgnoreReason.NOT_HELD))
        return self._write(Decision(control, now), replace(held, in_force=False))

    def _stop(self, control: Control, now: datetime) -> Ruling:
        if control.job is None:
            return self._write(Decision(control, now, IgnoreReason.UNKNOWN_JOB))
        kind = Cancelled if control.action is Action.CANCEL else GivenUp
        change = self.apply(kind(control.job, control.stop(now)), now)
        return replace(self._write(Decision(control, now, change.ignored)), change=change)

    def _write(self, *decisions: Decision) -> Ruling:
        for decision in decisions:
            self._decisions[decision.control.control_id] = decision
            self._keep(decision)
        return Ruling(decisions[0], decisions)

    def _keep(self, decision: Decision) -> None:
        """Let a hold, or its end, be felt; note when the decision can be forgotten."""
        control = decision.control
        if decision.in_force:
            self._holds[control.workspace_id] = decision
            self._admission.block(control.workspace_id)
            return
        heapq.heappush(self._decided, (decision.decided_at, control.control_id))
        if control.action is Action.RELEASE and decision.refused is None:
            self._released[control.workspace_id] = decision.decided_at
        held = self._holds.get(control.workspace_id)
        if held is not None and held.control.control_id == control.control_id:
            del self._holds[control.workspace_id]
            self._admission.unblock(control.workspace_id)

    def due(self, now: datetime, most: int) -> list[JobKey]:
        """Return jobs whose deadline has come, each once per deadline. Costs nothing for those that wait."""
        # A job that was put off several times, or whose batch was lost, has its deadline there several times.
        due: dict[JobKey, None] = {}
        for _ in range(most):
            if not self._deadlines or self._deadlines[0][0] > now:
                break
            deadline, key = heapq.heappop(self._deadlines)
            if not self._rows.is_open(key):
                continue
            job = self._rows.read(key)
            if job.decide_at is None or job.decide_at > deadline:
                continue
            spared_until = self._spared_until(job.workspace_id, now) if job.status is Status.PENDING else now
            if spared_until > now:
                heapq.heappush(self._deadlines, (spared_until, key))
            else:
                due[job.key] = None
        return list(due)

    def _spared_until(self, workspace_id: str, now: datetime) -> datetime:
        """Return until when no patience ends: it is with the robot, and while there is a hold nobody lets that try."""
        concerning = (None, workspace_id)
        if any(one in self._holds for one in concerning):
            return now + HELD_LOOK
        return max((self._released[one] + HELD_LOOK for one in concerning if one in self._released), default=now)

    def forgettable(self, now: datetime) -> bool:
        """Whether a job has ended, or a control been decided, so long ago that its row can go."""
        decided_at = self._decided[0][0] if self._decided else now
        return self._has_to_forget(now) or now - decided_at > self._durations.retention

    def _has_to_forget(self, now: datetime) -> bool:
        ended_at = self._rows.glance(self._ended[0]).ended_at if self._ended else None
        return ended_at is not None and now - ended_at > self._durations.retention

    def forget(self, now: datetime, most: int) -> list[JobKey]:
        """Take jobs that ended a retention ago out of the table; return them."""
        forgotten: list[JobKey] = []
        while len(forgotten) < most and self._has_to_forget(now):
            text = self._ended.popleft()
            key = key_of(text)
            self.jobs_by_status[self._rows.glance(text).status] -= 1
            self._rows.pop(text)
            # Of a workspace that never comes again nothing stays: the job that was refused last ends about then.
            _, refused_at = self._refusals.get(key.workspace_id, (0, now))
            if now - refused_at > self._durations.retention / 2:
                del self._refusals[key.workspace_id]
            forgotten.append(key)
        return forgotten

    def forget_decisions(self, now: datetime, most: int) -> list[str]:
        """Take decisions of a retention ago out of the table, but for holds in force; return the controls' ids."""
        forgotten: list[str] = []
        while len(forgotten) < most and self._decided and now - self._decided[0][0] > self._durations.retention:
            decided_at, control_id = heapq.heappop(self._decided)
            workspace_id = self._decisions.pop(control_id).control.workspace_id
            if self._released.get(workspace_id) == decided_at:
                del self._released[workspace_id]
            forgotten.append(control_id)
        return forgotten

    def _track(self, key: str, before: Job | None, job: Job) -> None:
        if before is not None:
            self.jobs_by_status[before.status] -= 1
            if before.status is Status.PENDING:
                self._waiting.remove(before.submitted_at)
        self._count(job)
        self._follow(key, before, job)
        if job.ended_at is not None and (before is None or not before.ended):
            self._ended.append(key)

    def _count(self, row: Job | Glance) -> None:
        self.jobs_by_status[row.status] += 1
        if row.status is Status.PENDING:
            self._waiting.add(row.submitted_at)

    def _follow(self, key: str, before: Job | None, job: Job) -> None:
        """Note what the robot is at, and until when."""
        self._at_robot.pop(job.key, None)
        if job.status is Status.PROCESSING and job.accepted_at is not None and job.robot_restarted_at is None:
            self._at_robot[job.key] = job.accepted_at
        if job.ended or job.decide_at is None or (before is not None and before.decide_at == job.decide_at):
            return
        heapq.heappush(self._deadlines, (job.decide_at, key))

    def _place(self, key: str, before: Job | None, job: Job, now: datetime) -> None:
        """Keep the lines of the workspaces in step with a changed row."""
        if job.status is Status.PENDING:
            if before is None:
                self._admission.wait(key)
            else:
                self._put_back(key, job)
            return
        if before is not None and before.status is Status.PENDING:
            if job.status is Status.PROCESSING:
                self._admission.take(key)
                self._admission.hold(key)
            else:
                self._admission.withdraw(key)
        if job.ended:
            self._leave_robot(key, job, now)

    def _put_back(self, key: str, job: Job) -> None:
        """Put a job back into the line where it stood: behind those alone that were put back before it."""
        line = (self._rows.glance(other).offset for other in self._admission.line(job.workspace_id))
        nth = sum(1 for _ in takewhile(lambda offset: offset < job.source.offset, line))
        self._admission.put_back(key, nth)

    def pause(self, busy: CallFailed, now: datetime) -> None:
        """Call nobody of a workspace for as long as after a first refusal, which is applied later."""
        self._admission.pause(busy.key.workspace_id, now + self._durations.back_off(1, busy.wait))

    def _count_refusals(self, event: RobotAccepted | CallFailed, now: datetime) -> RobotAccepted | CallFailed:
        """Let the workspace wait for longer after each refusal, whatever becomes of the job; return what is known."""
        workspace_id = event.key.workspace_id
        if not isinstance(event, CallFailed) or event.robot_status not in BUSY_STATUSES:
            self._refusals.pop(workspace_id, None)
            return event
        refusals = self._refusals.get(workspace_id, (0, now))[0] + 1
        self._refusals[workspace_id] = (refusals, now)
        wait = self._durations.back_off(refusals, event.wait)
        self._admission.pause(workspace_id, now + wait)
        busy = now < self._doubtful_until.get(workspace_id, now)
        patient = self._durations.patience > timedelta(0)
        return msgspec.structs.replace(event, refusals=refusals, spared=event.spared or (busy and patient))

    def _doubt(self, job: Job, now: datetime) -> None:
        """Note until when the robot may be at the batch of a job that has failed."""
        if job.status is Status.FAILED and job.robot_may_have_received and job.deadline is not None:
            until = job.deadline + self._durations.workspace_pause
            if until > self._doubtful_until.get(job.workspace_id, now):
                self._doubtful_until[job.workspace_id] = until
                heapq.heappush(self._doubts, (until, job.workspace_id))

    def _leave_robot(self, key: str, job: Job, now: datetime) -> None:
        """Let the workspace go on, unless the job's call is still under way here."""
        free_at = robot_free_at(job, self._durations)
        if free_at is not None and key not in self._calls:
            # A place that is free already stays so.
            self._admission.advance(now)
            self._admission.release(key, free_at)
            self._admission.advance(now)


def _is_quiet(row: Glance, settled: datetime) -> bool:
    """Whether nothing is to be done for a job but to call it or forget it; who ended by `settled` holds nobody up."""
    if row.status is Status.PENDING:
        return row.deadline is None and row.put_off is None
    ended_at = row.ended_at
    return ended_at is not None and max(ended_at, row.deadline or ended_at, row.amended_at or ended_at) <= settled
