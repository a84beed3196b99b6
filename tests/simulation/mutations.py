"""The mechanisms of the engine, taken away one at a time: each must be missed."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from streams.core import transition as core
from streams.core.deadlines import Deadlines
from streams.core.events import CallFailed, Cancelled, DeadlinePassed, GivenUp, JobSubmitted, OrderReported
from streams.core.job import Job, JobKey, OrderResult, Status
from streams.core.table import JobTable
from streams.core.transition import State
from streams.dev.violations import ViolationKind as Kind
from streams.engine import calls
from streams.engine.barrier import ReadBarrier
from streams.engine.deadline_scan import DeadlineScan
from streams.engine.holes import HoleCheck
from streams.engine.ledger import Ledger
from streams.engine.ports import Answer, Rejected, Unknown
from streams.engine.submissions import Submissions
from streams.engine.watchdog import Watchdog
from streams.names import Topic
from streams.wire import intake
from streams.wire.records import NewRecord
from streams.wire.rows import encode_row, job_in, load_entry
from tests.simulation.broker import RefusedError, SimulatedBroker, SimulatedPartitionLog, SimulatedReader
from tests.simulation.world import BURNT, INTRUSION, REPORT_IGNORED

Mutation = Callable[[pytest.MonkeyPatch], None]


def without_the_fence(patch: pytest.MonkeyPatch) -> None:
    """A former owner's writes are taken as if it were the owner."""

    def current(self: SimulatedBroker, transactional_id: str, _epoch: int) -> Any:
        return self._transactions[transactional_id]

    patch.setattr(SimulatedBroker, "_current", current)


def effects_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """The commit is under way when the acknowledgements and calls already happen."""
    real = SimulatedPartitionLog.commit

    async def commit(self: SimulatedPartitionLog, records: Sequence[NewRecord]) -> None:
        before = self._pending if hasattr(self, "_pending") else None

        async def later() -> None:
            if before is not None:
                await before
            await real(self, records)

        self._pending = asyncio.get_running_loop().create_task(later())  # type: ignore[attr-defined] # the mutation's

    patch.setattr(SimulatedPartitionLog, "commit", commit)


def deliveries_not_awaited(patch: pytest.MonkeyPatch) -> None:
    """A record that the broker refuses is missing from a transaction that is committed all the same."""
    real = SimulatedBroker.produce

    def produce(self: SimulatedBroker, transactional_id: str, epoch: int, record: NewRecord) -> None:
        try:
            real(self, transactional_id, epoch, record)
        except RefusedError:
            return

    patch.setattr(SimulatedBroker, "produce", produce)


async def nothing(*_args: Any) -> None:
    """Do nothing, in the place of what looks or waits."""


async def nothing_found(*_args: Any) -> dict[JobKey, int]:
    """Return what a look at other partitions finds when there is nothing."""
    return {}


def no_read_barrier(patch: pytest.MonkeyPatch) -> None:
    """A deadline is decided without looking at the completions that are in the log."""
    no_wait_for_forwarding(patch)
    own_partition_not_waited_for(patch)


def no_wait_for_forwarding(patch: pytest.MonkeyPatch) -> None:
    """A deadline is decided without waiting for the completions that lie in other partitions."""
    patch.setattr(ReadBarrier, "find_elsewhere", nothing_found)


def own_partition_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """A deadline is decided without waiting for the completions that lie in the job's own partition."""
    patch.setattr(ReadBarrier, "check_applied", nothing)


def names_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    """What lies undecided or not yet forwarded in another partition is looked through, but not for whose it is."""
    patch.setattr("streams.engine.barrier.jobs_named", lambda _record: set())


def broken_calls_skip_the_barrier(patch: pytest.MonkeyPatch) -> None:
    """A call that broke fails its job at once, although the robot may have reported the batch by then."""

    def take_answer(self: DeadlineScan, partition: int, event: Any) -> None:
        self._partitions.report(partition, event)

    patch.setattr(DeadlineScan, "take_answer", take_answer)


def refusals_skip_the_barrier(patch: pytest.MonkeyPatch) -> None:
    """A refused batch that is followed order by order fails at once, although the robot may have reported all of it."""
    patch.setattr(Ledger, "follows", lambda _self, _key: False)


def ends_read_as_committed(patch: pytest.MonkeyPatch) -> None:
    """The barrier asks for the last stable offset, which misses records that are in the log."""

    async def end_offsets(self: SimulatedReader, topic: str) -> dict[int, int]:
        await self._io()
        return self._of_every_partition(topic, self._broker.last_stable_offset)

    patch.setattr(SimulatedReader, "end_offsets", end_offsets)


def no_duplicate_check(patch: pytest.MonkeyPatch) -> None:
    """A submission of a job that has ended begins it anew."""
    cells: dict[Any, Any] = core.TABLE
    patch.setitem(cells, (State.COMPLETED, JobSubmitted), cells[State.ABSENT, JobSubmitted])


