"""The history checker finds what a run has broken, and nothing in a run that kept its promises."""

import base64
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from streams.core.job import FailureReason, Job, JobKey, OrderResult, OrderStatus, Source, Status
from streams.dev.history import History, HistoryError, Post, position, read_history, read_posts
from streams.dev.history_check import check
from streams.dev.violations import ViolationKind
from streams.kafka.topics import create_topics
from streams.names import DeadLetterReason, Topic, changelog_topic
from streams.wire.dead_letters import dead_letter
from streams.wire.outcomes import amendment_record, outcome_record
from streams.wire.placement import partition_of
from streams.wire.records import NewRecord, SourceRecord
from streams.wire.rows import encode_row, row_key
from tests.support.kafka import Kafka
from tests.support.settings import settings_of

APP = "checked"
PARTITIONS = 4
PASSWORD = "correct horse battery"
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY = JobKey("workspace", "job")
DEADLINE = START + timedelta(seconds=60)


@dataclass
class Log:
    """A history in the making: each method appends what a producer or a worker would have written."""

    records: dict[str, list[SourceRecord]] = field(default_factory=dict)

    def append(self, new: NewRecord, at: datetime = START) -> SourceRecord:
        topic = self.records.setdefault(new.topic, [])
        offset = sum(record.partition == new.partition for record in topic)
        timestamp = new.timestamp or at
        topic.append(SourceRecord(new.topic, new.partition, offset, timestamp, new.key, new.value, new.headers))
        return topic[-1]

    def submit(self, key: JobKey = KEY, partition: int | None = None, **changes: Any) -> SourceRecord:
        order = {"itemId": "i", "orderId": "o", "pedidoInput": {"ciudad": "Bogotá"}}
        credentials = {"username": "u", "password": PASSWORD}
        value = {"jobId": key.job_id, "workspaceId": key.workspace_id, "credentials": credentials, "orders": [order]}
        return self.write(Topic.SUBMITTED, json.dumps(value | changes).encode(), key, partition)

    def report(
        self, key: JobKey = KEY, counts: Any = (1, 0), at: datetime = START, partition: int | None = None
    ) -> SourceRecord:
        names = {"jobId": key.job_id, "workspaceId": key.workspace_id}
        value = names | {"successCount": counts[0], "errorCount": counts[1]}
        return self.write(Topic.BATCH_COMPLETED, json.dumps(value).encode(), key, partition, at)

    def report_order(
        self, item_id: str = "i", status: str = "success", at: datetime = START, partition: int | None = None
    ) -> SourceRecord:
        ids = {"jobId": KEY.job_id, "workspaceId": KEY.workspace_id, "itemId": item_id}
        value = ids | {"status": status, "trackingNumber": "7", "reportedAt": "2026-01-31T12:00:00.000Z"}
        return self.write(Topic.ORDER_REPORTED, json.dumps(value).encode(), KEY, partition, at)

    def write(
        self,
        topic: Topic,
        value: bytes | None,
        key: JobKey = KEY,
        partition: int | None = None,
        at: datetime = START,
    ) -> SourceRecord:
        target = partition_of(key.workspace_id, PARTITIONS) if partition is None else partition
        return self.append(NewRecord(topic, target, key.workspace_id.encode(), value), at)

    def end(self, source: SourceRecord, key: JobKey = KEY, reason: FailureReason | None = None) -> Job:
        """Write the outcome and the row of a job: completed with (1, 0), or failed."""
        job = Job(
            workspace_id=key.workspace_id,
            job_id=key.job_id,
            status=Status.FAILED if reason else Status.COMPLETED,
            submitted_at=START,
            source=Source(source.topic, source.partition, source.offset),
            fingerprint="",
            order_count=1,
            claimed_at=START,
            deadline=DEADLINE,
            ended_at=DEADLINE + timedelta(seconds=1),
            success_count=None if reason else 1,
            error_count=None if reason else 0,
            reason=reason,
            error="" if reason else None,
        )
        self.tell(job)
        self.keep(job)
        return job

    def tell(self, job: Job) -> None:
        """Write the outcome."""
        self.append(outcome_record(job, job.source.partition, APP))

    def keep(self, job: Job) -> None:
        """Write the row."""
        row = NewRecord(changelog_topic(APP), job.source.partition, row_key(job.key), encode_row(job))
        self.append(row)

    def bury(self, record: SourceRecord, reason: DeadLetterReason = DeadLetterReason.MALFORMED) -> None:
        self.append(dead_letter(record, reason, "why", 10_000))

    def violations(self, *posted: JobKey) -> list[ViolationKind]:
        history = History(APP, PARTITIONS, self.records)
        return [violation.kind for violation in check(history, [Post(key, START) for key in posted], [PASSWORD])]


