"""Rows as every release so far has written them, in `tests/rows`: a file there is never changed, nor made anew."""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from streams.core.controls import Action, Control, Decision
from streams.core.effects import IgnoreReason
from streams.core.job import FailureReason, Job, OrderResult, OrderStatus, PutOff, Source, Status, Stop
from streams.core.packed import Packer, values_of
from streams.names import CHANGELOG_OPENED_KEY, CHANGELOG_TABLE_KEY
from streams.wire.rows import (
    ROW_VERSION,
    TABLE_MARK,
    DecisionEntry,
    JobEntry,
    LoadedRow,
    Owner,
    OwnerEntry,
    TableMark,
    UnreadableRowError,
    decision_key,
    decode_entry,
    encode_decision,
    encode_owner,
    encode_row,
    load_entry,
    row_key,
)

FOLDER = Path(__file__).parents[1] / "rows"


def at(minute: int, second: int = 0, microsecond: int = 0) -> datetime:
    return datetime(2026, 1, 31, 12, minute, second, microsecond, tzinfo=UTC)


PENDING = Job(
    workspace_id="5d1c5e0e-workspace",
    job_id="0f8b2a6c-job",
    status=Status.PENDING,
    submitted_at=at(0),
    source=Source("robot.job.submitted", 3, 41),
    fingerprint="b5ae11b2a5d61ef41c0a9b91388e8833",
    order_count=2,
)
CALLED = replace(
    PENDING,
    status=Status.PROCESSING,
    submitted_at=at(0, 0, 250_000),
    claimed_at=at(0, 10, 123_456),
    claimed_by="worker-1:4711",
    deadline=at(7, 40, 123_456),
    robot_may_have_received=True,
)
ACCEPTED = replace(CALLED, accepted_at=at(0, 12), deadline=at(6, 12))
COMPLETED = replace(ACCEPTED, status=Status.COMPLETED, ended_at=at(1, 20, 7), success_count=2, error_count=0)
TIMEOUT = replace(
    ACCEPTED,
    status=Status.FAILED,
    ended_at=at(6, 12, 900_000),
    reason=FailureReason.TIMEOUT,
    error="no completion came in time",
)
REJECTED = replace(
    CALLED,
    status=Status.FAILED,
    ended_at=at(0, 11),
    reason=FailureReason.ROBOT_REJECTED,
    error="Robot service error 503: busy",
    robot_status=503,
)
UNREACHABLE = replace(
    CALLED,
    status=Status.FAILED,
    ended_at=at(0, 11),
    reason=FailureReason.ROBOT_UNREACHABLE,
    error="ConnectError: connection refused",
    robot_may_have_received=False,
)
ORDERS = (
    OrderResult("5f0c-item"),
    OrderResult("6a1d-item", OrderStatus.SUCCESS),
    OrderResult("7b2e-item", OrderStatus.SUCCESS, "53100000001"),
    OrderResult("8c3f-item", OrderStatus.ERROR, None, "portal", "Ciudad «X» no existe"),
    OrderResult("9d40-item", OrderStatus.ERROR, error_message="unreported"),
)
STOP = Stop("7e57-control", "ana@example.com", "dirección «mala»", at(5, 0, 1))
# What a file decodes to, by version and name.
JOBS: Mapping[int, Mapping[str, Job]] = {
    1: {
        "pending": PENDING,
        "called": CALLED,
        "accepted": ACCEPTED,
        "completed": COMPLETED,
        # The completion was there before the robot's answer, and reports orders that were not submitted.
        "completed_unanswered": replace(
            CALLED, status=Status.COMPLETED, ended_at=at(1), success_count=0, error_count=2_147_483_647
        ),
        "timeout": TIMEOUT,
        "robot_rejected": REJECTED,
        "robot_unreachable": UNREACHABLE,
        "dispatch_unknown": replace(
            UNREACHABLE, reason=FailureReason.DISPATCH_UNKNOWN, error=None, robot_may_have_received=True
        ),
        "not_dispatched": replace(UNREACHABLE, reason=FailureReason.NOT_DISPATCHED),
        # Its orders could not be read, so nobody has counted them.
        "invalid_submission": replace(
            PENDING,
            status=Status.FAILED,
            fingerprint="",
            order_count=None,
            ended_at=at(0, 1),
            reason=FailureReason.INVALID_SUBMISSION,
            error="orders: Field required",
        ),
        "submission_expired": replace(
            PENDING, status=Status.FAILED, ended_at=at(59, 59, 999_999), reason=FailureReason.SUBMISSION_EXPIRED
        ),
        # Its call is to be made again; the next one waits for the robot.
        "put_off": replace(
            PENDING,
            deadline=at(15, 11),
            put_off=PutOff(
                times=2,
                since=at(0, 11),
                until=at(0, 31, 500_000),
                reason=FailureReason.ROBOT_REJECTED,
                error="Robot service error 409: busy",
                robot_status=409,
                gives_up_at=at(15, 11),
            ),
        ),
        "put_off_without_a_status": replace(
            PENDING,
            put_off=PutOff(
                times=1,
                since=at(0, 11),
                until=at(0, 11),
                reason=FailureReason.ROBOT_UNREACHABLE,
                error="ConnectError: connection refused",
            ),
        ),
        # The robot had it when it was started again; the deadline is still to come.
        "batch_lost": replace(ACCEPTED, robot_restarted_at=at(3, 4, 500_000)),
        "internal_error": replace(UNREACHABLE, reason=FailureReason.INTERNAL_ERROR),
        "timeout_followed": replace(TIMEOUT, order_count=5, orders=ORDERS),
        "timeout_amended": replace(TIMEOUT, success_count=2, error_count=0, amended_at=at(9, 1, 5)),
        "resubmitted": replace(REJECTED, resubmitted_as="1f8b2a6c-job"),
        "resubmission": replace(PENDING, job_id="1f8b2a6c-job", resubmission_of="0f8b2a6c-job"),
        "traced": replace(PENDING, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        "accepted_call": replace(ACCEPTED, called_at=at(0, 11, 500_000)),
        "robot_rejected_call": replace(REJECTED, called_at=at(0, 10, 500_000), answered_at=at(0, 10, 900_000)),
        "letters": replace(
            REJECTED,
            workspace_id='MEDELLÍN/"7"\\\n\x00\u2028',
            job_id="número 5, 仕事 🤖",
            source=Source("robot.job.submitted", 0, 9_223_372_036_854_775_807),
            claimed_by="máquina-ñ",
            error="Ciudad «MEDELLÍN» no existe\t\x7f",
        ),
    },
    # Of jobs at the robot that are followed order by order.
    2: {
        "called_followed": replace(CALLED, order_count=5, orders=ORDERS),
        "accepted_followed": replace(ACCEPTED, order_count=5, orders=ORDERS),
    },
    3: {
        # Of an older release, it would wait for its deadline, or have an end that nobody asked for.
        "given_up": replace(ACCEPTED, stop=STOP),
        "given_up_ended": replace(TIMEOUT, reason=FailureReason.GIVEN_UP, error="Given up by ana", stop=STOP),
        "cancelled": replace(
            PENDING, status=Status.FAILED, ended_at=at(0, 5), reason=FailureReason.CANCELLED, stop=STOP
        ),
    },
}


def names(version: int) -> list[str]:
    return [path.name for path in sorted((FOLDER / f"v{version}").iterdir())]


@pytest.mark.parametrize(("version", "name"), [(version, name) for version in JOBS for name in JOBS[version]])
def test_a_row_that_a_release_has_written_is_read_by_every_later_one(version: int, name: str) -> None:
    folder = FOLDER / f"v{version}"
    key, value = (folder / f"{name}.key.json").read_bytes(), (folder / f"{name}.json").read_bytes()
    job = JOBS[version][name]
    assert decode_entry(key, value) == JobEntry(job.key, job)
    assert decode_entry(key, None) == JobEntry(job.key, None)
    assert load_entry(key, value) == LoadedRow(job.key.text, values_of(job))
    assert load_entry(key, None) == LoadedRow(job.key.text, None)
    assert Packer().pack(values_of(job)), "what is loaded can be packed"


def test_another_encoding_is_another_version() -> None:
    """Where this fails, add a version and a folder: such rows are in changelogs, and older workers read no others."""
    for version, jobs in JOBS.items():
        for name, job in jobs.items():
            assert encode_row(job) == (FOLDER / f"v{version}" / f"{name}.json").read_bytes()
            # A row under another key would be a second one of its job.
            assert row_key(job.key) == (FOLDER / f"v{version}" / f"{name}.key.json").read_bytes()


def test_there_are_rows_of_every_version_and_a_job_for_each() -> None:
    versions = range(1, ROW_VERSION + 1)
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"v{version}" for version in versions)
    assert list(JOBS) == list(versions)
    for version in versions:
        files = [f"{name}{kind}" for name in JOBS[version] for kind in (".json", ".key.json")]
        assert names(version) == sorted(files)


