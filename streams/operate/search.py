"""Which jobs are asked for: by what their rows say, or by what lies in their submissions."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from streams.core.job import FailureReason, Job, JobKey, Status
from streams.names import Topic
from streams.operate.job_rows import Progress, RecordReader

_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class _Order(msgspec.Struct):
    itemId: Any = None  # the name on the wire
    orderId: Any = None  # the name on the wire


class _Submission(msgspec.Struct):
    workspaceId: str  # the name on the wire
    jobId: str  # the name on the wire
    orders: list[_Order]


# What else a submission has, its credentials first of all, is passed over and never decoded.
_submissions = msgspec.json.Decoder(_Submission)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a row must say; None for whatever it says. Times are those of the submission."""

    job_id: str | None = None
    item_id: str | None = None
    status: Status | None = None
    reason: FailureReason | None = None
    since: datetime | None = None
    until: datetime | None = None

    def finds(self, job: Job) -> bool:
        """Whether a job is asked for."""
        return (
            self.job_id in (None, job.job_id)
            and self.status in (None, job.status)
            and self.reason in (None, job.reason)
            and (self.since is None or job.submitted_at >= self.since)
            and (self.until is None or job.submitted_at < self.until)
            and (self.item_id is None or any(order.item_id == self.item_id for order in job.orders))
        )


def instant_in(text: str, now: datetime) -> datetime:
    """Return the instant that a text says: ISO 8601, in UTC if it says no zone, or 90s, 15m, 2h or 3d ago.

    Raises ValueError, and OverflowError for one before the year 1.
    """
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


async def jobs_with_order(
    reader: RecordReader, numbers: Collection[int], wanted: str, progress: Progress
) -> set[JobKey]:
    """Return the jobs whose submission has an order with this order id or item id, as far as it is still there.

    Raises what the reader does.
    """
    found: set[JobKey] = set()

    def take(message: Any) -> None:
        try:
            submission = _submissions.decode(message.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if any(wanted in (order.orderId, order.itemId) for order in submission.orders):
            found.add(JobKey(submission.workspaceId, submission.jobId))

    await reader.scan(Topic.SUBMITTED, numbers, take, progress)
    return found
