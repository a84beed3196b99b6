"""Jobs that go through their whole life in the pure core and on the wire, stage by stage: no Kafka, and no clock."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from streams.core.events import Admitted, Event, RobotAccepted
from streams.core.job import JobKey
from streams.core.table import JobTable
from streams.names import Topic
from streams.wire.intake import Apply, interpret
from streams.wire.outcomes import outcome_record
from streams.wire.records import SourceRecord
from streams.wire.robot_request import build_request
from streams.wire.rows import encode_row, row_key, utc_text
from tests.benchmarks.jobs import make_submissions
from tests.core.builders import DEADLINES, NOW
from tests.support.engine import APP, FOLLOWED, NOT_FOLLOWED


class Lives:
    """So many jobs, each of a workspace of its own, with ids that nobody else has. `followed`: order by order.

    A stage is one step of every job; what a worker would write or send is made, and thrown away. All of it happens at
    one instant, in a partition that has no other.
    """

    def __init__(self, jobs: int, *, followed: bool) -> None:
        self._table = JobTable(DEADLINES, 1, lambda last: 0 if last is None else last + 1)
        self._callback = FOLLOWED if followed else NOT_FOLLOWED
        self._payloads = {JobKey(one.workspace_id, one.job_id): one.value for one in make_submissions(jobs)}
        orders = [order["itemId"] for order in msgspec.json.decode(next(iter(self._payloads.values())))["orders"]]
        self._items = tuple(orders) if followed else ()
        told: dict[str, tuple[Topic, dict[str, Any]]] = {
            f"order {nth} reported": (Topic.ORDER_REPORTED, _report(item)) for nth, item in enumerate(self._items, 1)
        }
        told = told or {"completed": (Topic.BATCH_COMPLETED, {"successCount": len(orders), "errorCount": 0})}
        self.stages: Mapping[str, Callable[[], None]] = {
            "submitted": partial(self._read, self._submissions()),
            "claimed": self._claim,
            "accepted": self._accept,
            **{stage: partial(self._read, self._records(*what)) for stage, what in told.items()},
        }

    @property
    def ended(self) -> bool:
        """Whether all jobs have their outcome."""
        return all(job.ended for job in self._table.rows())

    def _submissions(self) -> list[SourceRecord]:
        return [_record(Topic.SUBMITTED, key, value) for key, value in self._payloads.items()]

    def _records(self, topic: Topic, fields: dict[str, Any]) -> list[SourceRecord]:
        ids = [{"workspaceId": key.workspace_id, "jobId": key.job_id} for key in self._payloads]
        values = [msgspec.json.encode({**names, **fields}) for names in ids]
        return [_record(topic, key, value) for key, value in zip(self._payloads, values, strict=True)]

    def _read(self, records: list[SourceRecord]) -> None:
        for record in records:
            meaning = interpret(record, 1, DEADLINES, NOW)
            assert isinstance(meaning, Apply)
            self._apply(meaning.event)

    def _claim(self) -> None:
        while self._table.ready(NOW) and (job := self._table.next()) is not None:
            self._apply(Admitted(job.key, "worker-1", self._items))
            build_request(self._payloads[job.key], self._callback)

    def _accept(self) -> None:
        for key in self._payloads:
            self._apply(RobotAccepted(key, NOW, NOW))

    def _apply(self, event: Event) -> None:
        job = self._table.apply(event, NOW).row
        assert job is not None
        row_key(job.key)
        encode_row(job)
        if job.ended:
            outcome_record(job, 0, APP)


def _record(topic: Topic, key: JobKey, value: bytes) -> SourceRecord:
    return SourceRecord(topic, 0, 0, NOW, key.workspace_id.encode(), value, ())


def _report(item_id: str) -> dict[str, Any]:
    return {"itemId": item_id, "status": "success", "trackingNumber": "7300000001", "reportedAt": utc_text(NOW)}
