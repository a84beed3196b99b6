"""Deadlines and calls that broke: such a job fails only when no completion of it can lie in the log unapplied."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from streams.core.events import CallFailed, DeadlinePassed, RobotAccepted
from streams.core.job import JobKey
from streams.engine.gaps import Gaps
from streams.engine.ledger import Ledger
from streams.engine.ports import OpenTransaction, UndecidedReader, UnreadableError
from streams.engine.runtime import Runtime
from streams.names import LogEvent, Topic
from streams.wire.intake import jobs_named
from streams.wire.records import TopicPartition
from streams.wire.rows import utc_text

# The group's offsets are committed every quarter of a second; asking more often tells nothing new.
RETRY_SECONDS = 0.1
# From then on what stands still is worth a log line, and is asked less often.
HELD_WARNING_SECONDS = 10.0
HELD_RETRY_SECONDS = 1.0
# How many jobs may be named in what is looked through ahead of a partition's owner, how much of it is read before
# others have their turn, and how many records at once: the event loop stands still meanwhile, for about 10 ms.
PEEK_MAX_JOBS = 10_000
PEEK_MAX_BYTES = 10_000_000
PEEK_SLICE = 200


class BehindError(Exception):
    """Completions partitions have not been applied as far as they must be before a deadline is decided."""

    def __init__(self, partitions: Iterable[int]) -> None:
        self.partitions = sorted(partitions)
        super().__init__(f"{Topic.BATCH_COMPLETED} partitions {self.partitions} are behind")


@dataclass(slots=True)
class _Peeked:
    """The jobs named in [start, end) of a partition, each with the last offset that names it."""

    start: int
    end: int
    jobs: dict[JobKey, int] = field(default_factory=dict)

    def forget_before(self, position: int) -> None:
        """Move the start: what lies before it has been forwarded."""
        if position > self.start:
            self.start = position
            self.jobs = {key: offset for key, offset in self.jobs.items() if offset >= position}


class ReadBarrier:
    """Tells whether a completion of a job that lay in the log at a moment may still be unapplied.

    It lies below the ends that were read at that moment. In the job's own partition: applied, when the ledger has
    passed the end. In another one: either below the offset that the group has committed there, and an offset is
    committed only after what follows from its record, so its copy lies in the job's own partition, below the end that
    is read there next. Or above, and then it is found there by its job's ids, whether its transaction is decided or
    not. So a job that nothing names there, and whose own partition is applied up to the second reading, has none.
    The own partition is not looked through: what lies there has to be applied in any case.
    """

    def __init__(self, reader: UndecidedReader) -> None:
        self._reader = reader
        self._gaps = Gaps(reader)
        self._peeked: dict[int, _Peeked] = {}
        # Where the last read was in vain: it is not tried again while a transaction is open there.
        self._undecided: set[int] = set()

    async def ends(self) -> dict[int, int]:
        """Return the high watermarks now. Raises UnreadableError without a fresh answer."""
        return await self._reader.end_offsets(Topic.BATCH_COMPLETED)

    async def committed(self) -> dict[int, int]:
        """Return how far the group has committed by now. Raises UnreadableError."""
        return await self._reader.committed_offsets(Topic.BATCH_COMPLETED)

    async def find_elsewhere(
        self, home: int, keys: Collection[JobKey], ends: Mapping[int, int], committed: Mapping[int, int]
    ) -> dict[JobKey, int]:
        """Return the jobs of a partition that something not yet forwarded may complete, with where that lies.

        It lies between the committed offsets and the ends, which were read before. Raises BehindError with the
        partitions where that cannot be told, because too much lies there or nobody answers.
        """
        found: dict[JobKey, int] = {}
        blind = []
        for number, end in ends.items():
            if number == home or committed[number] >= end:
                continue
            named = await self._jobs_named(number, committed[number], end)
            concerned = keys if named is None else [key for key in keys if key in named]
            if concerned and not await self._passed_or_unknown(number, committed[number], end):
                if named is None:
                    blind.append(number)
                found |= dict.fromkeys(concerned, number)
        if blind:
            raise BehindError(blind)
        return found

    async def check_applied(self, ledger: Ledger, end: int) -> None:
        """Return if the ledger has applied its own partition up to the end. Raises BehindError or UnreadableError."""
        if not await self._passed(ledger.partition, ledger.processed(Topic.BATCH_COMPLETED), end):
            raise BehindError([ledger.partition])

    async def open_transactions(self, partition: int) -> list[OpenTransaction]:
        """Return the transactions that nobody has decided yet. Raises UnreadableError."""
        return await self._reader.open_transactions(TopicPartition(Topic.BATCH_COMPLETED, partition))

    async def _jobs_named(self, partition: int, position: int, end: int) -> Collection[JobKey] | None:
        """Return the jobs that are named in [position, end) or behind it; None if that cannot be told now."""
        peeked = self._peeked.get(partition)
        if peeked is None or not peeked.start <= position <= peeked.end:
            peeked = self._peeked[partition] = _Peeked(position, position)
        peeked.forget_before(position)
        place, size = TopicPartition(Topic.BATCH_COMPLETED, partition), 0
        while peeked.end < end:
            room = PEEK_MAX_JOBS - len(peeked.jobs)
            if room <= 0 or size > PEEK_MAX_BYTES:
                return None
            try:
                records, looked_to = await self._reader.peek(place, peeked.end, end, limit=min(room, PEEK_SLICE))
            except UnreadableError:
                return None
            for record in records:
                size += len(record.value or b"")
                peeked.jobs |= dict.fromkeys(jobs_named(record), record.offset)
            peeked.end = looked_to
        return peeked.jobs.keys()

    async def _is_open_before(self, partition: int, end: int) -> bool:
        """Whether a transaction is known to be open there: a broker that cannot say so keeps nobody from reading."""
        try:
            return any(transaction.start_offset < end for transaction in await self.open_transactions(partition))
        except UnreadableError:
            return False

    async def _passed_or_unknown(self, partition: int, position: int, end: int) -> bool:
        try:
            return await self._passed(partition, position, end)
        except UnreadableError:
            return False

    async def _passed(self, partition: int, position: int, end: int) -> bool:
        """Whether a position has passed an end, of which markers, aborted and expired records are no part."""
        place = TopicPartition(Topic.BATCH_COMPLETED, partition)
        if self._gaps.skip(place, position) >= end:
            return True
        if partition in self._undecided:
            if await self._is_open_before(partition, end):
                return False
            self._undecided.remove(partition)
        try:
            return await self._gaps.next_record(place, position, end) >= end
        except UnreadableError:
            self._undecided.add(partition)
            raise


@dataclass(frozen=True, slots=True)
class _Due:
    """A failure to decide, and since when it is one."""

    event: DeadlinePassed | CallFailed
    since: datetime


@dataclass(slots=True)
class _Pass:
    """Failures of one partition on their way through the barrier, which was built up after they came."""

    due: list[_Due]
    ends: Mapping[int, int] | None = None
    ends_read_at: datetime | None = None
    # That of the own partition, read again when nothing lies elsewhere.
    end: int | None = None


class OpenPartitions(Protocol):
    """The partitions that are here and loaded, as far as failures concern them."""

    def open_ledgers(self) -> Sequence[Ledger]:
        """Return their ledgers."""

    def report(self, number: int, event: RobotAccepted | CallFailed) -> None:
        """Take the robot's answer to a partition."""

    def decide(self, ledger: Ledger, event: DeadlinePassed | CallFailed) -> None:
        """Take a failure that has been decided to a ledger."""