def completed() -> Log:
    log = Log()
    log.end(log.submit())
    log.report()
    return log


def elsewhere(key: JobKey = KEY) -> int:
    return (partition_of(key.workspace_id, PARTITIONS) + 1) % PARTITIONS


def test_a_completed_job_that_was_posted_once_breaks_nothing() -> None:
    assert completed().violations(KEY) == []


def test_a_job_that_was_posted_twice_is_found() -> None:
    assert completed().violations(KEY, KEY) == [ViolationKind.POSTED_TWICE]


def test_the_same_job_id_posted_in_two_workspaces_is_two_jobs() -> None:
    log, other = completed(), JobKey("other", KEY.job_id)
    log.end(log.submit(other), other)
    assert log.violations(KEY, other) == []


def test_a_post_without_a_submission_is_found() -> None:
    assert completed().violations(KEY, JobKey("other", KEY.job_id)) == [ViolationKind.POSTED_UNKNOWN]


def test_a_post_of_a_submission_that_the_contract_forbids_is_found() -> None:
    log = Log()
    source = log.submit(orders=[])
    log.bury(source, DeadLetterReason.INVALID)
    log.end(source, reason=FailureReason.INVALID_SUBMISSION)
    assert log.violations() == []
    assert log.violations(KEY) == [ViolationKind.POSTED_UNKNOWN, ViolationKind.POST_DENIED]


@pytest.mark.parametrize("reason", [FailureReason.ROBOT_UNREACHABLE, FailureReason.NOT_DISPATCHED])
def test_an_outcome_that_denies_a_post_is_found(reason: FailureReason) -> None:
    log = Log()
    log.end(log.submit(), reason=reason)
    assert log.violations() == []
    assert log.violations(KEY) == [ViolationKind.POST_DENIED]


def test_an_accepted_job_without_outcome_is_found() -> None:
    log = Log()
    job = log.end(log.submit())
    del log.records[Topic.COMPLETED]
    log.keep(replace(job, status=Status.PROCESSING))
    assert log.violations(KEY) == [ViolationKind.NO_OUTCOME]


@pytest.mark.parametrize("reason", [DeadLetterReason.SUBMISSION_EXPIRED, DeadLetterReason.FUTURE_TIMESTAMP])
def test_a_submission_turned_away_for_its_age_needs_no_outcome(reason: DeadLetterReason) -> None:
    log = Log()
    log.bury(log.submit(), reason)
    assert log.violations() == []


def test_a_second_outcome_is_found() -> None:
    log = Log()
    job = log.end(log.submit())
    log.tell(replace(job, status=Status.FAILED, reason=FailureReason.INTERNAL_ERROR, error="a bug"))
    assert log.violations(KEY) == [ViolationKind.SEVERAL_OUTCOMES]


def test_an_outcome_of_a_job_that_nobody_submitted_is_found() -> None:
    log = completed()
    log.end(log.records[Topic.SUBMITTED][0], JobKey("nobody", "job"))
    assert log.violations(KEY) == [ViolationKind.UNKNOWN_OUTCOME]


@pytest.mark.parametrize("reason", [FailureReason.TIMEOUT, FailureReason.DISPATCH_UNKNOWN])
@pytest.mark.parametrize(
    ("came", "found"),
    [
        (START - timedelta(seconds=1), []),
        (START, [ViolationKind.COMPLETION_IGNORED]),
        (DEADLINE - timedelta(milliseconds=1), [ViolationKind.COMPLETION_IGNORED]),
        (DEADLINE, []),
    ],
)
def test_a_completion_between_claim_and_deadline_forbids_a_time_out(
    reason: FailureReason, came: datetime, found: list[ViolationKind]
) -> None:
    log = Log()
    log.end(log.submit(), reason=reason)
    log.bury(log.report(at=came), DeadLetterReason.LATE_COMPLETION)
    assert log.violations(KEY) == found