def test_every_status_and_reason_and_every_field_with_and_without_a_value_is_in_a_row() -> None:
    jobs = [job for named in JOBS.values() for job in named.values()]
    assert {job.status for job in jobs} == set(Status)
    assert {job.reason for job in jobs} == {None, *FailureReason}
    for field in msgspec.structs.fields(Job):
        if not field.required:
            assert {getattr(job, field.name) == field.default for job in jobs} == {True, False}, field.name


def test_the_marks_of_a_changelog_stay_what_they_are() -> None:
    """A release that does not know the mark of a table takes the table for lost."""
    assert (CHANGELOG_TABLE_KEY, TABLE_MARK) == (b"table", b"{}")
    assert CHANGELOG_OPENED_KEY == b"opened"
    assert (decode_entry(b"table", b"{}"), decode_entry(b"opened", None)) == (TableMark(), OwnerEntry(None))


HOLD = Control(
    control_id="7e57-control",
    action=Action.HOLD,
    workspace_id=None,
    job_id=None,
    actor="ana@example.com",
    reason="el portal «no anda»",
    requested_at=at(1),
)
CANCEL = dataclasses.replace(HOLD, action=Action.CANCEL, workspace_id="w", job_id="j", detail="d")
_ASKED = '"actor":"ana@example.com","reason":"el portal «no anda»","requestedAt":"2026-01-31T12:01:00Z"'
_REFUSED = '"workspaceId":"w","jobId":"j","detail":"d","refused":"at_the_robot"'
_DECIDED = '"decidedAt":"2026-01-31T12:02:00Z"'


