"""The partitions that this worker owns: one ledger each, and the task that drives it."""

import asyncio
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from streams.claims import Claimant
from streams.core.events import CallFailed, DeadlinePassed, RobotAccepted
from streams.journal import Journal
from streams.ledger import Ledger
from streams.log import FencedError, PartitionLog, SourceRecord
from streams.names import LogEvent

# A transaction costs the same for one job as for many: while there is more to do, let it gather this long.
GATHER_SECONDS = 0.01
# How long to wait before a step that the log could not serve is tried again.
RETRY_SECONDS = 0.25


@dataclass(slots=True, eq=False)
class _Owned:
    ledger: Ledger
    log: PartitionLog
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    stepping: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: "asyncio.Task[None] | None" = None
    opened: bool = False
    fenced: bool = False


class Partitions:
    """Opens, drives, pauses and closes the ledgers as the group's assignment goes. `crash` ends the process."""

    def __init__(
        self,
        make: Callable[[int], tuple[Ledger, PartitionLog]],
        now: Callable[[], datetime],
        journal: Journal,
        crash: Callable[[BaseException], None],
    ) -> None:
        self._make = make
        self._now = now
        self._journal = journal
        self._crash = crash
        self._owned: dict[int, _Owned] = {}
        self._assigned = False
        self._generation = -1
        self._admitting = True
        self._assigning = asyncio.Lock()
        # How often everything was suspended.
        self._interruptions = 0
        self._may_step = asyncio.Event()
        # How much of the tables had been loaded when somebody asked last.
        self._loaded_before = 0

    @property
    def ready(self) -> bool:
        """Whether the group has given us our partitions and all of them are loaded."""
        return self._assigned and all(owned.opened for owned in self._owned.values())

    def has_loaded_more(self) -> bool:
        """Whether tables are being loaded, and something of them has been since this was asked last."""
        loaded = sum(owned.ledger.records_loaded for owned in self._owned.values() if not owned.opened)
        before, self._loaded_before = self._loaded_before, loaded
        return loaded > before

    @property
    def numbers(self) -> list[int]:
        """The partitions that are here."""
        return sorted(self._owned)

    def open_ledgers(self) -> list[Ledger]:
        """Return the ledgers that are loaded."""
        return [owned.ledger for owned in self._owned.values() if owned.opened]

    async def assign(self, numbers: Iterable[int], generation: int) -> None:
        """Take over an assignment: keep the ledgers that stay, close those that left, open the new ones.

        A ledger may only stay if nobody else can have owned its partition meanwhile, that is, if this
        worker was a member of the generation just before: one that slept through its session comes back
        to a partition that others have written to, and a ledger that knows nothing of their jobs would
        let them lie until its next write found it fenced.
        """
        interruptions = self._interruptions
        async with self._assigning:
            await self._assign(set(numbers), generation)
        # Another rebalance may have begun while ledgers were being closed.
        if interruptions == self._interruptions:
            self._assigned = True
            self._may_step.set()

    async def _assign(self, wanted: set[int], generation: int) -> None:
        if generation != self._generation + 1:
            await self._close_all()
        self._generation = generation
        for number in sorted(self._owned.keys() - wanted):
            await self._close(number)
        for number, owned in self._owned.items():
            if owned.fenced:
                self._crash(FencedError(f"partition {number} is ours, but was opened by another worker"))
        for number in sorted(wanted - self._owned.keys()):
            ledger, log = self._make(number)
            ledger.admitting = self._admitting
            owned = self._owned[number] = _Owned(ledger, log)
            owned.task = asyncio.create_task(self._run(owned))

    async def suspend(self) -> None:
        """Start no transaction until the next assignment, and wait for those under way.

        What is still being opened is given up: its fence would hit whoever gets the partition next.
        """
        self._interruptions += 1
        self._assigned = False
        self._may_step.clear()
        for number, owned in list(self._owned.items()):
            if owned.opened:
                async with owned.stepping:
                    pass
            else:
                await self._close(number)

    async def close(self) -> None:
        """Close every ledger; what is queued is left to the next owner."""
        await self.suspend()
        await self._close_all()

    async def deliver(self, record: SourceRecord, acknowledge: Callable[[], None]) -> None:
        """Hand a record to its partition's ledger; if the partition is not here, its owner reads it again."""
        owned = self._owned.get(record.partition)
        if owned is not None:
            owned.ledger.deliver(record, acknowledge)
            owned.wake.set()

    def report(self, partition: int, event: RobotAccepted | CallFailed) -> None:
        """Hand over the robot's answer; of a partition that moved away, the new owner waits for the outcome."""
        owned = self._owned.get(partition)
        if owned is None:
            return
        owned.ledger.tell(event)
        if isinstance(event, CallFailed):
            owned.wake.set()
        # Nothing waits for an acceptance: it rides in the next transaction, at the latest after the next tick.

    def decide(self, ledger: Ledger, event: DeadlinePassed | CallFailed) -> None:
        """Hand over a failure that has been decided."""
        owned = self._owned.get(ledger.partition)
        if owned is not None and owned.ledger is ledger:
            ledger.tell(event)
            owned.wake.set()

    def wake(self, ledgers: Container[Claimant]) -> None:
        """Let partitions go on whose jobs may have a call slot now."""
        for owned in self._owned.values():
            if owned.ledger in ledgers:
                owned.wake.set()

    def tick(self, now: datetime) -> None:
        """Wake the ledgers for which something has become due by the passing of time."""
        for owned in self._owned.values():
            if owned.opened and owned.ledger.has_work(now):
                owned.wake.set()

    def stop_admitting(self) -> None:
        """Make no more claims, in any partition that is here or comes: the worker is about to stop."""
        self._admitting = False
        for owned in self._owned.values():
            owned.ledger.admitting = False

    @property
    def calls_settled(self) -> bool:
        """Whether every call that was made here is back, and what came of it committed."""
        return not any(owned.ledger.calls_under_way or owned.stepping.locked() for owned in self._owned.values())

    async def _run(self, owned: _Owned) -> None:
        try:
            await self._may_step.wait()
            await owned.ledger.open(self._now())
            owned.opened = True
            self._journal.info(
                LogEvent.PARTITION_OPENED,
                partition=owned.ledger.partition,
                jobs=sum(owned.ledger.jobs_by_status.values()),
            )
            owned.wake.set()
            while True:
                await owned.wake.wait()
                owned.wake.clear()
                await self._drive(owned)
        except FencedError as error:
            owned.fenced = True
            if self._assigned:
                self._crash(error)
        except Exception as error:  # noqa: BLE001 # doubt ends the process: the log is the truth
            self._crash(error)

    async def _drive(self, owned: _Owned) -> None:
        while owned.ledger.has_work(self._now()):
            while not self._may_step.is_set():
                await self._may_step.wait()
            async with owned.stepping:
                served = await owned.ledger.step(self._now)
            await asyncio.sleep(GATHER_SECONDS if served else RETRY_SECONDS)

    async def _close_all(self) -> None:
        for number in list(self._owned):
            await self._close(number)

    async def _close(self, number: int) -> None:
        owned = self._owned.pop(number, None)
        if owned is None:
            return
        if owned.task is not None:
            owned.task.cancel()
            await asyncio.gather(owned.task, return_exceptions=True)
        owned.ledger.close()
        await owned.log.close()
        self._journal.info(LogEvent.PARTITION_CLOSED, partition=number)
