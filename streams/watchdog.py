"""Notices a worker that does not get anywhere, and ends it: a restart reads again what got stuck."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from streams.journal import Journal
from streams.ledger import Ledger
from streams.log import LogReader, TopicPartition, UnreadableError
from streams.names import SOURCE_TOPICS, LogEvent

LOOK_SECONDS = 5.0
# /livez turns before the process ends, so that a supervisor that asks it sees why.
SUSPECT_AFTER = timedelta(seconds=15)
STUCK_AFTER = timedelta(seconds=40)
LOOP_BLOCKED_SECONDS = 60.0


class StuckPartitionError(Exception):
    """A partition of ours has records that have not been worked on for too long."""


class Watchdog:
    """Compares what the ledgers have done with what is in the log. Without a broker's answer it concludes nothing."""

    def __init__(
        self, ledgers: Callable[[], Iterable[Ledger]], reader: LogReader, now: Callable[[], datetime], journal: Journal
    ) -> None:
        self._ledgers = ledgers
        self._reader = reader
        self._now = now
        self._journal = journal
        # Since when a partition has stood at an offset with something behind it.
        self._standing: dict[tuple[Ledger, str], tuple[int, datetime]] = {}

    @property
    def suspicious(self) -> bool:
        """Whether a partition has stood still for so long that somebody should look."""
        now = self._now()
        return any(now - since > SUSPECT_AFTER for _, since in self._standing.values())

    async def run(self) -> None:
        """Look again and again. Raises StuckPartitionError."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look once. Raises StuckPartitionError if records lie where nothing has moved for too long."""
        standing: dict[tuple[Ledger, str], tuple[int, datetime]] = {}
        try:
            for topic in SOURCE_TOPICS:
                ends = await self._reader.end_offsets(topic)
                committed = await self._reader.committed_offsets(topic)
                for ledger in self._ledgers():
                    # What is done but never committed holds every deadline of the group up.
                    position = min(ledger.processed(topic), committed[ledger.partition])
                    if position < ends[ledger.partition]:
                        before, since = self._standing.get((ledger, topic), (position, self._now()))
                        standing[ledger, topic] = (position, since if before == position else self._now())
        except UnreadableError as error:
            # No broker answers: that is no fault of ours, and ending would not help.
            self._standing.clear()
            self._journal.warning(LogEvent.WAITING_FOR_BROKER, error=str(error))
            return
        self._standing = standing
        for (ledger, name), (position, since) in standing.items():
            if self._now() - since > STUCK_AFTER:
                await self._check(ledger, name, position)

    async def _check(self, ledger: Ledger, topic: str, position: int) -> None:
        """Make sure that it is a record that nothing happens to, and not a marker or an open transaction."""
        try:
            end = (await self._reader.end_offsets(topic))[ledger.partition]
            committed = (await self._reader.committed_offsets(topic))[ledger.partition]
            records = await self._reader.read(TopicPartition(topic, ledger.partition), position, end, limit=1)
        except UnreadableError:
            return
        now_at = min(ledger.processed(topic), committed)
        if records and ledger in self._ledgers() and now_at == position:
            raise StuckPartitionError(f"{topic}-{ledger.partition} stands at {position}, with records behind it")


def watch_loop(last_turn: Callable[[], float], crash: Callable[[str], None]) -> None:
    """Start a thread that ends the process if the event loop does not turn; `last_turn` is a monotonic instant."""

    def watch() -> None:
        while time.monotonic() - last_turn() < LOOP_BLOCKED_SECONDS:
            time.sleep(1)
        crash(f"the event loop has been blocked for {LOOP_BLOCKED_SECONDS:.0f} s")

    threading.Thread(target=watch, name="watchdog", daemon=True).start()
