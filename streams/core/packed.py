"""Rows of jobs in as few bytes as is done fast: there may be a million of them in one worker."""

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec

from streams.core.job import FailureReason, Job, OrderResult, PutOff, Source, Status, Stop, key_of

# What a row says besides its job's key, in the order of `FIELDS`, each as the job has it.
Values = tuple[Any, ...]


class Glance(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The first of a packed row's fields: those by which the table knows what is to be done for most of the rows."""

    status: Status
    submitted_at: datetime
    # [the topic's number, the partition, the offset]
    source: tuple[int, int, int]
    # Bytes where it is of hexadecimal digits, a text otherwise; so is a trace, with hyphens between the digits.
    fingerprint: Any
    order_count: int | None
    traceparent: Any
    # Here ends what is kept of most of the pending ones.
    claimed_by: int | None = None
    ended_at: datetime | None = None
    deadline: datetime | None = None
    amended_at: datetime | None = None
    put_off: PutOff | None = None

    @property
    def offset(self) -> int:
        """Where the submission lies in its partition."""
        return self.source[2]


class _Packed(Glance, frozen=True, array_like=True, gc=False):
    claimed_at: datetime | None = None
    accepted_at: datetime | None = None
    success_count: int | None = None
    error_count: int | None = None
    robot_may_have_received: bool = False
    called_at: datetime | None = None
    # Here ends what is kept of most of the completed ones.
    answered_at: datetime | None = None
    reason: FailureReason | None = None
    error: str | None = None
    robot_status: int | None = None
    orders: tuple[OrderResult, ...] = ()
    resubmission_of: str | None = None
    resubmitted_as: str | None = None
    robot_restarted_at: datetime | None = None
    stop: Stop | None = None


FIELDS = _Packed.__struct_fields__
# Return the values of whatever has a job's attributes.
values_of = attrgetter(*FIELDS)

# What most of the pending ones say after their first fields, and most of the completed ones after those that they have.
_NOTHING_MORE = [field.default for field in msgspec.structs.fields(_Packed) if not field.required]
_COMPLETED = FIELDS.index("answered_at") - FIELDS.index("claimed_by")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode
glance = msgspec.msgpack.Decoder(Glance).decode


class Packer:
    """Packs rows and unpacks its own. What many rows share, topics and workers, is kept once, for good."""

    def __init__(self) -> None:
        # Numbers begin with 1.
        self._texts: list[str] = [""]
        self._numbers: dict[str, int] = {}

    def pack(self, values: Values) -> bytes:
        """Return a row in few bytes; its numbers have 64 bits at most."""
        status, submitted_at, (topic, partition, offset), fingerprint, order_count, traceparent, *more = values
        place = (self._numbers.get(topic) or self._number(topic), partition, offset)
        trace = None if traceparent is None else _shortened(traceparent, traceparent.replace("-", ""), _as_trace)
        first = (status, submitted_at, place, _shortened(fingerprint, fingerprint, bytes.hex), order_count, trace)
        if more == _NOTHING_MORE:
            return _encode(first)
        if more[0] is not None:
            more[0] = self._numbers.get(more[0]) or self._number(more[0])
        if more[_COMPLETED:] == _NOTHING_MORE[_COMPLETED:]:
            more = more[:_COMPLETED]
        return _encode((*first, *more))

    def unpack(self, key: str, packed: bytes) -> Job:
        """Return the job of a key's text and a packed row."""
        row = _decode(packed)
        workspace_id, job_id = key_of(key)
        topic, partition, offset = row.source
        values = msgspec.structs.asdict(row)
        values["source"] = Source(self._texts[topic], partition, offset)
        if isinstance(row.fingerprint, bytes):
            values["fingerprint"] = row.fingerprint.hex()
        if isinstance(row.traceparent, bytes):
            values["traceparent"] = _as_trace(row.traceparent)
        if row.claimed_by is not None:
            values["claimed_by"] = self._texts[row.claimed_by]
        return Job(workspace_id=workspace_id, job_id=job_id, **values)

    def _number(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self._texts))
        if number == len(self._texts):
            self._texts.append(text)
        return number


def _as_trace(identifiers: bytes) -> str:
    """Return a trace context with the hyphens where they belong: version, trace, span, flags."""
    digits = identifiers.hex()
    return f"{digits[:2]}-{digits[2:34]}-{digits[34:50]}-{digits[50:]}"


def _shortened(text: str, digits: str, text_of: Callable[[bytes], str]) -> bytes | str:
    """Return the bytes of a text's digits, or the text itself if it is not theirs."""
    try:
        short = bytes.fromhex(digits)
    except ValueError:
        return text
    return short if text_of(short) == text else text
