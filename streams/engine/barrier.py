"""What must be read before a job fails: no completion of it may lie in the log unapplied."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from streams.core.job import JobKey
from streams.engine.gaps import Gaps
from streams.engine.ledger import Ledger
from streams.engine.ports import OpenTransaction, UndecidedReader, UnreadableError
from streams.names import REPORT_TOPICS
from streams.wire.intake import jobs_named
from streams.wire.records import TopicPartition

# How many jobs may be named in what is looked through ahead of a partition's owner, how much of it is read before
# others have their turn, and how many records at once: the event loop stands still meanwhile, for about 10 ms.
PEEK_MAX_JOBS = 10_000
PEEK_MAX_BYTES = 10_000_000
PEEK_SLICE = 200


Offsets = Mapping[TopicPartition, int]


class BehindError(Exception):
    """Completions and reports have not been applied as far as they must be before a deadline is decided."""

    def __init__(self, places: Iterable[TopicPartition], why: str = "behind") -> None:
        self.places = sorted(places)
        super().__init__(f"{', '.join(f'{topic}-{number}' for topic, number in self.places)}: {why}")


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
    """Tells whether a completion or report of a job that lay in the log at a moment may still be unapplied.

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
        self._peeked: dict[TopicPartition, _Peeked] = {}
        # Where the last read was in vain: it is not tried again while a transaction is open there.
        self._undecided: set[TopicPartition] = set()

    async def ends(self) -> Offsets:
        """Return the high watermarks now. Raises UnreadableError without a fresh answer."""
        return await self._of_every_topic(self._reader.end_offsets)

    async def committed(self) -> Offsets:
        """Return how far the group has committed by now. Raises UnreadableError."""
        return await self._of_every_topic(self._reader.committed_offsets)

    async def find_elsewhere(
        self, home: int, keys: Collection[JobKey], ends: Offsets, committed: Offsets
    ) -> dict[JobKey, TopicPartition]:
        """Return the jobs of a partition that something not yet forwarded may complete, with where that lies.

        It lies between the committed offsets and the ends, which were read before. Raises BehindError with the
        places where that cannot be told, because too much lies there or nobody answers.
        """
        found: dict[JobKey, TopicPartition] = {}
        blind = []
        for place, end in ends.items():
            if place.partition == home or committed[place] >= end:
                continue
            named = await self._jobs_named(place, committed[place], end)
            concerned = keys if named is None else [key for key in keys if key in named]
            if concerned and not await self._passed_or_unknown(place, committed[place], end):
                if named is None:
                    blind.append(place)
                found |= dict.fromkeys(concerned, place)
        if blind:
            raise BehindError(blind)
        return found

    async def check_applied(self, ledger: Ledger, ends: Offsets) -> None:
        """Return if the ledger has applied its own partition up to the ends. Raises BehindError."""
        for place in (TopicPartition(topic, ledger.partition) for topic in REPORT_TOPICS):
            try:
                passed = await self._passed(place, ledger.processed(place.topic), ends[place])
            except UnreadableError as error:
                raise BehindError([place], str(error)) from error
            if not passed:
                raise BehindError([place])

    async def open_transactions(self, place: TopicPartition) -> list[OpenTransaction]:
        """Return the transactions that nobody has decided yet. Raises UnreadableError."""
        return await self._reader.open_transactions(place)

    @staticmethod
    async def _of_every_topic(read: Callable[[str], Awaitable[Mapping[int, int]]]) -> Offsets:
        found: dict[TopicPartition, int] = {}
        for topic in REPORT_TOPICS:
            found |= {TopicPartition(topic, number): offset for number, offset in (await read(topic)).items()}
        return found

    async def _jobs_named(self, place: TopicPartition, position: int, end: int) -> Collection[JobKey] | None:
        """Return the jobs that are named in [position, end) or behind it; None if that cannot be told now."""
        peeked = self._peeked.get(place)
        if peeked is None or not peeked.start <= position <= peeked.end:
            peeked = self._peeked[place] = _Peeked(position, position)
        peeked.forget_before(position)
        size = 0
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

    async def _is_open_before(self, place: TopicPartition, end: int) -> bool:
        """Whether a transaction is known to be open there: a broker that cannot say so keeps nobody from reading."""
        try:
            return any(transaction.start_offset < end for transaction in await self.open_transactions(place))
        except UnreadableError:
            return False

    async def _passed_or_unknown(self, place: TopicPartition, position: int, end: int) -> bool:
        try:
            return await self._passed(place, position, end)
        except UnreadableError:
            return False

    async def _passed(self, place: TopicPartition, position: int, end: int) -> bool:
        """Whether a position has passed an end, of which markers, aborted and expired records are no part."""
        if self._gaps.skip(place, position) >= end:
            return True
        if place in self._undecided:
            if await self._is_open_before(place, end):
                return False
            self._undecided.remove(place)
        try:
            return await self._gaps.next_record(place, position, end) >= end
        except UnreadableError:
            self._undecided.add(place)
            raise