@pytest.mark.parametrize(
    ("decision", "value"),
    [
        (
            Decision(HOLD, at(2), in_force=True),
            f'{{"version":3,"controlId":"7e57-control","action":"hold",{_ASKED},{_DECIDED},"inForce":true}}',
        ),
        (
            Decision(CANCEL, at(2), IgnoreReason.AT_ROBOT),
            f'{{"version":3,"controlId":"7e57-control","action":"cancel",{_ASKED},{_DECIDED},{_REFUSED}}}',
        ),
    ],
)
def test_a_decision_is_read_by_every_later_release_and_refused_by_those_before(decision: Decision, value: str) -> None:
    key = b'["7e57-control"]'
    assert (decision_key(HOLD.control_id), encode_decision(decision)) == (key, value.encode())
    assert decode_entry(key, value.encode()) == DecisionEntry(HOLD.control_id, decision)
    assert decode_entry(key, None) == DecisionEntry(HOLD.control_id, None)
    # A release that reads rows up to version 2 takes it for one of a version that it does not know.
    with pytest.raises(UnreadableRowError, match="version 4"):
        decode_entry(key, value.replace('"version":3', '"version":4').encode())


def test_who_has_a_partition_is_read_by_every_later_release() -> None:
    owner = Owner("worker-1", at(1), at(2))
    value = b'{"openedBy":"worker-1","openedAt":"2026-01-31T12:01:00Z","robotAwaySince":"2026-01-31T12:02:00Z"}'
    assert (encode_owner(owner), decode_entry(CHANGELOG_OPENED_KEY, value)) == (value, OwnerEntry(owner))
