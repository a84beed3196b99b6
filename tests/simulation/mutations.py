"""The mechanisms of the engine, taken away one at a time: each must be missed."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from streams.core import transition as core
from streams.core.deadlines import Deadlines
from streams.core.events import JobSubmitted
from streams.core.job import JobKey
from streams.core.transition import State
from streams.dev.history_check import ViolationKind as Kind
from streams.engine.barrier import ReadBarrier
from streams.engine.deadline_scan import DeadlineScan
from streams.engine.holes import HoleCheck
from streams.engine.watchdog import Watchdog
from streams.wire import intake
from streams.wire.records import NewRecord
from tests.simulation.broker import RefusedError, SimulatedBroker, SimulatedPartitionLog, SimulatedReader
from tests.simulation.world import INTRUSION, REPORT_IGNORED

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


async def nothing_found(*_args: Any) -> dict[JobKey, int]:
    """Return what a look at other partitions finds when there is nothing."""
    return {}


def no_read_barrier(patch: pytest.MonkeyPatch) -> None:
    """A deadline is decided without looking at the completions that are in the log."""

    async def nothing(*_args: Any) -> None:
        return

    patch.setattr(ReadBarrier, "find_elsewhere", nothing_found)
    patch.setattr(ReadBarrier, "check_applied", nothing)


def no_wait_for_forwarding(patch: pytest.MonkeyPatch) -> None:
    """A deadline is decided without waiting for the completions that lie in other partitions."""
    patch.setattr(ReadBarrier, "find_elsewhere", nothing_found)


def own_partition_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """A deadline is decided without waiting for the completions that lie in the job's own partition."""

    async def nothing(*_args: Any) -> None:
        return

    patch.setattr(ReadBarrier, "check_applied", nothing)


def names_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    """What lies undecided or not yet forwarded in another partition is looked through, but not for whose it is."""
    patch.setattr("streams.engine.barrier.jobs_named", lambda _record: set())


def broken_calls_skip_the_barrier(patch: pytest.MonkeyPatch) -> None:
    """A call that broke fails its job at once, although the robot may have reported the batch by then."""

    def take_answer(self: DeadlineScan, partition: int, event: Any) -> None:
        self._partitions.report(partition, event)

    patch.setattr(DeadlineScan, "take_answer", take_answer)


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
        return intake.interpret(replace(record, partition=meaning.target), partitions, *more)

    patch.setattr("streams.engine.ledger.interpret", interpret)


def no_hole_check(patch: pytest.MonkeyPatch) -> None:
    """Records that were dropped on their way are not missed when the next ones come."""

    async def passed(*_args: Any) -> bool:
        return True

    patch.setattr(HoleCheck, "check", passed)


def no_watchdog(patch: pytest.MonkeyPatch) -> None:
    """Records that were dropped on their way are not missed when nothing comes after them."""

    async def nothing(*_args: Any) -> None:
        return

    patch.setattr(Watchdog, "look", nothing)


# Each with what it must lead to, all of it, somewhere.
MUTATIONS: tuple[tuple[Mutation, set[str]], ...] = (
    (without_the_fence, {Kind.SEVERAL_OUTCOMES, Kind.POSTED_TWICE}),
    (effects_before_the_commit, {Kind.POSTED_TWICE, Kind.NO_OUTCOME, Kind.UNACCOUNTED}),
    (deliveries_not_awaited, {Kind.NO_OUTCOME, Kind.UNACCOUNTED}),
    (no_read_barrier, {Kind.COMPLETION_IGNORED}),
    (no_wait_for_forwarding, {Kind.COMPLETION_IGNORED}),
    (own_partition_not_waited_for, {Kind.COMPLETION_IGNORED}),
    (names_not_looked_at, {Kind.COMPLETION_IGNORED}),
    (broken_calls_skip_the_barrier, {REPORT_IGNORED}),
    (ends_read_as_committed, {Kind.COMPLETION_IGNORED}),
    (no_duplicate_check, {Kind.POSTED_TWICE, Kind.SEVERAL_OUTCOMES}),
    (no_age_limit, {Kind.POSTED_TWICE, Kind.SEVERAL_OUTCOMES}),
    (no_pause_of_the_workspace, {INTRUSION}),
    (no_forwarding, {Kind.POSTED_TWICE, Kind.SEVERAL_OUTCOMES, Kind.COMPLETION_IGNORED}),
    (no_hole_check, {Kind.NO_OUTCOME, Kind.UNACCOUNTED}),
    (no_watchdog, {Kind.NO_OUTCOME, Kind.UNACCOUNTED}),
)
