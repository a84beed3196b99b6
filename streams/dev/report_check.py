"""What became of the reports of single orders: each is in its job's outcome, in an amendment, or a dead letter."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from pydantic import ValidationError

from schemas import OrderReported
from streams.core.job import FailureReason, JobKey
from streams.dev.history import History, copies_of, copy_in, job_key, missed_deadline, position
from streams.dev.violations import Violation, ViolationKind, name_of
from streams.names import OUTCOME_TOPICS, Topic
from streams.wire.placement import partition_of
from streams.wire.records import SourceRecord

# How an outcome or an amendment shows what was reported of an order: cut texts are not compared.
_Shown = tuple[str, str, str | None]


def check_reports(history: History) -> Iterator[Violation]:
    """Yield every report of which nothing came, and every job that failed with all its orders reported in time."""
    records = history.of(Topic.ORDER_REPORTED)
    copies, letters, shown = copies_of(records), history.letters(), _shown(history)
    told_at: dict[JobKey, dict[str, datetime]] = defaultdict(dict)
    for record in records:
        key, report = job_key(record), _read(record)
        home = record.partition if key is None else partition_of(key.workspace_id, history.partitions)
        if key is not None and report is not None:
            items = told_at[key]
            items[report.itemId] = min(record.timestamp, items.get(report.itemId, record.timestamp))
        if position(record) in letters or (home != record.partition and copy_in(record, home) in copies):
            continue
        if key is None or report is None:
            yield Violation(ViolationKind.UNACCOUNTED, position(record), "no report, and not dead-lettered")
        elif (report.itemId, report.status, report.trackingNumber) not in shown.get(key, ()):
            yield Violation(ViolationKind.UNACCOUNTED, position(record), "told nowhere, and not dead-lettered")
    yield from _failed(history, told_at)


def _failed(history: History, told_at: dict[JobKey, dict[str, datetime]]) -> Iterator[Violation]:
    for key, row in history.rows().items():
        end, what = missed_deadline(row), "its deadline"
        if row.reason is FailureReason.ROBOT_REJECTED:
            end, what = row.answered_at, "its refusal"
        if end is None:
            continue
        reported = [told_at[key].get(order.item_id, end) for order in row.orders]
        if reported and len(reported) == row.order_count and max(reported) < end:
            yield Violation(
                ViolationKind.REPORTS_IGNORED, name_of(key), f"the last one {end - max(reported)} before {what}"
            )


def _read(record: SourceRecord) -> OrderReported | None:
    """Return a report; None if the contract forbids it."""
    try:
        return OrderReported.model_validate_json(record.value or b"")
    except ValidationError:
        return None


def _shown(history: History) -> dict[JobKey, set[_Shown]]:
    """Return what the outcomes and amendments of each job say of its orders."""
    values = history.values(*OUTCOME_TOPICS, Topic.AMENDED)
    return {
        key: {
            (order["itemId"], order["status"], order.get("trackingNumber"))
            for value in of_job
            for order in value.get("orders") or ()
        }
        for key, of_job in values.items()
    }
