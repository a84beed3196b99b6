"""Dead letters: the original bytes, key and headers, and why the record could not be used."""

import msgspec

from schemas.dead_letter import DeadLetterHeaders
from streams.names import DLQ_OF, DeadLetterReason, Header, Topic
from streams.wire.records import Headers, NewRecord, SourceRecord

# A record's own framing in a batch (varints, attributes, batch header), rounded up.
RECORD_OVERHEAD = 512

# How the message ends of a letter without its record.
ORIGINAL_NOT_COPIED = "; the original was too large to be copied"

_OWN_HEADERS = frozenset(field.alias for field in DeadLetterHeaders.model_fields.values())


def record_size(record: SourceRecord | NewRecord) -> int:
    """Return at least the bytes that a record takes uncompressed."""
    headers = sum(len(name.encode()) + len(value or b"") + 10 for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + RECORD_OVERHEAD


def dead_letter(record: SourceRecord, reason: DeadLetterReason, message: str, max_bytes: int) -> NewRecord:
    """Return the dead letter of a record, at most `max_bytes` large; the message must not quote the payload.

    The letter has the time at which it is written: with the original's it could be refused, or deleted at
    once by the topic's retention. A record that does not fit becomes a short letter that says where the
    original lies. `robot.dlq.id` is the same however often the record is read.
    """
    letter = NewRecord(
        topic=DLQ_OF[Topic(record.topic)],
        partition=record.partition,
        # aiokafka writes no record that has neither a key nor a value.
        key=b"" if record.key is None and record.value is None else record.key,
        value=record.value,
        headers=without_own_headers(record.headers) + _error_headers(record, reason, message),
    )
    if record_size(letter) <= max_bytes:
        return letter
    where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    return NewRecord(
        topic=letter.topic,
        partition=letter.partition,
        key=None,
        value=msgspec.json.encode(where | {"originalBytes": len(record.value or b"")}),
        headers=_error_headers(record, reason, message + ORIGINAL_NOT_COPIED),
    )


def without_own_headers(headers: Headers) -> Headers:
    """Return the headers that a record had before it was a letter."""
    return tuple(header for header in headers if header[0] not in _OWN_HEADERS)


def _error_headers(record: SourceRecord, reason: DeadLetterReason, message: str) -> tuple[tuple[str, bytes], ...]:
    redrives = dict(record.headers).get(Header.DLQ_REDRIVE_COUNT) or b"0"
    values = {
        Header.ERROR_TOPIC: record.topic,
        Header.ERROR_PARTITION: str(record.partition),
        Header.ERROR_OFFSET: str(record.offset),
        Header.ERROR_EXCEPTION: reason.value,
        Header.ERROR_MESSAGE: message,
        # Records are rejected by rules, not by exceptions: there is no trace to show.
        Header.ERROR_STACKTRACE: "",
        Header.ORIGINAL_TOPIC: record.topic,
        Header.DLQ_REASON: reason.value,
        Header.DLQ_ID: f"{record.topic}-{record.partition}-{record.offset}",
    }
    encoded = tuple((name.value, value.encode()) for name, value in values.items())
    return (
        *encoded,
        (Header.DLQ_REDRIVE_COUNT.value, redrives if redrives.isdigit() and len(redrives) < 10 else b"0"),
    )
