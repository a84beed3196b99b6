"""One partition from the assignment to its end: the ledger, and the task that opens and drives it."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from streams.core.events import BatchLost, CallFailed, DeadlinePassed, RobotAccepted
from streams.engine.claims import Claimant
from streams.engine.ledger import Ledger
from streams.engine.ports import FencedError
from streams.engine.runtime import Runtime, heed_cancellation
from streams.engine.turns import Turns
from streams.names import LogEvent
from streams.wire.records import SourceRecord

# A transaction costs the same for one job as for many: while there is more to do, let it gather for as long as the last
# one took, up to this.
GATHER_MAX_SECONDS = 0.05
# How long to wait before a step that the log could not serve is tried again.
RETRY_SECONDS = 0.25


class Partition:
    """A ledger that is opened, driven, suspended and closed. It begins to run when it is resumed for the first time."""

    def __init__(self, ledger: Ledger, turns: Turns, runtime: Runtime) -> None:
        self.ledger = ledger
        self.opened = False
        # Whether another worker has opened the partition while this one held it.
        self.fenced = False
        # Whether the group says that it is ours; in a rebalance nobody knows.
        self._is_ours = False
        self._runtime = runtime
        self._turns = turns
        self._wake = asyncio.Event()
        self._stepping = asyncio.Lock()
        self._may_step = asyncio.Event()
        self._task = runtime.supervisor.start(self._run())

    @property
    def number(self) -> int:
        """The partition's number."""
        return self.ledger.partition

    @property
    def claimant(self) -> Claimant:
        """Whose call slots its transactions use."""
        return self.ledger

    @property
    def queued(self) -> int:
        """How many records and events wait to be worked on."""
        return self.ledger.queued

    def to_do(self, slots: int) -> int:
        """Return how much a transaction would carry now if it had so many call slots."""
        return self.ledger.to_do(slots) if self._may_step.is_set() else 0

    def deliver(self, record: SourceRecord, acknowledge: Callable[[], None]) -> None:
        """Take a record of this partition."""
        self.ledger.deliver(record, acknowledge)
        self.wake()

    def tell(self, event: RobotAccepted | CallFailed | BatchLost | DeadlinePassed) -> None:
        """Take something that the worker itself found out."""
        self.ledger.tell(event)
        # Nothing waits for an acceptance: it rides in the next transaction, at the latest after the next tick.
        if not isinstance(event, RobotAccepted):
            self.wake()

    def wake(self) -> None:
        """Let it go on: there may be something to do."""
        self._wake.set()
        self._turns.look()

    def tick(self, now: datetime) -> None:
        """Let it go on if something has become due by the passing of time."""
        if self.opened and self.ledger.has_work(now):
            self.wake()

    def resume(self) -> None:
        """Begin, or go on: it is ours."""
        self._is_ours = True
        self._may_step.set()
        self._turns.look()

    def suspend(self) -> None:
        """Go on with what is here, but be prepared for another owner."""
        self._is_ours = False

    async def drop_records(self) -> None:
        """Forget the records that are queued, but for those of the transaction that is under way, when it has ended."""
        if self.opened:
            self._may_step.clear()
            await self.finish_step()
            self._may_step.set()
        self.ledger.drop_records()

    async def finish_step(self) -> None:
        """Return when the transaction that is under way has ended, if there is one."""
        async with self._stepping:
            pass

    async def close(self) -> None:
        """End, as soon as the transaction that is under way has; what is queued is left to the next owner."""
        self._may_step.clear()
        await self.finish_step()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.ledger.close()
        self._runtime.journal.info(LogEvent.PARTITION_CLOSED, partition=self.number)

    async def _run(self) -> None:
        try:
            await self._may_step.wait()
            await self.ledger.open(self._runtime.now())
            heed_cancellation()
            self.opened = True
            self._runtime.journal.info(
                LogEvent.PARTITION_OPENED, partition=self.number, jobs=sum(self.ledger.jobs_by_status.values())
            )
            self._wake.set()
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._drive()
        except FencedError:
            self.fenced = True
            # In a rebalance it may have been given to another worker, as the next assignment will say.
            if self._is_ours:
                raise

    async def _drive(self) -> None:
        time = asyncio.get_running_loop().time
        while self.ledger.has_work(self._runtime.now()):
            async with self._turns.turn(self):
                # Between the turn's being given and its being taken, the partition may have been suspended.
                if not self._may_step.is_set():
                    continue
                async with self._stepping:
                    began_at = time()
                    served = await self.ledger.step(self._runtime.now)
                    took = time() - began_at
            await asyncio.sleep(min(took, GATHER_MAX_SECONDS) if served else RETRY_SECONDS)
