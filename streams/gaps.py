"""Where the log holds nothing: transaction markers, and records that were aborted or have expired."""

from streams.log import LogReader, TopicPartition, UnreadableError


class Gaps:
    """Finds the next record behind a position. What was once read and held no record is not read again."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        # Per partition, a range that was read and held no record: it never will.
        self._empty: dict[TopicPartition, tuple[int, int]] = {}

    def skip(self, place: TopicPartition, position: int) -> int:
        """Return the position, moved behind the gap that is known to begin there."""
        return self._around(place, position)[1]

    async def next_record(self, place: TopicPartition, position: int, end: int) -> int:
        """Return where the first committed record of [position, end) lies, `end` or more if there is none.

        Raises UnreadableError if that is not known yet: a transaction before it is open, or the gap is so long that
        it takes more than one reading. The next call goes on from there.
        """
        start, known = self._around(place, position)
        if known >= end:
            return known
        records, reached = await self._reader.read(place, known, end, limit=1)
        found = records[0].offset if records else reached
        self._empty[place] = (start, found)
        if not records and reached < end:
            raise UnreadableError(f"{place.topic}-{place.partition} is read up to {reached} of {end}")
        return found

    def _around(self, place: TopicPartition, position: int) -> tuple[int, int]:
        """Return the range without records that is known around a position."""
        start, end = self._empty.get(place, (position, position))
        return (start, end) if start <= position <= end else (position, position)
