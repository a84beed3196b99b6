"""Offsets that were jumped over on their way to a ledger: they must have held no record."""

from collections.abc import Sequence

from streams.log import LogReader, SourceRecord, TopicPartition
from streams.names import SOURCE_TOPICS


class LostRecordsError(Exception):
    """Records of a source topic were skipped on their way here; only reading them again repairs that."""


class HoleCheck:
    """Compares the offsets that come to one partition's ledger with what is in the log."""

    def __init__(self, partition: int, reader: LogReader) -> None:
        self._partition = partition
        self._reader = reader
        # The next offset that should come from each source topic.
        self._expected: dict[str, int] = {}

    def begin(self, topic: str, offset: int) -> None:
        """Expect the records of a source topic from this offset on."""
        self._expected[topic] = offset

    async def check(self, records: Sequence[SourceRecord]) -> None:
        """Make sure that offsets which these records jump over held no record.

        Raises LostRecordsError if one did, UnreadableError if that cannot be told now.
        """
        for topic in SOURCE_TOPICS:
            offsets = [record.offset for record in records if record.topic == topic]
            if not offsets:
                continue
            expected, hole = self._expected[topic], False
            for offset in offsets:
                hole = hole or offset > expected
                expected = offset + 1
            if hole:
                await self._read_holes(topic, offsets)
            self._expected[topic] = expected

    async def _read_holes(self, topic: str, offsets: list[int]) -> None:
        start, end = min(self._expected[topic], offsets[0]), max(offsets)
        seen = set(offsets)
        source = TopicPartition(topic, self._partition)
        for record in await self._reader.read(source, start, end, limit=len(seen) + 1):
            if record.offset not in seen:
                raise LostRecordsError(f"{topic}-{self._partition}@{record.offset} was skipped")
