"""Where a job stands, in words: its state, what it waits for, and whether it may be sent again. Pure."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from itertools import product
from operator import itemgetter

from schemas import Order
from streams.core.admission import paused_until, robot_free_at
from streams.core.controls import Decision
from streams.core.deadlines import Deadlines
from streams.core.job import FailureReason, Job, OrderStatus, Status
from streams.operate.resubmission import (
    SURELY_NOT_SHIPPED,
    UNNAMED,
    Choice,
    Group,
    Plan,
    Refusal,
    Standing,
    known_orders,
    plan_resubmission,
    resubmit_command,
)
from streams.wire.rows import Owner

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


class WaitKind(StrEnum):
    """What a job can wait for."""

    PERSON = "person"
    WORKER = "worker"
    ROBOT_AWAY = "robot_away"
    ROBOT_BUSY = "robot_busy"
    WORKSPACE = "workspace"
    CALL_SLOT = "call_slot"
    ANSWER = "answer"
    REPORTS = "reports"


class Verdict(StrEnum):
    """Whether a job may be sent again."""

    YES = "yes"
    NO = "no"
    ORDERS = "orders"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """That somebody lets nobody be called: no job of a workspace or, with None, none of a partition."""

    workspace_id: str | None
    actor: str
    reason: str
    since: datetime


# Until when something keeps others waiting, None where nobody knows, and the job that does it.
Until = tuple[datetime | None, Job]


@dataclass(frozen=True, kw_only=True)
class Around:
    """What has a say in when the jobs of a workspace are called, beside their own rows.

    `workspace` has all rows of the workspace: they are sorted once, however many jobs are asked about. `holds` are
    those in force in its partition. `owner` is None where it did not say who it is. `workers` are the ids of those in
    the group, None where nobody has asked. `deadlines` and `jobs_per_workspace` are those of the workers.
    """

    deadlines: Deadlines
    workspace: Collection[Job]
    holds: Collection[Hold] = ()
    owner: Owner | None = None
    workers: Collection[str] | None = None
    jobs_per_workspace: int = 1

    @cached_property
    def line(self) -> dict[str, int]:
        """The jobs that wait, the first in line first, each with its place from 1."""
        pending = [job for job in self.workspace if job.status is Status.PENDING]
        in_line = sorted(pending, key=lambda job: job.source.offset)
        return {job.job_id: place for place, job in enumerate(in_line, 1)}

    @cached_property
    def last_pause(self) -> tuple[datetime, Job] | None:
        """Until when the robot's refusals keep the workspace from being called, which may be over, and whose it is."""
        pauses = [(until, job) for job in self.workspace if (until := paused_until(job)) is not None]
        return max(pauses, key=itemgetter(0), default=None)

    @cached_property
    def _at_robot(self) -> list[Until]:
        found = [(job.deadline, job) for job in self.workspace if job.status is Status.PROCESSING]
        return sorted(found, key=_leaves)

    @cached_property
    def _ended(self) -> list[tuple[datetime, Job]]:
        found = [(at, job) for job in self.workspace if (at := robot_free_at(job, self.deadlines)) is not None]
        return sorted(found, key=_leaves)

    def holders(self, now: datetime) -> tuple[int, Until | None]:
        """Return how many jobs have a place of the workspace, and which leaves first, None if none has one."""
        kept = bisect_right(self._ended, now, key=itemgetter(0))
        first = min([*self._at_robot[:1], *self._ended[kept : kept + 1]], key=_leaves, default=None)
        return len(self._at_robot) + len(self._ended) - kept, first


def worker_alive(job: Job, workers: Collection[str] | None) -> bool | None:
    """Whether the worker that claimed a job is in the group; None if none has, or if nobody knows who is in it."""
    if job.claimed_by is None or workers is None:
        return None
    return job.claimed_by in workers


