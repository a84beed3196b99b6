"""Offsets that were jumped over on their way to a ledger: they must have held no record."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from streams.engine.ports import LogReader, UnreadableError
from streams.names import SOURCE_TOPICS, LogEvent
from streams.telemetry.journal import Journal
from streams.wire.records import SourceRecord, TopicPartition

# How often to tell how far the reading of a long hole has come.
TELL_EVERY = timedelta(seconds=10)


class LostRecordsError(Exception):
    """Records of a source topic were skipped on their way here; only reading them again repairs that."""


class HoleCheck:
    """Compares the offsets that come to one partition's ledger with what is in the log."""

    def __init__(self, partition: int, reader: LogReader, journal: Journal) -> None:
        self._partition = partition
        self._reader = reader
        self._journal = journal
        # The next offset that should come from each source topic.
        self._expected: dict[str, int] = {}
        # How far the log has been compared with the records of a check that is not over yet.
        self._compared: dict[str, int] = {}
        self._told_at: datetime | None = None

    def begin(self, topic: str, offset: int) -> None:
        """Expect the records of a source topic from this offset on."""
        self._expected[topic] = offset

    def begin_anew(self) -> None:
        """Forget a check that is not over yet: its records come again."""
        self._compared.clear()

    def looked_at(self, topic: str) -> int:
        """Return the offset before which the source topic's records are known to have come. Grows within a hole."""
        return self._compared.get(topic, self._expected[topic])

    async def check(self, records: Sequence[SourceRecord], now: datetime) -> bool:
        """Make sure that offsets which these records jump over held no record; return False if it takes longer.

        Then the next check must be of the same records, and maybe of others behind them: it goes on where this one
        has stopped. Raises LostRecordsError if there was a record.
        """
        # Of none of them before all have passed: a check that is given up must not have left anything behind.
        passed: dict[str, int] = {}
        for topic in SOURCE_TOPICS:
            offsets = [record.offset for record in records if record.topic == topic]
            if not offsets:
                continue
            expected, hole = self._expected[topic], False
            for offset in offsets:
                hole = hole or offset > expected
                expected = offset + 1
            if hole and not await self._compare(topic, offsets, now):
                return False
            passed[topic] = expected
        self._expected |= passed
        self._compared.clear()
        return True

    async def _compare(self, topic: str, offsets: list[int], now: datetime) -> bool:
        """Read on in the log, once; return whether all of it has been compared."""
        # What is delivered again begins before what is expected.
        start, end = min(self._expected[topic], offsets[0]), max(offsets)
        position, error, seen = self._compared.get(topic, start), None, set(offsets)
        if position >= end:
            return True
        try:
            source = TopicPartition(topic, self._partition)
            found, position = await self._reader.read(source, position, end, limit=len(seen) + 1)
        except UnreadableError as reason:
            found, error = (), str(reason)
        for record in found:
            if record.offset not in seen:
                raise LostRecordsError(f"{topic}-{self._partition}@{record.offset} was skipped")
        self._compared[topic] = position
        if position < end and (self._told_at is None or now - self._told_at >= TELL_EVERY):
            self._told_at = now
            place = {"topic": topic, "partition": self._partition}
            self._journal.warning(LogEvent.READING_HOLE, **place, start=start, end=end, position=position, error=error)
        return position >= end