class DeadlineScan:
    """Finds the jobs that are due, takes those whose call broke, and fails them, many behind one reading of the log."""

    def __init__(self, partitions: OpenPartitions, barrier: ReadBarrier, runtime: Runtime) -> None:
        self._partitions = partitions
        self._barrier = barrier
        self._now = runtime.now
        self._journal = runtime.journal
        self._due: dict[Ledger, list[_Due]] = {}
        self._passes: dict[Ledger, _Pass] = {}
        # The completions partitions that keep a decision waiting, None for Kafka itself; those that were told of.
        self._behind_since: dict[int | None, datetime] = {}
        self._told: set[int | None] = set()

    def answered(self, partition: int, event: RobotAccepted | CallFailed) -> None:
        """Hand over the robot's answer to a call.

        A robot that may have the batch may have reported it too: the job then fails only behind the barrier.
        """
        if isinstance(event, RobotAccepted) or not event.robot_may_have_received:
            self._partitions.report(partition, event)
            return
        for ledger in self._partitions.open_ledgers():
            if ledger.partition == partition:
                self._due.setdefault(ledger, []).append(_Due(event, self._now()))

    def collect(self, now: datetime) -> bool:
        """Take the jobs that have become due; return whether any waits for a decision."""
        for ledger in self._partitions.open_ledgers():
            if keys := ledger.take_due(now):
                self._due.setdefault(ledger, []).extend(_Due(DeadlinePassed(key), now) for key in keys)
        return bool(self._due)

    async def decide(self) -> None:
        """Decide the jobs that were collected, each as soon as the log allows it; return when none waits."""
        while True:
            self._drop_what_is_gone()
            if not self._due and not self._passes:
                await self._show_behind({})
                return
            behind = await self._go_on()
            held = self._show_held()
            await self._show_behind(behind)
            if self._due or self._passes:
                await asyncio.sleep(RETRY_SECONDS if held < HELD_WARNING_SECONDS else HELD_RETRY_SECONDS)

    def _drop_what_is_gone(self) -> None:
        """Leave partitions that have moved away to their new owners."""
        here = set(self._partitions.open_ledgers())
        for waiting in (self._due, self._passes):
            for ledger in [ledger for ledger in waiting if ledger not in here]:
                waiting.pop(ledger)
                self._journal.metrics.deadlines_held.labels(ledger.partition).set(0)

    async def _go_on(self) -> dict[int | None, str]:
        """Take every pass as far as the log allows it now; return which completions partitions are in the way."""
        behind: dict[int | None, str] = {}
        try:
            await self._begin_passes()
            await self._look_elsewhere(behind)
        except UnreadableError as error:
            behind[None] = str(error)
            return behind
        for ledger, one in list(self._passes.items()):
            if one.end is None:
                continue
            try:
                await self._barrier.check_applied(ledger, one.end)
            except (BehindError, UnreadableError) as error:
                behind[ledger.partition] = str(error)
                continue
            del self._passes[ledger]
            if ledger in self._partitions.open_ledgers():
                self._decide_all(ledger, one)
        return behind

    def _decide_all(self, ledger: Ledger, one: _Pass) -> None:
        """Decide the failures of a pass; those that began before their jobs' deadlines and end behind them begin anew.

        A completion that came before the deadline counts, also one that came after the call was seen to fail.
        """
        now = self._now()
        for due in one.due:
            deadline = ledger.deadline_of(due.event.key)
            if deadline is not None and one.ends_read_at is not None and one.ends_read_at < deadline <= now:
                self._due.setdefault(ledger, []).append(due)
            else:
                self._partitions.decide(ledger, due.event)

    async def _begin_passes(self) -> None:
        """Read the ends for what waits: whatever comes after this has to wait for the next pass."""
        for ledger in [ledger for ledger in self._due if ledger not in self._passes]:
            self._passes[ledger] = _Pass(self._due.pop(ledger))
        beginning = [one for one in self._passes.values() if one.ends is None]
        if beginning:
            read_at, ends = self._now(), await self._barrier.ends()
            for one in beginning:
                one.ends, one.ends_read_at = ends, read_at

    async def _look_elsewhere(self, behind: dict[int | None, str]) -> None:
        """Let those jobs go on that nothing in another partition may complete; the others begin anew."""
        looking = {ledger: one for ledger, one in self._passes.items() if one.end is None}
        if not looking:
            return
        committed = await self._barrier.committed()
        clear = []
        for ledger, one in looking.items():
            keys = {due.event.key for due in one.due}
            try:
                found = await self._barrier.find_elsewhere(ledger.partition, keys, one.ends or {}, committed)
            except BehindError as error:
                behind |= dict.fromkeys(error.partitions, str(error))
                continue
            behind |= dict.fromkeys(found.values(), "it names a job that is due")
            named = [due for due in one.due if due.event.key in found]
            one.due = [due for due in one.due if due.event.key not in found]
            if named:
                self._due[ledger] = named + self._due.get(ledger, [])
            if one.due:
                clear.append((ledger, one))
            else:
                del self._passes[ledger]
        if clear:
            # Read again: what was forwarded lies above the ends of the first reading.
            ends = await self._barrier.ends()
            for ledger, one in clear:
                one.end = ends[ledger.partition]

    def _show_held(self) -> float:
        """Show for how long each partition's jobs have waited; return the longest."""
        now, longest = self._now(), 0.0
        for ledger in self._partitions.open_ledgers():
            waiting = [*self._due.get(ledger, ()), *(self._passes[ledger].due if ledger in self._passes else ())]
            held = max(((now - due.since).total_seconds() for due in waiting), default=0.0)
            self._journal.metrics.deadlines_held.labels(ledger.partition).set(held)
            longest = max(longest, held)
        return longest

    async def _show_behind(self, behind: Mapping[int | None, str]) -> None:
        """Show which completions partitions keep decisions waiting, and tell once of each what is known."""
        now = self._now()
        for number in self._behind_since.keys() - behind.keys():
            del self._behind_since[number]
            self._told.discard(number)
            if number is not None:
                self._journal.metrics.completions_behind.labels(number).set(0)
        for number, reason in behind.items():
            held = (now - self._behind_since.setdefault(number, now)).total_seconds()
            if number is not None:
                self._journal.metrics.completions_behind.labels(number).set(held)
            if held > HELD_WARNING_SECONDS and number not in self._told:
                self._told.add(number)
                await self._tell(number, held, reason)

    async def _tell(self, number: int | None, held: float, reason: str) -> None:
        open_transactions = []
        if number is not None:
            try:
                open_transactions = await self._barrier.open_transactions(number)
            except UnreadableError as error:
                reason = f"{reason}; whether a transaction is open there is not known: {error}"
        self._journal.warning(
            LogEvent.DEADLINES_HELD,
            held_seconds=round(held, 1),
            topic=Topic.BATCH_COMPLETED.value,
            partition=number,
            error=reason,
            open_transactions=[_described(transaction) for transaction in open_transactions],
        )


def _described(transaction: OpenTransaction) -> dict[str, object]:
    """Return what an operator needs to know of a transaction, and what ends it."""
    topic, partition = transaction.place
    return {
        "producer_id": transaction.producer_id,
        "start_offset": transaction.start_offset,
        "last_written_at": utc_text(transaction.last_written_at),
        "abort_with": "kafka-transactions.sh --bootstrap-server ... abort "
        f"--topic {topic} --partition {partition} --start-offset {transaction.start_offset}",
    }