def _leaves(entry: Until) -> tuple[bool, datetime, int]:
    until, job = entry
    return until is None, until or datetime.max.replace(tzinfo=UTC), job.source.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Something that a job waits for. `until` is when at the latest it is over, None where nobody knows.

    In a workspace's line a job has a `place`, from 1, and mostly another job that it is `behind`.
    """

    kind: WaitKind
    words: str
    since: datetime | None = None
    until: datetime | None = None
    place: int | None = None
    behind: str | None = None


@dataclass(frozen=True, slots=True)
class SendAgain:
    """Whether a job may be sent again, and why. `orders` are the item ids of those that may, if not all may.

    `choice` is what `jobs resubmit` has to be told for it, and `command` says that.
    """

    verdict: Verdict
    because: str
    orders: tuple[str, ...] = ()
    choice: Choice | None = None
    command: str | None = None


def holds_in_force(decisions: Iterable[Decision]) -> list[Hold]:
    """Return the holds among some decisions that nobody has released."""
    return [
        Hold(
            workspace_id=decision.control.workspace_id,
            actor=decision.control.actor,
            reason=decision.control.reason,
            since=decision.decided_at,
        )
        for decision in decisions
        if decision.in_force
    ]


def clock(instant: datetime, now: datetime) -> str:
    """Return an instant for people, in UTC; with the day if that is another one than today."""
    at, today = instant.astimezone(UTC), now.astimezone(UTC).date()
    return f"{at:%H:%M:%S} UTC" if at.date() == today else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def state_in_words(job: Job, now: datetime) -> str:
    """Return what has become of a job."""
    if job.stop is not None:
        done = "cancelled" if job.reason is FailureReason.CANCELLED else "given up"
        return f"{done} by {job.stop.actor} at {clock(job.stop.at, now)} ({job.stop.reason}): {_state(job, now)}"
    return _state(job, now)


def _state(job: Job, now: datetime) -> str:
    match job.status:
        case Status.PENDING if job.put_off is not None:
            times = "once" if job.put_off.times == 1 else f"{job.put_off.times} times"
            return f"put off {times} since {clock(job.put_off.since, now)}: {_refusal(job)}"
        case Status.PENDING:
            return "submitted, not called yet"
        case Status.PROCESSING if job.accepted_at is None:
            return f"claimed for its call, not answered yet{_reported(job)}"
        case Status.PROCESSING if job.robot_restarted_at is not None:
            again = clock(job.robot_restarted_at, now)
            return f"lost by the robot, which was started again at {again}{_reported(job)}"
        case Status.PROCESSING:
            return f"at the robot{_reported(job)}"
        case Status.COMPLETED:
            mismatch = ", which does not add up" if job.counts_mismatch else ""
            return f"completed: {job.success_count} shipped, {job.error_count} failed{mismatch}"
        case Status.FAILED:
            received = "the robot may have it" if job.robot_may_have_received else "the robot does not have it"
            return f"failed ({job.reason}): {received}{_reported(job)}"


def _reported(job: Job) -> str:
    if not job.orders:
        return ""
    unreported = job.reported(OrderStatus.UNREPORTED)
    kind = "orders" if len(job.orders) == job.order_count else "item ids"
    return f", {len(job.orders) - unreported} of {len(job.orders)} {kind} reported"


def _refusal(job: Job) -> str:
    if job.put_off is None or job.put_off.robot_status is None:
        return "the robot was not there"
    return f"the robot was busy ({job.put_off.robot_status})"


def waiting_for(job: Job, around: Around, now: datetime) -> tuple[Wait, ...]:
    """Return all that stands between a job and its next step, what a person can do something about first."""
    if job.ended:
        return ()
    if job.status is Status.PROCESSING:
        return (*_worker(job, around), _robot(job, now))
    before = (
        *_persons(job, around, now),
        *_worker(job, around),
        *_robot_away(around, now),
        *_robot_busy(around, now),
        *_line(job, around, now),
    )
    return before or (Wait(kind=WaitKind.CALL_SLOT, words="a call slot: all workspaces of a worker take turns"),)


def _persons(job: Job, around: Around, now: datetime) -> Iterator[Wait]:
    for hold in around.holds:
        if hold.workspace_id in (None, job.workspace_id):
            what = "everything" if hold.workspace_id is None else "its workspace"
            words = f"{hold.actor}, who holds {what} since {clock(hold.since, now)}: {hold.reason}"
            yield Wait(kind=WaitKind.PERSON, words=words, since=hold.since)


def _worker(job: Job, around: Around) -> Iterator[Wait]:
    if around.workers is None:
        return
    if not around.workers:
        yield Wait(kind=WaitKind.WORKER, words="a worker: none is running")
    elif around.owner is not None and around.owner.worker_id not in around.workers:
        yield Wait(kind=WaitKind.WORKER, words=f"a worker: {around.owner.worker_id} had its partition, and is gone")
    elif job.claimed_by is not None and job.accepted_at is None and job.claimed_by not in around.workers:
        words = f"nobody: {job.claimed_by}, which was to call it, is gone; a completion or its deadline decides it"
        yield Wait(kind=WaitKind.WORKER, words=words, until=job.deadline)


def _robot_away(around: Around, now: datetime) -> Iterator[Wait]:
    since = None if around.owner is None else around.owner.robot_away_since
    if since is not None:
        words = f"the robot, which has not been there since {clock(since, now)}"
        yield Wait(kind=WaitKind.ROBOT_AWAY, words=words, since=since)


def _robot_busy(around: Around, now: datetime) -> Iterator[Wait]:
    if around.last_pause is not None and around.last_pause[0] > now:
        until, job = around.last_pause
        status = job.robot_status if job.put_off is None else job.put_off.robot_status
        words = f"the robot: it was busy ({status}), and is called again at {clock(until, now)}"
        since = job.ended_at if job.put_off is None else job.put_off.since
        yield Wait(kind=WaitKind.ROBOT_BUSY, words=words, since=since, until=until)


def _line(job: Job, around: Around, now: datetime) -> Iterator[Wait]:
    """Yield where a job stands in its workspace's line, unless there is a place for it."""
    place = around.line[job.job_id]
    count, leaver = around.holders(now)
    if around.jobs_per_workspace == 0 or place <= around.jobs_per_workspace - count:
        return
    nth = _ORDINALS[place - 1] if place <= len(_ORDINALS) else f"number {place}"
    if leaver is None:
        first = next(iter(around.line))
        words = f"{nth} in its workspace's line, behind {first}, which is next"
        yield Wait(kind=WaitKind.WORKSPACE, words=words, place=place, behind=first)
        return
    until, holder = leaver
    words = f"{nth} behind {holder.job_id}, {_holds_up(holder, until, now)}"
    yield Wait(kind=WaitKind.WORKSPACE, words=words, until=until, place=place, behind=holder.job_id)


