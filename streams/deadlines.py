"""Deadlines and calls that broke: such a job fails only when every completion that was in the log has been applied."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import datetime
from functools import partial
from typing import TypeVar

from streams.core.events import CallFailed, DeadlinePassed, RobotAccepted
from streams.gaps import Gaps
from streams.journal import Journal
from streams.ledger import Ledger
from streams.log import LogReader, TopicPartition, UnreadableError
from streams.names import LogEvent, Topic

T = TypeVar("T")

# The group's offsets are committed every quarter of a second; asking more often tells nothing new.
RETRY_SECONDS = 0.1
# From then on a partition that stands still is worth a log line.
HELD_WARNING_SECONDS = 10.0


class BehindError(Exception):
    """A completions partition has not been applied as far as it must be before a deadline is decided."""

    def __init__(self, partitions: Iterable[int]) -> None:
        self.partitions = sorted(partitions)
        super().__init__(f"{Topic.BATCH_COMPLETED} partitions {self.partitions} are behind")


class ReadBarrier:
    """Tells whether what lay in the completions topic at a moment has been applied."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._gaps = Gaps(reader)

    async def ends(self) -> dict[int, int]:
        """Return the high watermarks now. Raises UnreadableError without a fresh answer."""
        return await self._reader.end_offsets(Topic.BATCH_COMPLETED)

    async def check_forwarded(self, ends: dict[int, int]) -> None:
        """Return if every misplaced completion below the ends lies in its own partition by now.

        That is so when the group has committed past the ends: an offset is committed only after what
        follows from its record. Raises BehindError or UnreadableError.
        """
        committed = await self._reader.committed_offsets(Topic.BATCH_COMPLETED)
        behind = [number for number, end in ends.items() if not await self._passed(number, committed[number], end)]
        if behind:
            raise BehindError(behind)

    async def check_applied(self, ledger: Ledger, end: int) -> None:
        """Return if the ledger has applied its own partition up to the end. Raises as above."""
        if not await self._passed(ledger.partition, ledger.processed(Topic.BATCH_COMPLETED), end):
            raise BehindError([ledger.partition])

    async def _passed(self, partition: int, position: int, end: int) -> bool:
        """Whether a position has passed an end, of which markers, aborted and expired records are no part."""
        place = TopicPartition(Topic.BATCH_COMPLETED, partition)
        return await self._gaps.next_record(place, position, end) >= end


class DeadlineScan:
    """Finds the jobs that are due, takes those whose call broke, and fails them, many behind one reading of the log."""

    def __init__(
        self,
        ledgers: Callable[[], Iterable[Ledger]],
        report: Callable[[int, RobotAccepted | CallFailed], None],
        decide: Callable[[Ledger, DeadlinePassed | CallFailed], None],
        barrier: ReadBarrier,
        now: Callable[[], datetime],
        journal: Journal,
    ) -> None:
        self._ledgers = ledgers
        self._report = report
        self._decide = decide
        self._barrier = barrier
        self._now = now
        self._journal = journal
        self._due: dict[Ledger, list[DeadlinePassed | CallFailed]] = {}

    def answered(self, partition: int, event: RobotAccepted | CallFailed) -> None:
        """Hand over the robot's answer to a call.

        A robot that may have the batch may have reported it too: the job then fails only behind the barrier.
        """
        if isinstance(event, RobotAccepted) or not event.robot_may_have_received:
            self._report(partition, event)
            return
        for ledger in self._ledgers():
            if ledger.partition == partition:
                self._due.setdefault(ledger, []).append(event)

    def collect(self, now: datetime) -> bool:
        """Take the jobs that have become due; return whether any waits for a decision."""
        for ledger in self._ledgers():
            if keys := ledger.take_due(now):
                self._due.setdefault(ledger, []).extend(map(DeadlinePassed, keys))
        return bool(self._due)

    async def decide(self) -> None:
        """Decide the jobs that were collected, as soon as the log allows it."""
        due, self._due = self._due, {}
        self._started, self._warned = self._now(), False
        partitions = {ledger.partition for ledger in due}
        ends = await self._until_clear(due, self._barrier.ends)
        await self._until_clear(due, lambda: self._barrier.check_forwarded(ends or {}))
        # Read again: what was forwarded lies above the ends of the first reading.
        ends = await self._until_clear(due, self._barrier.ends)
        for ledger, events in due.items():
            end = (ends or {}).get(ledger.partition, 0)
            await self._until_clear({ledger}, partial(self._barrier.check_applied, ledger, end))
            if ledger in self._ledgers():
                for event in events:
                    self._decide(ledger, event)
        for partition in partitions:
            self._journal.metrics.deadlines_held.labels(partition).set(0)

    async def _until_clear(self, due: Collection[Ledger], check: Callable[[], Awaitable[T]]) -> T | None:
        """Repeat a check until it is clear; give up, with None, when none of the partitions is here any more."""
        while any(ledger in due for ledger in self._ledgers()):
            try:
                return await check()
            except (BehindError, UnreadableError) as error:
                self._show_held(error, due)
                await asyncio.sleep(RETRY_SECONDS)
        return None

    def _show_held(self, error: Exception, due: Iterable[Ledger]) -> None:
        held = (self._now() - self._started).total_seconds()
        for ledger in due:
            self._journal.metrics.deadlines_held.labels(ledger.partition).set(held)
        if held > HELD_WARNING_SECONDS and not self._warned:
            self._journal.warning(LogEvent.DEADLINES_HELD, held_seconds=round(held, 1), error=str(error))
            self._warned = True
