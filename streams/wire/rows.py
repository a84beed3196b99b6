"""The job table as it lies in the changelog topic: rows of jobs, and decisions, each a JSON object with a version."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec

from streams.core.controls import Action, Control, Decision
from streams.core.effects import IgnoreReason
from streams.core.job import FailureReason, Job, JobKey, OrderResult, OrderStatus, PutOff, Source, Status, Stop, text_of
from streams.core.packed import Values, values_of
from streams.names import CHANGELOG_OPENED_KEY, CHANGELOG_TABLE_KEY

# The value of the mark that a partition has a table (`CHANGELOG_TABLE_KEY`).
TABLE_MARK = b"{}"


class TableError(Exception):
    """The job table is not one that this program can work with; the text is one line that says what to do."""


class UnreadableRowError(TableError):
    """A row was written by a newer release, or by another program; this one could misread it."""


@dataclass(frozen=True, slots=True)
class JobEntry:
    """A job and its row, None for a row that is taken out."""

    key: JobKey
    job: Job | None


class LoadedRow(msgspec.Struct, frozen=True, gc=False):
    """A job, by its key's text, and the values of its row, None for a row that is taken out."""

    key: str
    values: Values | None


@dataclass(frozen=True, slots=True)
class DecisionEntry:
    """A control and what came of it, None for a decision that is taken out."""

    control_id: str
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has opened the partition, when, and since when that worker has missed the robot; None if it is there."""

    worker_id: str
    opened_at: datetime
    robot_away_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class OwnerEntry:
    """Who has the partition; None where a release before 0.4 has opened it."""

    owner: Owner | None


@dataclass(frozen=True, slots=True)
class TableMark:
    """The partition has a table."""


Entry = JobEntry | DecisionEntry | OwnerEntry | TableMark


class _Owner(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    opened_by: str
    opened_at: datetime
    robot_away_since: datetime | None = None


class _Decision(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    version: int
    control_id: str
    action: Action
    actor: str
    reason: str
    requested_at: datetime
    decided_at: datetime
    workspace_id: str | None = None
    job_id: str | None = None
    detail: str | None = None
    refused: IgnoreReason | None = None
    in_force: bool = False


# A naive one would be another program's; so would a number that has more than Kafka's 64 bits.
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _PutOff(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    times: _Number
    since: _Instant
    until: _Instant
    reason: FailureReason
    error: str
    robot_status: _Number | None = None
    gives_up_at: _Instant | None = None


# An order as an array without the Nones at its end: [item id, status, tracking number, error type, error message].
_Order = tuple[str | None, ...]


class _Row(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", gc=False):
    version: int
    workspace_id: str
    job_id: str
    status: Status
    submitted_at: _Instant
    source: tuple[str, _Number, _Number]
    fingerprint: str
    order_count: _Number | None = None
    claimed_at: _Instant | None = None
    claimed_by: str | None = None
    accepted_at: _Instant | None = None
    deadline: _Instant | None = None
    ended_at: _Instant | None = None
    success_count: _Number | None = None
    error_count: _Number | None = None
    reason: FailureReason | None = None
    error: str | None = None
    robot_status: _Number | None = None
    robot_may_have_received: bool = False
    put_off: _PutOff | None = None
    orders: tuple[_Order, ...] = ()
    amended_at: _Instant | None = None
    resubmission_of: str | None = None
    resubmitted_as: str | None = None
    robot_restarted_at: _Instant | None = None
    called_at: _Instant | None = None
    answered_at: _Instant | None = None
    # [the control's id, who, why, from when on]
    stop: tuple[str, str, str, _Instant] | None = None
    traceparent: str | None = None


class _Version(msgspec.Struct):
    version: int


_NOT_AS_THEY_ARE = ("version", "source", "put_off", "orders", "stop")
_FIELDS = tuple(name for name in _Row.__struct_fields__ if name not in _NOT_AS_THEY_ARE)
_encoder = msgspec.json.Encoder()
# How a row of each version is read; no version ever goes, or is read in another way. One with another form than the
# last adds that, and one function that makes its row of the row before it.
_read_row = msgspec.json.Decoder(_Row).decode
_READERS: Mapping[int, Callable[[bytes], _Row]] = {1: _read_row, 2: _read_row, 3: _read_row}
# A row has the lowest version whose releases decide rightly by it. It rises when an older release, which passes over a
# field that it does not know, and loses it when it writes the row again, would decide wrongly; also with a status or
# reason that it does not know.
ROW_VERSION = max(_READERS)
_versions = msgspec.json.Decoder(_Version)
_keys = msgspec.json.Decoder(tuple[str, str])
_decision_keys = msgspec.json.Decoder(tuple[str])
# The form of decisions, which no release before this version reads.
DECISION_VERSION = 3
_read_decision = msgspec.json.Decoder(_Decision).decode
_read_owner = msgspec.json.Decoder(_Owner).decode
_CONTROL_FIELDS = ("control_id", "action", "workspace_id", "job_id", "actor", "reason", "requested_at", "detail")

T = TypeVar("T")


def row_key(key: JobKey) -> bytes:
    """Return the changelog key: a JSON array, so that no two pairs of ids make the same key."""
    return _encoder.encode(list(key))


def decision_key(control_id: str) -> bytes:
    """Return the changelog key of a decision: a JSON array of one, so that it is no job's."""
    return _encoder.encode([control_id])