def _holds_up(holder: Job, until: datetime | None, now: datetime) -> str:
    if until is None:
        return f"which is {holder.status}"
    at = clock(until, now)
    if holder.status is Status.PROCESSING:
        stage = "whose call is not answered yet" if holder.accepted_at is None else "which is at the robot"
        return f"{stage}, until {at} at the latest" if until > now else f"whose deadline of {at} has passed"
    if holder.status is Status.FAILED:
        return f"which has failed: the robot may be at it until {at}"
    return f"which is completed: the next one is called at {at}"


def _robot(job: Job, now: datetime) -> Wait:
    """Return what a job waits for whose call may have left."""
    until = job.decide_at
    late = "" if until is None else f", until {clock(until, now)} at the latest"
    if until is not None and until <= now:
        over = f"its deadline of {clock(until, now)} has passed" if job.stop is None else "it is given up"
        late = f"; {over}, and it is decided when all reports are read"
    if job.accepted_at is None:
        words = f"the robot's answer to its call{late}"
        return Wait(kind=WaitKind.ANSWER, words=words, since=job.claimed_at, until=until)
    unreported = job.reported(OrderStatus.UNREPORTED)
    if not job.orders:
        what = "its completion"
    elif len(job.orders) == job.order_count:
        what = f"the robot's report of {unreported} of {len(job.orders)} orders"
    else:
        what = "its batch_completed, as some of its orders share an item id, by which reports do not tell them apart"
    return Wait(kind=WaitKind.REPORTS, words=what + late, since=job.accepted_at, until=until)


def orders_of_row(job: Job) -> list[Order]:
    """Return a job's orders as far as its row names them: enough to say whether it may be sent again, and no more."""
    named = [one.item_id for one in job.orders] or [UNNAMED] * (job.order_count or 0)
    if len(named) != job.order_count:
        # Several of its orders share an item id, and the row does not say which.
        named *= 2
    return [Order(itemId=item_id, orderId=UNNAMED, pedidoInput={}) for item_id in named]


def send_again(job: Job, orders: Sequence[Order] | None, now: datetime) -> SendAgain:
    """Return whether a job may be sent again without a look at the courier's portal.

    `orders` are those of its submission, None if that is gone; or those of its row. What may go is what
    `plan_resubmission` lets go.
    """
    known = known_orders(job, orders or ())
    sure = {one.place: one.item_id for one in known if one.standing in SURELY_NOT_SHIPPED}
    for choice in _choices(frozenset(sure.values())):
        plan = plan_resubmission(job, orders, choice, now)
        if isinstance(plan, Plan) and plan.items.keys() == sure.keys():
            every = len(sure) == len(known)
            only = () if every else tuple(dict.fromkeys(sure.values()))
            because = _because([one.standing for one in known], choice)
            verdict = Verdict.YES if every else Verdict.ORDERS
            return SendAgain(verdict, because, only, choice, resubmit_command(job.key, choice))
    # Of all choices this one's refusal says the most.
    refused = plan_resubmission(job, orders, Choice(group=Group.ALL, new_item_ids=True), now)
    assert isinstance(refused, Refusal)  # noqa: S101 # narrows the type; else it would have been among the choices
    return SendAgain(Verdict.NO, refused.reason)


def _choices(named: frozenset[str]) -> Iterator[Choice]:
    """Yield what could be said, the shortest first."""
    for new_item_ids, group in product((False, True), Group):
        yield Choice(group=group, new_item_ids=new_item_ids)
    for new_item_ids in (False, True):
        yield Choice(group=None, named=named, new_item_ids=new_item_ids)


def _because(standings: Sequence[Standing], choice: Choice) -> str:
    sure = [one for one in standings if one in SURELY_NOT_SHIPPED]
    shipped = standings.count(Standing.SHIPPED)
    doubtful = len(standings) - len(sure) - shipped
    why = "never reached the robot" if Standing.NEVER_SENT in sure else "failed before they were sent to the courier"
    parts = [f"{len(sure)} of {len(standings)} orders {why}"]
    if shipped:
        parts.append(f"{shipped} reported as success")
    if doubtful:
        parts.append(f"{doubtful} may have shipped: look at the courier's portal")
    if choice.new_item_ids:
        parts.append("with --new-item-ids, or a late report would be taken for one of the new job")
    return "; ".join(parts)