def test_a_misplaced_completion_in_time_forbids_a_time_out_too() -> None:
    log = Log()
    log.end(log.submit(), reason=FailureReason.TIMEOUT)
    log.bury(log.report(partition=elsewhere()))
    assert log.violations(KEY) == [ViolationKind.COMPLETION_IGNORED]


def test_a_completion_after_a_broken_call_is_late_even_before_the_deadline() -> None:
    log = Log()
    job = log.end(log.submit(), reason=FailureReason.DISPATCH_UNKNOWN)
    log.keep(replace(job, ended_at=START + timedelta(seconds=1)))
    log.bury(log.report(at=START + timedelta(seconds=2)), DeadLetterReason.LATE_COMPLETION)
    assert log.violations(KEY) == []


ONE, TWO = (OrderResult(item_id, OrderStatus.SUCCESS, "7") for item_id in ("i", "i2"))


def test_a_report_must_be_in_the_outcome_an_amendment_or_a_letter() -> None:
    log = Log()
    job = log.end(log.submit(), reason=FailureReason.TIMEOUT)
    record = log.report_order(at=DEADLINE)
    assert log.violations(KEY) == [ViolationKind.UNACCOUNTED]
    log.append(amendment_record(replace(job, orders=(ONE,), amended_at=DEADLINE), record.partition, APP))
    assert log.violations(KEY) == []
    other = log.report_order(status="error", at=DEADLINE)
    assert log.violations(KEY) == [ViolationKind.UNACCOUNTED]
    log.bury(other, DeadLetterReason.DUPLICATE_MISMATCH)
    assert log.violations(KEY) == []


def test_a_report_that_the_outcome_tells_of_is_accounted_for_however_often_it_came() -> None:
    log = Log()
    job = log.end(log.submit())
    log.records[Topic.COMPLETED].clear()
    log.tell(replace(job, orders=(ONE,)))
    for _ in range(2):
        log.report_order()
    assert log.violations(KEY) == []


@pytest.mark.parametrize(
    ("second", "found"),
    [(DEADLINE - timedelta(milliseconds=1), [ViolationKind.REPORTS_IGNORED]), (DEADLINE, [])],
)
def test_a_job_whose_orders_were_all_reported_in_time_does_not_time_out(
    second: datetime, found: list[ViolationKind]
) -> None:
    log = Log()
    job = log.end(log.submit(), reason=FailureReason.TIMEOUT)
    log.keep(replace(job, orders=(ONE, TWO), order_count=2))
    for item_id, at in (("i", START), ("i2", second)):
        log.bury(log.report_order(item_id, at=at))
    assert log.violations(KEY) == found


@pytest.mark.parametrize("write", [Log.submit, Log.report, Log.report_order])
def test_a_misplaced_record_must_have_its_copy(write: Callable[..., SourceRecord]) -> None:
    log = Log()
    write(log, partition=elsewhere())
    assert log.violations() == [ViolationKind.UNACCOUNTED]
    log.bury(write(log), DeadLetterReason.SUBMISSION_EXPIRED)
    assert log.violations() == []


def test_what_is_repeated_needs_nothing() -> None:
    log = completed()
    log.submit(credentials={"username": "another", "password": PASSWORD})
    log.report()
    assert log.violations(KEY) == []


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda log: log.submit(carrier="another"), DeadLetterReason.CONFLICT),
        (lambda log: log.report(counts=(0, 1)), DeadLetterReason.DUPLICATE_MISMATCH),
        (lambda log: log.report(JobKey("other", KEY.job_id)), DeadLetterReason.UNKNOWN_JOB),
        *((lambda log, bad=bad: log.report(counts=(bad, 0)), DeadLetterReason.INVALID) for bad in (-1, "1", None)),
    ],
)
def test_what_changes_nothing_must_be_dead_lettered(
    write: Callable[[Log], SourceRecord], reason: DeadLetterReason
) -> None:
    log = completed()
    record = write(log)
    assert log.violations(KEY) == [ViolationKind.UNACCOUNTED]
    log.bury(record, reason)
    assert log.violations(KEY) == []


def test_a_late_completion_may_be_in_an_amendment() -> None:
    log = Log()
    job = log.end(log.submit(), reason=FailureReason.TIMEOUT)
    record = log.report(at=DEADLINE)
    assert log.violations(KEY) == [ViolationKind.UNACCOUNTED]
    told = replace(job, success_count=1, error_count=0, amended_at=DEADLINE)
    log.append(amendment_record(told, record.partition, APP))
    assert log.violations(KEY) == []


