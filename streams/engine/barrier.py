"""What must be read before a job fails: no completion of it may lie in the log unapplied."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from streams.core.job import JobKey
from streams.engine.gaps import Gaps
from streams.engine.ledger import Ledger
from streams.engine.ports import OpenTransaction, UndecidedReader, UnreadableError
from streams.names import Topic
from streams.wire.intake import jobs_named
from streams.wire.records import TopicPartition

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