def no_age_limit(patch: pytest.MonkeyPatch) -> None:
    """A submission that is older than the table's memory is taken for a new one."""
    patch.setattr(Deadlines, "row_may_be_gone", lambda *_args: False)
    patch.setattr(Deadlines, "too_old_to_call", lambda *_args: False)


def no_pause_of_the_workspace(patch: pytest.MonkeyPatch) -> None:
    """The next batch is sent as soon as the last one has been reported."""

    def deadlines(**durations: timedelta) -> Deadlines:
        return Deadlines(**{**durations, "workspace_pause": timedelta(0)})

    patch.setattr("tests.simulation.world.Deadlines", deadlines)


def no_forwarding(patch: pytest.MonkeyPatch) -> None:
    """A record is worked on wherever it was written."""

    def interpret(record: Any, partitions: int, *more: Any) -> Any:
        meaning = intake.interpret(record, partitions, *more)
        if not isinstance(meaning, intake.Forward):
            return meaning
        return intake.interpret(dataclasses.replace(record, partition=meaning.target), partitions, *more)

    patch.setattr("streams.engine.ledger.interpret", interpret)


def no_hole_check(patch: pytest.MonkeyPatch) -> None:
    """Records that were dropped on their way are not missed when the next ones come."""

    async def passed(*_args: Any) -> bool:
        return True

    patch.setattr(HoleCheck, "check", passed)


def no_watchdog(patch: pytest.MonkeyPatch) -> None:
    """Records that were dropped on their way are not missed when nothing comes after them."""
    patch.setattr(Watchdog, "look", nothing)


def put_off_after(patch: pytest.MonkeyPatch, begun: type[Rejected] | type[Unknown]) -> None:
    """A call that the robot may have begun is made again."""

    def repeated(key: JobKey, answer: Answer, now: datetime) -> Any:
        event = real(key, answer, now)
        may_be = isinstance(answer, begun) and isinstance(event, CallFailed)
        return replace(event, may_be_repeated=True) if may_be else event

    real: Callable[..., Any] = calls.event_of
    patch.setattr("streams.engine.calls.event_of", repeated)


def put_off_after_any_refusal(patch: pytest.MonkeyPatch) -> None:
    """A call is made again after any answer that is no acceptance, also after a 500."""
    put_off_after(patch, Rejected)


def put_off_after_a_broken_call(patch: pytest.MonkeyPatch) -> None:
    """A call is made again after an answer that was not read."""
    put_off_after(patch, Unknown)


def rows_at_the_robot_loaded_as(patch: pytest.MonkeyPatch, changed: Callable[[Job], Job]) -> None:
    """A new owner finds the jobs that were called otherwise than they were left."""

    def load(key: bytes, value: bytes | None) -> object:
        job = job_in(key, value)
        at_robot = job is not None and job.status is Status.PROCESSING
        return load_entry(key, encode_row(changed(job)) if job is not None and at_robot else value)

    patch.setattr("streams.engine.ledger.load_entry", load)


def put_off_by_whoever_opens_the_partition(patch: pytest.MonkeyPatch) -> None:
    """A new owner takes a call without an answer for one that was refused: two owners put the same job off."""

    def pending(row: Job) -> Job:
        return row if row.accepted_at else replace(row, status=Status.PENDING, claimed_at=None, deadline=None)

    rows_at_the_robot_loaded_as(patch, pending)


def no_back_off(patch: pytest.MonkeyPatch) -> None:
    """A workspace that the robot refuses is called again at once."""
    patch.setattr(Deadlines, "back_off", lambda *_args: timedelta(0))


def no_patience(patch: pytest.MonkeyPatch) -> None:
    """A job that was put off once fails at the next refusal."""
    cells: dict[Any, Any] = core.TABLE
    real = cells[State.CALLED, CallFailed]

    def cell(job: Any, event: Any, now: datetime, deadlines: Deadlines) -> Any:
        return real(job, event if job.put_off is None else replace(event, may_be_repeated=False), now, deadlines)

    patch.setitem(cells, (State.CALLED, CallFailed), cell)


def reports_skip_the_barrier(patch: pytest.MonkeyPatch) -> None:
    """A deadline is decided without looking at the reports that are in the log."""
    patch.setattr("streams.engine.barrier.REPORT_TOPICS", (Topic.BATCH_COMPLETED,))


def reports_lost_in_the_row(patch: pytest.MonkeyPatch) -> None:
    """A new owner finds a job at the robot without what was reported of it."""

    def unreported(row: Job) -> Job:
        return replace(row, orders=tuple(OrderResult(order.item_id) for order in row.orders))

    rows_at_the_robot_loaded_as(patch, unreported)


def nothing_amended(patch: pytest.MonkeyPatch) -> None:
    """What becomes known late is written down, and told to nobody."""
    patch.setattr("streams.engine.ledger.PublishAmendment", object)


def words_not_scrubbed(patch: pytest.MonkeyPatch) -> None:
    """What the robot says of an order is passed on as it came."""

    async def as_it_came(_self: Submissions, _job: Job, report: OrderResult) -> OrderResult:
        return report

    patch.setattr(Submissions, "scrubbed", as_it_came)


