"""The ports through which the engine knows Kafka and the robot. Nothing here imports a client."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, TypeVar

from streams.wire.records import NewRecord, SourceRecord, TopicPartition
from streams.wire.robot_request import RobotRequest

# Keys and values of the changelog, as they follow in it; a value None takes the key out.
ChangelogBatch = Sequence[tuple[bytes, bytes | None]]


class Reading(NamedTuple):
    """What a read has found, and the offset before which that is everything: there the next read goes on."""

    records: Sequence[SourceRecord]
    position: int


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction of a partition that nobody has decided yet: records behind its start cannot be read."""

    place: TopicPartition
    producer_id: int
    start_offset: int
    last_written_at: datetime | None


class FencedError(Exception):
    """Another process has opened the partition: nothing of ours will be committed any more."""


class UnreadableError(Exception):
    """The log did not give a clear answer in time; nothing may be concluded from that."""


T = TypeVar("T")
# How long to wait before a question is asked again.
RETRY_SECONDS = 0.5


async def until_readable(ask: Callable[[], Awaitable[T]]) -> T:
    """Return the answer of a read that may be repeated, as soon as the log gives one."""
    while True:
        try:
            return await ask()
        except UnreadableError:
            await asyncio.sleep(RETRY_SECONDS)


class LogReader(Protocol):
    """Short reads beside the group's own consumption. Methods may raise UnreadableError."""

    async def read(self, topic_partition: TopicPartition, start: int, end: int, limit: int) -> Reading:
        """Return up to `limit` committed records of [start, end), and how far it has looked.

        A read takes about a second at most, however long the range is. So it may end anywhere in it, but never where
        it began, unless the range is empty: who reads on from its position comes to `end`. Offsets that have expired,
        markers and aborted records are passed over. What cannot be told yet is unreadable: what lies behind the first
        record of an open transaction, or at or beyond the end of the log.
        """

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """Return the high watermark of every partition, open transactions included."""

    async def committed_offsets(self, topic: str) -> dict[int, int]:
        """Return the group's committed offset of every partition, its log start where it has none."""

    async def has_committed(self, topic_partition: TopicPartition) -> bool:
        """Whether the group has ever committed an offset of the partition, as far as the broker remembers."""

    async def answers_anew(self) -> bool:
        """Whether a new client, which knows the bootstrap servers alone, is told the offsets of the source topics.

        Never raises UnreadableError.
        """


class UndecidedReader(LogReader, Protocol):
    """Looks at what nobody has decided yet, too."""

    async def peek(self, topic_partition: TopicPartition, start: int, end: int, limit: int) -> Reading:
        """Return up to `limit` of the next records of [start, end), and the offset up to which it has looked.

        Undecided and aborted records are among them; expired ones and markers are not.
        """

    async def open_transactions(self, topic_partition: TopicPartition) -> list[OpenTransaction]:
        """Return the transactions of a partition that are not decided yet."""


class PartitionLog(Protocol):
    """One partition of the changelog, and the one writer that may write for it."""

    async def open(self, owner: bytes | None = None) -> AsyncGenerator[ChangelogBatch, None]:
        """Fence every former writer, then return all that is committed to the changelog partition, oldest first.

        `owner`: what is written there of who has the partition now. A batch is small enough to be worked on in one go.
        Of several values of a key the last one counts.
        """

    async def commit(self, records: Sequence[NewRecord]) -> None:
        """Write the records in one transaction; return when it is committed and every record was delivered.

        Raises FencedError if another writer has opened the partition. After any other exception the
        outcome is unknown and the writer must not be used again.
        """

    async def close(self) -> None:
        """Stop the writer without committing anything."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The robot answered 2xx and works on the batch."""

    status: int = 200


@dataclass(frozen=True, slots=True)
class Rejected:
    """The robot answered something else. `error` is bounded and without secrets; `wait` is what it asked for."""

    status: int
    error: str
    wait: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Unreachable:
    """There was no connection: the request never left."""

    error: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The request may have reached the robot, and no answer was read."""

    error: str


Answer = Accepted | Rejected | Unreachable | Unknown


@dataclass(frozen=True, slots=True)
class Health:
    """Somebody answered at the robot's address. `uptime` is for how long the robot has run, None if it did not say."""

    uptime: timedelta | None = None


class Robot(Protocol):
    """The RPA robot's HTTP service (the contract: POST /api/crear-pedidos-batch)."""

    async def create_batch(self, request: RobotRequest) -> Answer:
        """POST a batch once and return what became of it. Raises nothing but cancellation."""

    async def health(self) -> Health | None:
        """Return what is answered at the robot's address, whatever it is, or None if nobody answers; within seconds.

        Raises nothing but cancellation.
        """
