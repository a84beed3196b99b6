"""Notices a worker that does not get anywhere, and ends it: a restart reads again what got stuck."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from streams.gaps import Gaps
from streams.journal import Journal
from streams.ledger import Ledger
from streams.log import LogReader, TopicPartition, UnreadableError
from streams.names import SOURCE_TOPICS, LogEvent

LOOK_SECONDS = 5.0
# /livez turns before the process ends, so that a supervisor that asks it sees why.
SUSPECT_AFTER = timedelta(seconds=15)
STUCK_AFTER = timedelta(seconds=40)
# A rebalance may wait for the slowest member, which has at least 30 s, and a frozen one must time out before; then
# the table is loaded, which takes about half a minute for a million rows.
OUTSIDE_SUSPECT_AFTER = timedelta(minutes=2)
OUTSIDE_AFTER = timedelta(minutes=5)
LOOP_BLOCKED_SECONDS = 60.0


class StuckPartitionError(Exception):
    """A partition of ours has records that have not been worked on for too long."""


class LostMembershipError(Exception):
    """The group has not counted on this worker for too long, and no rebalance brings it back."""


class Watchdog:
    """Compares what the ledgers have done with what is in the log. Without a broker's answer it concludes nothing.

    `joined` says whether this worker is a member of its group and has loaded its partitions; `patience` is added to
    the time that it may be without.
    """

    def __init__(
        self,
        joined: Callable[[], bool],
        patience: timedelta,
        ledgers: Callable[[], Iterable[Ledger]],
        reader: LogReader,
        now: Callable[[], datetime],
        journal: Journal,
    ) -> None:
        self._joined = joined
        self._patience = patience
        self._ledgers = ledgers
        self._reader = reader
        self._gaps = Gaps(reader)
        self._now = now
        self._journal = journal
        # Since when a partition has stood with something behind it: at an offset, and looking at another.
        self._standing: dict[tuple[Ledger, str], tuple[tuple[int, int], datetime]] = {}
        self._outside_since: datetime | None = None

    @property
    def partitions_move(self) -> bool:
        """Whether no partition has stood still for so long that somebody should look."""
        now = self._now()
        return all(now - since <= SUSPECT_AFTER for _, since in self._standing.values())

    @property
    def in_group(self) -> bool:
        """Whether the group has not been without this worker for so long that somebody should look."""
        since = self._outside_since
        return since is None or self._now() - since <= OUTSIDE_SUSPECT_AFTER + self._patience

    async def run(self) -> None:
        """Look again and again. Raises StuckPartitionError or LostMembershipError."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look once.

        Raises StuckPartitionError if records lie where nothing has moved for too long, LostMembershipError if
        the group goes on without this worker.
        """
        standing: dict[tuple[Ledger, str], tuple[tuple[int, int], datetime]] = {}
        try:
            for topic in SOURCE_TOPICS:
                ends = await self._reader.end_offsets(topic)
                committed = await self._reader.committed_offsets(topic)
                for ledger in self._ledgers():
                    position = _finished(ledger, topic, committed)
                    if position < ends[ledger.partition]:
                        place = (position, ledger.looked_at(topic))
                        before, since = self._standing.get((ledger, topic), (place, self._now()))
                        standing[ledger, topic] = (place, since if before == place else self._now())
        except UnreadableError as error:
            # No broker answers: that is no fault of ours, and ending would not help.
            self._standing.clear()
            self._outside_since = None
            self._journal.warning(LogEvent.WAITING_FOR_BROKER, error=str(error))
            return
        self._standing = standing
        self._look_at_group()
        for (ledger, name), ((position, _), since) in standing.items():
            if self._now() - since > STUCK_AFTER:
                await self._check(ledger, name, position)

    def _look_at_group(self) -> None:
        if self._joined():
            self._outside_since = None
            return
        self._outside_since = self._outside_since or self._now()
        if self._now() - self._outside_since > OUTSIDE_AFTER + self._patience:
            raise LostMembershipError(f"not in the group since {self._outside_since:%H:%M:%S} UTC, and no rebalance")

    async def _check(self, ledger: Ledger, topic: str, position: int) -> None:
        """Make sure that it is a record that nothing happens to, and not a marker or an open transaction."""
        try:
            end = (await self._reader.end_offsets(topic))[ledger.partition]
            committed = await self._reader.committed_offsets(topic)
            found = await self._gaps.next_record(TopicPartition(topic, ledger.partition), position, end)
        except UnreadableError:
            return
        if found < end and ledger in self._ledgers() and _finished(ledger, topic, committed) == position:
            raise StuckPartitionError(f"{topic}-{ledger.partition} stands at {position}, with records behind it")


def _finished(ledger: Ledger, topic: str, committed: Mapping[int, int]) -> int:
    """Return the offset up to which a ledger is done: what it never commits holds every deadline of the group up."""
    return min(ledger.processed(topic), committed[ledger.partition])


def watch_loop(last_turn: Callable[[], float], crash: Callable[[str], None]) -> None:
    """Start a thread that ends the process if the event loop does not turn; `last_turn` is a monotonic instant."""

    def watch() -> None:
        while time.monotonic() - last_turn() < LOOP_BLOCKED_SECONDS:
            time.sleep(1)
        crash(f"the event loop has been blocked for {LOOP_BLOCKED_SECONDS:.0f} s")

    threading.Thread(target=watch, name="watchdog", daemon=True).start()
