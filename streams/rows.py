"""The row of the job table as it lies in the changelog topic: a JSON object, with a version."""

from datetime import UTC, datetime

import msgspec

from streams.core.job import FailureReason, Job, JobKey, Source, Status

ROW_VERSION = 1


class NewerRowError(Exception):
    """A row was written by a newer release; this one could misread it."""


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


class _Version(msgspec.Struct):
    version: int


_FIELDS = tuple(name for name in _Row.__struct_fields__ if name not in ("version", "source"))
_encoder = msgspec.json.Encoder()
_rows = msgspec.json.Decoder(_Row)
_versions = msgspec.json.Decoder(_Version)


def row_key(key: JobKey) -> bytes:
    """Return the changelog key: a JSON array, so that no two pairs of ids make the same key."""
    return _encoder.encode(list(key))


def encode_row(job: Job) -> bytes:
    """Return the changelog value of a job."""
    return _encoder.encode(
        _Row(version=ROW_VERSION, source=job.source, **{name: getattr(job, name) for name in _FIELDS})
    )


def decode_row(value: bytes) -> Job:
    """Return the job of a changelog value.

    Raises NewerRowError for a row of a newer release, and msgspec's errors for one that is no row at all.
    """
    version = _versions.decode(value).version
    if version > ROW_VERSION:
        raise NewerRowError(f"a job row has version {version}, this release reads up to {ROW_VERSION}")
    row = _rows.decode(value)
    return Job(source=Source(*row.source), **{name: getattr(row, name) for name in _FIELDS})


def utc_text(instant: datetime | None) -> str | None:
    """Return an instant as RFC 3339 in UTC with milliseconds, as records and log lines show it."""
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