def keys_of(workspace_id: str) -> Callable[[bytes], bool]:
    """Return what tells the keys of a workspace's jobs, and those that are no job's, from the rest; it decodes none."""
    prefix = row_key(JobKey(workspace_id, "")).removesuffix(b'"]')
    return lambda key: key.startswith(prefix) or is_no_job(key)


def is_no_job(key: bytes) -> bool:
    """Whether a key is not of the form of a job's; it is not decoded."""
    # It stands between two ids only: within one, a quotation mark has a backslash before it.
    return key.find(b'","', 2, -2) < 0


def is_job(job_id: str) -> Callable[[bytes], bool]:
    """Return what tells the keys of the jobs with an id, in whatever workspace; it decodes none."""
    suffix = row_key(JobKey("", job_id)).removeprefix(b'["')
    return lambda key: key.endswith(suffix)


def decode_entry(key: bytes, value: bytes | None) -> Entry:
    """Return what a record of the changelog says. Raises UnreadableRowError."""
    if key == CHANGELOG_TABLE_KEY:
        return TableMark()
    if key == CHANGELOG_OPENED_KEY:
        return OwnerEntry(None if value is None else _decode_owner(value))
    try:
        (control_id,) = _decision_keys.decode(key)
    except msgspec.MsgspecError:
        return _decode_job(key, value)
    return DecisionEntry(control_id, None if value is None else decode_decision(value))


def load_entry(key: bytes, value: bytes | None) -> LoadedRow | DecisionEntry | OwnerEntry | TableMark:
    """Return what `decode_entry` does, but of a job only what the table keeps, in a fifth of the time.

    Raises UnreadableRowError.
    """
    if value is not None and not is_no_job(key):
        row = _readable(value)
        if row.put_off is None and row.stop is None and not row.orders:
            return LoadedRow(text_of(row.workspace_id, row.job_id), values_of(row))
    entry = decode_entry(key, value)
    if not isinstance(entry, JobEntry):
        return entry
    return LoadedRow(entry.key.text, None if entry.job is None else values_of(entry.job))


def job_in(key: bytes | None, value: bytes | None) -> Job | None:
    """Return the row in a record of the changelog, None if it is none, or of a job that is taken out."""
    entry = None if key is None else decode_entry(key, value)
    return entry.job if isinstance(entry, JobEntry) else None


