"""Notices a worker that does not get anywhere, and ends it: a restart reads again what got stuck."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from streams.engine.gaps import Gaps
from streams.engine.ledger import Ledger
from streams.engine.ports import LogReader, UnreadableError
from streams.engine.rules import Rules
from streams.engine.runtime import Runtime
from streams.names import SOURCE_TOPICS
from streams.wire.records import TopicPartition

# A loop that has not turned for so long means that the process does not get anywhere.
LOOP_STALLED_SECONDS = 15.0
LOOP_BLOCKED_SECONDS = 60.0


class BlockedLoopError(Exception):
    """Something keeps the event loop from turning."""


class StuckPartitionError(Exception):
    """A partition of ours has records that have not been worked on for too long."""


class LostMembershipError(Exception):
    """The group has not counted on this worker for too long, and no rebalance brings it back."""


class MovedBrokersError(Exception):
    """Kafka answers whoever asks the bootstrap servers anew, and no connection that this worker has."""


@dataclass(slots=True)
class _Standing:
    """A partition has stood at a position, with something behind it, and looked on from another, since then."""

    position: int
    looked_at: int
    since: datetime
    holds_record: bool = False
    unreadable: bool = False


class Watchdog:
    """Compares what the ledgers have done with what is in the log. Without a broker's answer it concludes nothing.

    `joined` says whether this worker is a member of its group and has loaded its partitions, or goes on loading them.
    """

    def __init__(
        self,
        joined: Callable[[], bool],
        ledgers: Callable[[], Iterable[Ledger]],
        reader: LogReader,
        rules: Rules,
        runtime: Runtime,
    ) -> None:
        self._joined = joined
        self._ledgers = ledgers
        self._reader = reader
        self._gaps = Gaps(reader)
        self._now = runtime.now
        self._journal = runtime.journal
        self._limits = rules.watchdog
        # A member that has frozen keeps the group waiting until its session has ended, and after it another may.
        self._patience = 2 * rules.session_timeout
        self._standing: dict[tuple[Ledger, str], _Standing] = {}
        self._outside_since: datetime | None = None
        # Since when others get answers and we do not.
        self._passed_over_since: datetime | None = None

    @property
    def partitions_move(self) -> bool:
        """Whether no partition has stood still before a record for so long that somebody should look."""
        return not any(standing.holds_record for standing in self._standing.values())

    @property
    def in_group(self) -> bool:
        """Whether the group has not been without this worker for so long that somebody should look."""
        since = self._outside_since
        return since is None or self._now() - since <= self._limits.outside_suspect_after + self._patience

    async def run(self) -> None:
        """Look again and again. Raises StuckPartitionError, LostMembershipError or MovedBrokersError."""
        while True:
            await asyncio.sleep(self._limits.look.total_seconds())
            await self.look()

    async def look(self) -> None:
        """Look once.

        Raises StuckPartitionError if a record lies where nothing has moved for too long, LostMembershipError if
        the group goes on without this worker, MovedBrokersError if Kafka does.
        """
        try:
            standing = await self._find_standing()
        except UnreadableError as error:
            # No broker answers: that is no fault of ours, and ending would not help.
            self._standing = {}
            self._outside_since = None
            self._journal.waiting_for_broker(str(error))
            await self._look_for_brokers()
            return
        self._passed_over_since = None
        # In a rebalance nobody may move, and it lasts as long as its slowest member's session.
        joined = self._joined()
        self._standing = standing if joined else {}
        self._look_at_group(joined)
        for ledger, topic in list(self._standing):
            if self._now() - self._standing[ledger, topic].since > self._limits.suspect_after:
                await self._check(ledger, topic)

    async def _find_standing(self) -> dict[tuple[Ledger, str], _Standing]:
        """Return the partitions with something behind their position, gaps passed over. Raises UnreadableError."""
        found: dict[tuple[Ledger, str], _Standing] = {}
        lag: dict[TopicPartition, int] = {}
        for topic in SOURCE_TOPICS:
            ends = await self._reader.end_offsets(topic)
            committed = await self._reader.committed_offsets(topic)
            for ledger in (ledger for ledger in self._ledgers() if topic not in ledger.lacks):
                finished = _finished(ledger, topic, committed)
                place = TopicPartition(topic, ledger.partition)
                position = self._gaps.skip(place, finished)
                lag[place] = max(0, ends[ledger.partition] - position)
                if position < ends[ledger.partition]:
                    before, looked_at = self._standing.get((ledger, topic)), ledger.looked_at(topic)
                    unmoved = before is not None and (before.position, before.looked_at) == (position, looked_at)
                    found[ledger, topic] = before if before and unmoved else _Standing(position, looked_at, self._now())
        self._journal.show_lag(lag)
        return found

    def _look_at_group(self, joined: bool) -> None:
        if joined:
            self._outside_since = None
            return
        self._outside_since = self._outside_since or self._now()
        if self._now() - self._outside_since > self._limits.outside_after + self._patience:
            raise LostMembershipError(f"not in the group since {self._outside_since:%H:%M:%S} UTC, and no rebalance")

    async def _look_for_brokers(self) -> None:
        """Find out whether Kafka is back at other addresses: clients keep to those that they know."""
        if not await self._reader.answers_anew():
            self._passed_over_since = None
            return
        since = self._passed_over_since = self._passed_over_since or self._now()
        if self._now() - since > self._limits.moved_after:
            raise MovedBrokersError(
                f"since {since:%H:%M:%S} UTC Kafka answers new connections and none of this worker's: its brokers have "
                "other addresses now, which a restart finds"
            )

    async def _check(self, ledger: Ledger, topic: str) -> None:
        """Find out whether it is a record that nothing happens to, and not a marker or an open transaction."""
        standing, place = self._standing[ledger, topic], TopicPartition(topic, ledger.partition)
        try:
            end = (await self._reader.end_offsets(topic))[ledger.partition]
            found = await self._gaps.next_record(place, standing.position, end)
            committed = await self._reader.committed_offsets(topic)
        except UnreadableError:
            # Nothing is known; it is asked again when as much time has passed.
            self._standing[ledger, topic] = _Standing(
                standing.position, standing.looked_at, self._now(), unreadable=True
            )
            return
        finished = self._gaps.skip(place, _finished(ledger, topic, committed))
        if ledger not in self._ledgers() or found >= end or not found == finished == standing.position:
            # A gap, or it moves: whatever stands now has not stood for long.
            del self._standing[ledger, topic]
            return
        if standing.unreadable:
            # It may have become readable a moment ago.
            self._standing[ledger, topic] = _Standing(standing.position, standing.looked_at, self._now())
            return
        standing.holds_record = True
        if self._now() - standing.since > self._limits.stuck_after:
            raise StuckPartitionError(f"{place.topic}-{place.partition} stands at {found}, with records behind it")


def _finished(ledger: Ledger, topic: str, committed: Mapping[int, int]) -> int:
    """Return the offset up to which a ledger is done: what it never commits holds every deadline of the group up."""
    return min(ledger.processed(topic), committed[ledger.partition])


class LoopWatch:
    """Shows that the event loop turns. A thread of its own calls `crash` if it does not."""

    def __init__(self, crash: Callable[[BaseException], None]) -> None:
        self._crash = crash
        self._last_turn = time.monotonic()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @property
    def turns(self) -> bool:
        """Whether it has turned a moment ago."""
        return time.monotonic() - self._last_turn < LOOP_STALLED_SECONDS

    async def run(self) -> None:
        """Note each turn."""
        while True:
            self._last_turn = time.monotonic()
            await asyncio.sleep(1)

    def _watch(self) -> None:
        while time.monotonic() - self._last_turn < LOOP_BLOCKED_SECONDS:
            time.sleep(1)
        self._crash(BlockedLoopError(f"the event loop has been blocked for {LOOP_BLOCKED_SECONDS:.0f} s"))
