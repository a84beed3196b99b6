"""Records as they are read from Kafka and written to it."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

# A header may have no value.
Headers = tuple[tuple[str, bytes | None], ...]


class TopicPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record as it was read. `value` None is a tombstone."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: bytes | None
    value: bytes | None
    headers: Headers

    def __repr__(self) -> str:
        # The value of a submission carries credentials.
        return f"<SourceRecord {self.topic}-{self.partition}@{self.offset}>"


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to be written. `timestamp` None is the time of the write."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: datetime | None = None

    def __repr__(self) -> str:
        # A dead letter or a forwarded submission carries credentials.
        return f"<NewRecord {self.topic}-{self.partition}>"