def reports_credited_to_another_job(patch: pytest.MonkeyPatch) -> None:
    """A report is taken by whichever job has such an order, as with a callback that names only the order."""
    real = intake.interpret

    def interpret(record: Any, *more: Any) -> Any:
        meaning = real(record, *more)
        if isinstance(meaning, intake.Apply) and isinstance(meaning.event, OrderReported):
            key = meaning.event.key._replace(job_id=f"job-{int(meaning.event.key.job_id[4:]) + 1}")
            return intake.Apply(replace(meaning.event, key=key))
        return meaning

    patch.setattr("streams.engine.ledger.interpret", interpret)


def decisions_lost_with_their_owner(patch: pytest.MonkeyPatch) -> None:
    """A new owner knows neither what is held nor what was decided."""
    patch.setattr(JobTable, "load_decision", lambda *_args: None)


def given_up_at_once(patch: pytest.MonkeyPatch) -> None:
    """A job that is given up ends without a look at what is in the log."""
    cells: dict[Any, Any] = core.TABLE

    def cell(job: Any, event: Any, now: datetime, deadlines: Deadlines) -> Any:
        row, *_ = cells[State.CALLED, GivenUp](job, event, now, deadlines)
        return cells[State.ACCEPTED, DeadlinePassed](row, DeadlinePassed(event.key), now, deadlines)

    patch.setitem(cells, (State.ACCEPTED, GivenUp), cell)


def cancelled_at_the_robot(patch: pytest.MonkeyPatch) -> None:
    """A job is cancelled although its call may have left."""
    cells: dict[Any, Any] = core.TABLE
    for state in (State.CALLED, State.ACCEPTED):
        patch.setitem(cells, (state, Cancelled), cells[State.PENDING, Cancelled])


# Each with what it must lead to, all of it, somewhere, and the seeds with which it did when somebody last looked.
# Those come first, only to save time.
MUTATIONS: tuple[tuple[Mutation, set[str], tuple[int, ...]], ...] = (
    (without_the_fence, {Kind.SEVERAL_OUTCOMES, Kind.POSTED_TWICE}, (291, 396)),
    (effects_before_the_commit, {Kind.POSTED_TWICE, Kind.NO_OUTCOME, Kind.UNACCOUNTED}, (1, 12, 15)),
    (deliveries_not_awaited, {Kind.NO_OUTCOME, Kind.UNACCOUNTED}, (1,)),
    (no_read_barrier, {Kind.COMPLETION_IGNORED}, (6,)),
    (no_wait_for_forwarding, {Kind.COMPLETION_IGNORED}, (11,)),
    (own_partition_not_waited_for, {Kind.COMPLETION_IGNORED}, (5,)),
    (names_not_looked_at, {Kind.COMPLETION_IGNORED}, (14,)),
    (broken_calls_skip_the_barrier, {REPORT_IGNORED}, (16,)),
    (refusals_skip_the_barrier, {Kind.REPORTS_IGNORED}, (19,)),
    (ends_read_as_committed, {Kind.COMPLETION_IGNORED}, (2,)),
    (no_duplicate_check, {Kind.POSTED_TWICE, Kind.SEVERAL_OUTCOMES}, (2,)),
    (no_age_limit, {Kind.POSTED_TWICE, Kind.SEVERAL_OUTCOMES}, (31, 43)),
    (no_pause_of_the_workspace, {INTRUSION}, (8,)),
    (no_forwarding, {Kind.POSTED_TWICE, Kind.SEVERAL_OUTCOMES, Kind.COMPLETION_IGNORED}, (5,)),
    (no_hole_check, {Kind.NO_OUTCOME, Kind.UNACCOUNTED}, (12, 79)),
    (no_watchdog, {Kind.NO_OUTCOME, Kind.UNACCOUNTED}, (62, 141)),
    (put_off_after_any_refusal, {Kind.POSTED_TWICE}, (3,)),
    (put_off_after_a_broken_call, {Kind.POSTED_TWICE}, (5,)),
    (put_off_by_whoever_opens_the_partition, {Kind.POSTED_TWICE}, (29,)),
    (no_back_off, {BURNT}, (11,)),
    (no_patience, {BURNT}, (0,)),
    (reports_skip_the_barrier, {Kind.REPORTS_IGNORED}, (54,)),
    (reports_lost_in_the_row, {Kind.REPORTS_IGNORED, Kind.UNACCOUNTED}, (44, 107)),
    (nothing_amended, {Kind.UNACCOUNTED}, (3,)),
    (words_not_scrubbed, {Kind.SECRET}, (1,)),
    (decisions_lost_with_their_owner, {Kind.CLAIMED_IN_A_HOLD, Kind.DECIDED_AGAIN}, (17, 18)),
    (given_up_at_once, {Kind.COMPLETION_IGNORED}, (121,)),
    (cancelled_at_the_robot, {Kind.POST_DENIED}, (4,)),
    (reports_credited_to_another_job, {Kind.REPORTS_IGNORED}, (3,)),
)