@pytest.mark.parametrize("topic", [Topic.SUBMITTED, Topic.BATCH_COMPLETED, Topic.ORDER_REPORTED])
@pytest.mark.parametrize("value", [None, b"", b"not json", b"[]", b'{"jobId": 1}', b"\xff", b"[" * 5000])
def test_a_record_that_cannot_be_read_must_be_dead_lettered(topic: Topic, value: bytes | None) -> None:
    log = Log()
    record = log.write(topic, value)
    assert log.violations() == [ViolationKind.UNACCOUNTED]
    log.bury(record)
    assert log.violations() == []


def test_a_submission_of_which_nothing_came_is_found() -> None:
    log = completed()
    log.submit(JobKey("lost", "job"))
    assert log.violations(KEY) == [ViolationKind.NO_OUTCOME, ViolationKind.UNACCOUNTED]


def test_a_bad_submission_must_be_dead_lettered_beside_its_outcome() -> None:
    log = Log()
    source = log.submit(carrier=7)
    log.end(source, reason=FailureReason.INVALID_SUBMISSION)
    assert log.violations() == [ViolationKind.UNACCOUNTED]


@pytest.mark.parametrize("prefix", ["", "x", "xy"])
def test_a_secret_in_base64_is_found_at_any_alignment(prefix: str) -> None:
    log = completed()
    encoded = base64.b64encode((prefix + PASSWORD + "!").encode())
    outcome = log.records[Topic.COMPLETED][0]
    log.append(NewRecord(Topic.COMPLETED, 0, None, outcome.value, (("note", encoded),)))
    assert ViolationKind.SECRET in log.violations(KEY)


@pytest.mark.parametrize("part", ["key", "value", "header"])
def test_a_secret_is_found_in_every_part_of_a_record(part: str) -> None:
    log = completed()
    secret = f"see {PASSWORD}".encode()
    letter = log.report(JobKey("other", "job"))
    log.bury(letter, DeadLetterReason.UNKNOWN_JOB)
    topic = log.records[Topic.DLQ_BATCH_COMPLETED]
    changes: dict[str, dict[str, Any]] = {
        "key": {"key": secret},
        "value": {"value": secret},
        "header": {"headers": (*topic[0].headers, ("h", secret))},
    }
    topic[0] = dataclasses.replace(topic[0], **changes[part])
    assert log.violations(KEY) == [ViolationKind.SECRET]


def test_a_violation_is_one_line_that_names_job_or_record() -> None:
    log = completed()
    lost = log.write(Topic.SUBMITTED, b"poison")
    (violation,) = check(History(APP, PARTITIONS, log.records), [])
    assert str(violation).startswith(f"{position(lost)}: ")
    assert "\n" not in str(violation)


def test_the_robots_log_is_read(tmp_path: Path) -> None:
    log_file = tmp_path / "posts.jsonl"
    assert read_posts(log_file) == []
    note = {"job_id": KEY.job_id, "workspace_id": KEY.workspace_id, "received_at": START.isoformat(), "more": 1}
    log_file.write_text(json.dumps(note) + "\n")
    assert read_posts(log_file) == [Post(KEY, START)]


async def test_what_is_committed_now_is_read_and_nothing_else(kafka: Kafka) -> None:
    options = {"bootstrap_servers": kafka.bootstrap_servers}
    await create_topics(settings_of(kafka.bootstrap_servers, ROBOT_ORCHESTRATOR_APP_ID=APP), PARTITIONS, 1)
    async with AIOKafkaProducer(**options, transactional_id=APP) as producer:
        async with producer.transaction():
            await producer.send(Topic.SUBMITTED, b"committed", headers=[("h", b"1"), ("h", b"2")], partition=0)
        await producer.begin_transaction()
        await producer.send_and_wait(Topic.SUBMITTED, b"aborted", partition=0)
        await producer.abort_transaction()
        history = await read_history(options, APP)
    found = {record.value: record.headers for record in history.of(Topic.SUBMITTED)}
    assert found[b"committed"] == (("h", b"1"), ("h", b"2"))
    assert b"aborted" not in found
    assert history.of(changelog_topic(APP)) == []


async def test_missing_topics_are_named(kafka: Kafka) -> None:
    with pytest.raises(HistoryError, match="nobody-jobs-changelog"):
        await read_history({"bootstrap_servers": kafka.bootstrap_servers}, "nobody")
