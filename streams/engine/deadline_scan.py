"""Deadlines and calls that broke: the jobs that are due, and their way through the barrier."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from streams.core.events import CallFailed, DeadlinePassed, RobotAccepted
from streams.core.job import BUSY_STATUSES
from streams.engine.barrier import BehindError, Offsets, ReadBarrier
from streams.engine.ledger import Ledger
from streams.engine.ports import OpenTransaction, UnreadableError
from streams.engine.runtime import Runtime
from streams.names import LogEvent
from streams.wire.records import TopicPartition
from streams.wire.rows import utc_text

# The group's offsets are committed every quarter of a second; asking more often tells nothing new.
RETRY_SECONDS = 0.1
# From then on what stands still is worth a log line, and is asked less often.
HELD_WARNING_SECONDS = 10.0
HELD_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Due:
    """A failure to decide, and since when it is one."""

    event: DeadlinePassed | CallFailed
    since: datetime


@dataclass(slots=True)
class _Pass:
    """Failures of one partition on their way through the barrier, which was built up after they came."""

    due: list[_Due]
    ends: Offsets | None = None
    ends_read_at: datetime | None = None
    # Read again when nothing lies elsewhere: those of the own partition count.
    own_ends: Offsets | None = None


class OpenPartitions(Protocol):
    """The partitions that are here, as far as failures concern them."""

    @property
    def numbers(self) -> Sequence[int]:
        """The partitions that are here, loaded or not."""

    def open_ledgers(self) -> Sequence[Ledger]:
        """Return the ledgers of those that are loaded."""

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
        # By partition, until that is loaded.
        self._early: dict[int, list[CallFailed]] = {}
        # The places that keep a decision waiting, None for Kafka itself; those that were told of.
        self._behind_since: dict[TopicPartition | None, datetime] = {}
        self._told: set[TopicPartition | None] = set()

    def take_answer(self, partition: int, event: RobotAccepted | CallFailed) -> None:
        """Hand over the robot's answer to a call.

        A robot that may have the batch may have reported it too: the job then fails only behind the barrier. So does
        any that is followed order by order: the robot reports orders before it refuses a batch, and what was reported
        belies a refusal before any effect. Of a partition that is still being loaded nobody can say which jobs are
        followed: a failure waits until it is. One of a partition that has moved away is lost.
        """
        if isinstance(event, RobotAccepted):
            self._partitions.report(partition, event)
            return
        ledger = next((one for one in self._partitions.open_ledgers() if one.partition == partition), None)
        if ledger is None:
            self._early.setdefault(partition, []).append(event)
            return
        if event.robot_may_have_received or ledger.follows(event.key):
            if event.robot_status in BUSY_STATUSES:
                # That much is certain by now, however long the rest may take.
                ledger.pause(event, self._now())
            self._due.setdefault(ledger, []).append(_Due(event, self._now()))
        else:
            self._partitions.report(partition, event)

    def collect(self, now: datetime) -> bool:
        """Take the jobs that have become due; return whether any waits for a decision."""
        self._take_early()
        for ledger in self._partitions.open_ledgers():
            if keys := ledger.take_due(now):
                self._due.setdefault(ledger, []).extend(_Due(DeadlinePassed(key), now) for key in keys)
        return bool(self._due)

    def _take_early(self) -> None:
        """Take the failures of partitions that have been loaded since."""
        loaded = {ledger.partition for ledger in self._partitions.open_ledgers()}
        for number in list(self._early):
            if number in loaded:
                for event in self._early.pop(number):
                    self.take_answer(number, event)
            elif number not in self._partitions.numbers:
                del self._early[number]

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

    async def _go_on(self) -> dict[TopicPartition | None, str]:
        """Take every pass as far as the log allows it now; return which completions and reports are in the way."""
        behind: dict[TopicPartition | None, str] = {}
        try:
            await self._begin_passes()
            await self._look_elsewhere(behind)
        except UnreadableError as error:
            behind[None] = str(error)
            return behind
        for ledger, one in list(self._passes.items()):
            if one.own_ends is None:
                continue
            try:
                await self._barrier.check_applied(ledger, one.own_ends)
            except BehindError as error:
                behind |= dict.fromkeys(error.places, str(error))
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
        again: list[_Due] = []
        for due in one.due:
            if not ledger.has_job(due.event.key):
                # It was completed meanwhile, and forgotten.
                continue
            deadline = ledger.deadline_of(due.event.key)
            if isinstance(due.event, DeadlinePassed) and (deadline is None or now < deadline):
                # It was put off, and called again: it comes again when its time has come.
                continue
            if deadline is not None and one.ends_read_at is not None and one.ends_read_at < deadline <= now:
                again.append(due)
            else:
                self._partitions.decide(ledger, due.event)
        if again:
            # In front of a deadline that has come meanwhile: what the robot has said counts before that.
            self._due[ledger] = again + self._due.get(ledger, [])

    async def _begin_passes(self) -> None:
        """Read the ends for what waits: whatever comes after this has to wait for the next pass."""
        for ledger in [ledger for ledger in self._due if ledger not in self._passes]:
            self._passes[ledger] = _Pass(self._due.pop(ledger))
        beginning = [one for one in self._passes.values() if one.ends is None]
        if beginning:
            read_at, ends = self._now(), await self._barrier.ends()
            for one in beginning:
                one.ends, one.ends_read_at = ends, read_at

    async def _look_elsewhere(self, behind: dict[TopicPartition | None, str]) -> None:
        """Let those jobs go on that nothing in another partition may complete; the others begin anew."""
        looking = {ledger: one for ledger, one in self._passes.items() if one.own_ends is None}
        if not looking:
            return
        committed = await self._barrier.committed()
        clear = []
        for ledger, one in looking.items():
            keys = {due.event.key for due in one.due}
            try:
                found = await self._barrier.find_elsewhere(ledger.partition, keys, one.ends or {}, committed)
            except BehindError as error:
                behind |= dict.fromkeys(error.places, str(error))
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
            for _, one in clear:
                one.own_ends = ends

    def _show_held(self) -> float:
        """Show for how long each partition's jobs have waited; return the longest."""
        now, longest = self._now(), 0.0
        for ledger in self._partitions.open_ledgers():
            waiting = [*self._due.get(ledger, ()), *(self._passes[ledger].due if ledger in self._passes else ())]
            held = max(((now - due.since).total_seconds() for due in waiting), default=0.0)
            self._journal.metrics.deadlines_held.labels(ledger.partition).set(held)
            longest = max(longest, held)
        return longest

    async def _show_behind(self, behind: Mapping[TopicPartition | None, str]) -> None:
        """Show which places keep decisions waiting, and tell once of each what is known."""
        now = self._now()
        for place in self._behind_since.keys() - behind.keys():
            del self._behind_since[place]
            self._told.discard(place)
            if place is not None:
                self._journal.metrics.completions_behind.labels(*place).set(0)
        for place, reason in behind.items():
            held = (now - self._behind_since.setdefault(place, now)).total_seconds()
            if place is not None:
                self._journal.metrics.completions_behind.labels(*place).set(held)
            if held > HELD_WARNING_SECONDS and place not in self._told:
                self._told.add(place)
                await self._tell(place, held, reason)

    async def _tell(self, place: TopicPartition | None, held: float, reason: str) -> None:
        open_transactions = []
        if place is not None:
            try:
                open_transactions = await self._barrier.open_transactions(place)
            except UnreadableError as error:
                reason = f"{reason}; whether a transaction is open there is not known: {error}"
        self._journal.warning(
            LogEvent.DEADLINES_HELD,
            held_seconds=round(held, 1),
            topic=None if place is None else place.topic,
            partition=None if place is None else place.partition,
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
