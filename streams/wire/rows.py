"""The row of the job table as it lies in the changelog topic: a JSON object, with a version."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

import msgspec

from streams.core.job import FailureReason, Job, JobKey, OrderResult, OrderStatus, PutOff, Source, Status
from streams.names import CHANGELOG_MARKS

# The value of the mark that a partition has a table (`CHANGELOG_TABLE_KEY`).
TABLE_MARK = b"{}"


class TableError(Exception):
    """The job table is not one that this program can work with; the text is one line that says what to do."""


class UnreadableRowError(TableError):
    """A row was written by a newer release, or by another program; this one could misread it."""


class _PutOff(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    times: int
    since: datetime
    until: datetime
    reason: FailureReason
    error: str
    robot_status: int | None = None
    gives_up_at: datetime | None = None


# An order as an array without the Nones at its end: [item id, status, tracking number, error type, error message].
_Order = tuple[str | None, ...]


class _Row(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    version: int
    workspace_id: str
    job_id: str
    status: Status
    submitted_at: datetime
    source: tuple[str, int, int]
    fingerprint: str
    order_count: int | None = None
    claimed_at: datetime | None = None
    claimed_by: str | None = None
    accepted_at: datetime | None = None
    deadline: datetime | None = None
    ended_at: datetime | None = None
    success_count: int | None = None
    error_count: int | None = None
    reason: FailureReason | None = None
    error: str | None = None
    robot_status: int | None = None
    robot_may_have_received: bool = False
    put_off: _PutOff | None = None
    orders: tuple[_Order, ...] = ()
    amended_at: datetime | None = None
    resubmission_of: str | None = None
    resubmitted_as: str | None = None
    robot_restarted_at: datetime | None = None
    traceparent: str | None = None


class _Version(msgspec.Struct):
    version: int


_NOT_AS_THEY_ARE = ("version", "source", "put_off", "orders")
_FIELDS = tuple(name for name in _Row.__struct_fields__ if name not in _NOT_AS_THEY_ARE)
_encoder = msgspec.json.Encoder()
# How a row of each version is read; no version ever goes, or is read in another way. One with another form than the
# last adds that, and one function that makes its row of the row before it.
_read_row = msgspec.json.Decoder(_Row).decode
_READERS: Mapping[int, Callable[[bytes], _Row]] = {1: _read_row, 2: _read_row}
# A row has the lowest version whose releases decide rightly by it. It rises when an older release, which passes over a
# field that it does not know, and loses it when it writes the row again, would decide wrongly; also with a status or
# reason that it does not know.
ROW_VERSION = max(_READERS)
_versions = msgspec.json.Decoder(_Version)
_keys = msgspec.json.Decoder(tuple[str, str])


def row_key(key: JobKey) -> bytes:
    """Return the changelog key: a JSON array, so that no two pairs of ids make the same key."""
    return _encoder.encode(list(key))


def decode_entry(key: bytes, value: bytes | None) -> tuple[JobKey | None, Job | None]:
    """Return what a record of the changelog says: a job and its row, None for a row that is taken out.

    A mark is (None, None). Raises UnreadableRowError.
    """
    if key in CHANGELOG_MARKS:
        return None, None
    if value is not None:
        job = decode_row(value)
        return job.key, job
    try:
        return JobKey(*_keys.decode(key)), None
    except msgspec.MsgspecError:
        raise UnreadableRowError("it has a key that is no job's: it was written by a newer release") from None


def encode_row(job: Job) -> bytes:
    """Return the changelog value of a job."""
    put_off = None if job.put_off is None else _PutOff(**asdict(job.put_off))
    values = {name: getattr(job, name) for name in _FIELDS}
    orders = tuple(map(_order, job.orders))
    return _encoder.encode(_Row(version=_version(job), source=job.source, put_off=put_off, orders=orders, **values))


def _version(job: Job) -> int:
    # Version 1 would let a job time out although each of its orders is reported. It writes no row of an ended one.
    return 2 if job.orders and not job.ended else 1


def _order(order: OrderResult) -> _Order:
    fields: list[str | None] = list(order)
    while fields[-1] is None or fields[-1] is OrderStatus.UNREPORTED:
        fields.pop()
    return tuple(fields)


def _result(order: _Order) -> OrderResult:
    item_id, status, *texts = (*order, None)[: max(2, len(order))]
    if item_id is None:
        raise ValueError("an order without an id")
    return OrderResult(item_id, OrderStatus(status or OrderStatus.UNREPORTED), *texts)


def decode_row(value: bytes) -> Job:
    """Return the job of a changelog value. Raises UnreadableRowError."""
    try:
        version = _versions.decode(value).version
        read = _READERS.get(version)
        if read is None:
            raise UnreadableRowError(
                f"a job row has version {version}, this release reads 1 to {ROW_VERSION}: run the release that wrote it"
            )
        row = read(value)
        put_off = None if row.put_off is None else PutOff(**msgspec.structs.asdict(row.put_off))
        values = {name: getattr(row, name) for name in _FIELDS}
        orders = tuple(map(_result, row.orders))
        return Job(source=Source(*row.source), put_off=put_off, orders=orders, **values)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        # What it quotes is a path in the row and never more than a word of it.
        raise UnreadableRowError(
            f"a job row cannot be read ({error}): it was written by a newer release, or by another program"
        ) from None


def utc_text(instant: datetime | None) -> str | None:
    """Return an instant as RFC 3339 in UTC with milliseconds, as records and log lines show it."""
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
