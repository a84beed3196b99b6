"""The partitions that this worker owns, as the group's assignment goes."""

import asyncio
from collections.abc import Callable, Container, Iterable
from datetime import datetime

from streams.core.events import BatchLost, CallFailed, DeadlinePassed, RobotAccepted
from streams.engine.ledger import Ledger
from streams.engine.partition import Partition
from streams.engine.ports import FencedError
from streams.engine.runtime import Runtime
from streams.engine.turns import Turns
from streams.names import SOURCE_TOPICS
from streams.wire.records import SourceRecord, TopicPartition


class Partitions:
    """Makes, suspends and closes partitions, and takes to each what is its own. `make` returns a ledger of a number."""

    def __init__(self, make: Callable[[int], Ledger], turns: Turns, runtime: Runtime) -> None:
        self._make = make
        self._turns = turns
        self._runtime = runtime
        self._owned: dict[int, Partition] = {}
        self._assigned = False
        self._takes_records = False
        self._generation = -1
        self._admitting = True
        self._robot_away_since: datetime | None = None
        self._assigning = asyncio.Lock()
        # How often everything was suspended.
        self._interruptions = 0
        # How much of the tables had been loaded when somebody asked last.
        self._loaded_before = 0

    @property
    def ready(self) -> bool:
        """Whether the group has given us our partitions and all of them are loaded."""
        return self._assigned and all(partition.opened for partition in self._owned.values())

    def has_loaded_more(self) -> bool:
        """Whether tables are being loaded, and something of them has been since this was asked last."""
        loading = [partition.ledger for partition in self._owned.values() if not partition.opened]
        loaded = sum(ledger.records_loaded for ledger in loading)
        before, self._loaded_before = self._loaded_before, loaded
        return loaded > before

    @property
    def numbers(self) -> list[int]:
        """The partitions that are here."""
        return sorted(self._owned)

    def open_ledgers(self) -> list[Ledger]:
        """Return the ledgers that are loaded."""
        return [partition.ledger for partition in self._owned.values() if partition.opened]

    async def assign(
        self, numbers: Iterable[int], generation: int, sources: Container[TopicPartition] | None = None
    ) -> None:
        """Take over an assignment: keep the ledgers that stay, close those that left, open the new ones.

        A ledger may only stay if nobody else can have owned its partition meanwhile, that is, if this
        worker was a member of the generation just before: one that slept through its session comes back
        to a partition that others have written to, and a ledger that knows nothing of their jobs would
        let them lie until its next write found it fenced. `sources` are those that are read here, all of them if it is
        None.
        """
        interruptions = self._interruptions
        async with self._assigning:
            await self._assign(set(numbers), generation)
        # Another rebalance may have begun while ledgers were being closed.
        if interruptions == self._interruptions:
            self._assigned = self._takes_records = True
            for number, partition in self._owned.items():
                places = {topic: TopicPartition(topic, number) for topic in SOURCE_TOPICS}
                lacking = () if sources is None else (topic for topic, place in places.items() if place not in sources)
                partition.ledger.lacks = set(lacking)
                partition.resume()

    async def _assign(self, wanted: set[int], generation: int) -> None:
        if generation != self._generation + 1:
            await self._close(self._owned.keys())
        self._generation = generation
        await self._close(self._owned.keys() - wanted)
        for number, partition in self._owned.items():
            if partition.fenced:
                error = FencedError(f"partition {number} is ours, but was opened by another worker")
                self._runtime.supervisor.crash(error)
        for number in sorted(wanted - self._owned.keys()):
            ledger = self._make(number)
            ledger.admitting = self._admitting
            ledger.robot_away_since = self._robot_away_since
            self._owned[number] = Partition(ledger, self._turns, self._runtime)

    async def drop_records(self) -> None:
        """Forget the records that wait in a queue, and return when those of the transactions under way are done.

        None is acknowledged that was dropped, so each comes again, here or elsewhere. Until the next assignment none is
        taken: one of those before it may be missing.
        """
        # What is still being assigned must not take this back.
        self._interruptions += 1
        self._takes_records = False
        await asyncio.gather(*(partition.drop_records() for partition in self._owned.values()))

    async def suspend(self) -> None:
        """Begin a rebalance: what is here may be somebody else's by its end.

        Until then nobody else can have it, so what is open goes on: most of it will stay. The next owner's fence ends
        what goes on for too long. What is still being opened is given up: its fence would hit whoever gets the
        partition next.
        """
        self._interruptions += 1
        self._assigned = False
        for partition in self._owned.values():
            partition.suspend()
        await self._close([number for number, partition in self._owned.items() if not partition.opened])

    async def close(self) -> None:
        """Close every ledger; what is queued is left to the next owner."""
        await self.suspend()
        await self._close(self._owned.keys())

    async def _close(self, numbers: Iterable[int]) -> None:
        closing = [self._owned.pop(number) for number in sorted(numbers) if number in self._owned]
        await asyncio.gather(*(partition.close() for partition in closing))

    def deliver(self, record: SourceRecord, acknowledge: Callable[[], None]) -> None:
        """Take a record to its partition; if that is not here, its owner reads the record again."""
        if self._takes_records and (partition := self._owned.get(record.partition)) is not None:
            partition.deliver(record, acknowledge)

    def report(self, number: int, event: RobotAccepted | CallFailed) -> None:
        """Take the robot's answer to its partition; if that has moved away, the new owner waits for the outcome."""
        if (partition := self._owned.get(number)) is not None:
            partition.tell(event)

    def decide(self, ledger: Ledger, event: DeadlinePassed | CallFailed) -> None:
        """Take a failure that has been decided to the ledger that it was decided for, if that is still here."""
        partition = self._owned.get(ledger.partition)
        if partition is not None and partition.ledger is ledger:
            partition.tell(event)

    @property
    def has_batches_at_robot(self) -> bool:
        """Whether the robot has accepted a batch that has not ended, and is not known to be lost."""
        return any(ledger.has_batches_at_robot for ledger in self.open_ledgers())

    def lose_batches(self, accepted_before: datetime, restarted_at: datetime) -> None:
        """Tell the partitions that are loaded of the batches that the robot has lost by its start."""
        for partition in self._owned.values():
            if partition.opened:
                for key in partition.ledger.accepted_before(accepted_before):
                    partition.tell(BatchLost(key, restarted_at))

    def miss_robot(self, since: datetime | None) -> None:
        """Let it be written down since when the robot has been away; None when it is back."""
        self._robot_away_since = since
        for partition in self._owned.values():
            partition.ledger.robot_away_since = since
            partition.wake()

    def tick(self, now: datetime) -> None:
        """Let those go on for which something has become due by the passing of time."""
        for partition in self._owned.values():
            partition.tick(now)

    def stop_admitting(self) -> None:
        """Make no more claims, in any partition that is here or comes: the worker is about to stop."""
        self._admitting = False
        for partition in self._owned.values():
            partition.ledger.admitting = False

    @property
    def calls_under_way(self) -> bool:
        """Whether a call that was made here is under way, or its answer has not been taken in yet."""
        return any(partition.ledger.calls_under_way for partition in self._owned.values())

    async def finish_steps(self) -> None:
        """Return when each transaction that is under way now has ended."""
        for partition in list(self._owned.values()):
            await partition.finish_step()