def _decode_job(key: bytes, value: bytes | None) -> JobEntry:
    if value is not None:
        job = decode_row(value)
        return JobEntry(job.key, job)
    try:
        return JobEntry(JobKey(*_keys.decode(key)), None)
    except msgspec.MsgspecError:
        raise UnreadableRowError("it has a key that is no job's: it was written by a newer release") from None


def encode_owner(owner: Owner) -> bytes:
    """Return the changelog value that says who has the partition."""
    return _encoder.encode(_Owner(owner.worker_id, owner.opened_at, owner.robot_away_since))


def _decode_owner(value: bytes) -> Owner:
    owner = _checked(_read_owner, value)
    return Owner(owner.opened_by, owner.opened_at, owner.robot_away_since)


def encode_decision(decision: Decision) -> bytes:
    """Return the changelog value of a decision."""
    control = {name: getattr(decision.control, name) for name in _CONTROL_FIELDS}
    row = _Decision(
        version=DECISION_VERSION,
        decided_at=decision.decided_at,
        refused=decision.refused,
        in_force=decision.in_force,
        **control,
    )
    return _encoder.encode(row)


def decode_decision(value: bytes) -> Decision:
    """Return the decision of a changelog value. Raises UnreadableRowError."""
    row = _checked(_read_decision, value)
    if row.version != DECISION_VERSION:
        raise _unreadable_version("a decision", row.version)
    control = Control(**{name: getattr(row, name) for name in _CONTROL_FIELDS})
    return Decision(control, row.decided_at, row.refused, row.in_force)


def encode_row(job: Job) -> bytes:
    """Return the changelog value of a job."""
    put_off = None if job.put_off is None else _PutOff(**msgspec.structs.asdict(job.put_off))
    values = {name: getattr(job, name) for name in _FIELDS}
    orders = tuple(map(_order, job.orders))
    own: dict[str, Any] = {"version": _version(job), "source": job.source, "stop": job.stop}
    return _encoder.encode(_Row(put_off=put_off, orders=orders, **own, **values))


def _version(job: Job) -> int:
    # Version 2 has not the reasons, and would lose that a job is given up.
    if job.stop is not None:
        return 3
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
    row = _readable(value)
    try:
        put_off = None if row.put_off is None else PutOff(**msgspec.structs.asdict(row.put_off))
        values = {name: getattr(row, name) for name in _FIELDS}
        orders = tuple(map(_result, row.orders))
        stop = None if row.stop is None else Stop(*row.stop)
        return Job(source=Source(*row.source), put_off=put_off, orders=orders, stop=stop, **values)
    except (ValueError, TypeError) as error:
        raise _unreadable("a job row", error) from None


def _readable(value: bytes) -> _Row:
    """Return the row of a changelog value. Raises UnreadableRowError."""
    try:
        row = _read_row(value)
    except msgspec.MsgspecError:
        pass
    else:
        # Most rows are, and are read once.
        if _READERS.get(row.version) is _read_row:
            return row
    try:
        version = _versions.decode(value).version
        if (read := _READERS.get(version)) is not None:
            return read(value)
    except msgspec.MsgspecError as error:
        raise _unreadable("a job row", error) from None
    raise _unreadable_version("a job row", version)


def _checked(read: Callable[[bytes], T], value: bytes) -> T:
    try:
        return read(value)
    except msgspec.MsgspecError as error:
        raise _unreadable("a row", error) from None


def _unreadable(what: str, error: Exception) -> UnreadableRowError:
    # What it quotes is a path in the row and never more than a word of it.
    return UnreadableRowError(
        f"{what} cannot be read ({error}): it was written by a newer release, or by another program"
    )


def _unreadable_version(what: str, version: int) -> UnreadableRowError:
    return UnreadableRowError(
        f"{what} has version {version}, this release reads 1 to {ROW_VERSION}: run the release that wrote it"
    )


def utc_text(instant: datetime | None) -> str | None:
    """Return an instant as RFC 3339 in UTC with milliseconds, as records and log lines show it."""
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
