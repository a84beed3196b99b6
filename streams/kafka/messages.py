"""A client's messages as the engine sees them."""

from datetime import UTC, datetime
from typing import Any

from streams.wire.records import SourceRecord

# The last millisecond that a datetime can hold; a record's timestamp is any 64-bit number.
_LATEST_MS = 253_402_300_799_999


def instant_of(milliseconds: int) -> datetime:
    """Return a record's timestamp (milliseconds since 1970) as an aware UTC datetime, the nearest there is."""
    return datetime.fromtimestamp(max(0, min(milliseconds, _LATEST_MS)) / 1000, UTC)


def milliseconds_of(instant: datetime) -> int:
    """Return an instant as a record's timestamp."""
    return round(instant.timestamp() * 1000)


def source_record(message: Any, timestamp_ms: int) -> SourceRecord:
    """Return an aiokafka or Faust message as the engine sees it; the two give its timestamp in different units."""
    return SourceRecord(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=instant_of(timestamp_ms),
        key=message.key,
        value=message.value,
        headers=tuple(message.headers or ()),
    )
