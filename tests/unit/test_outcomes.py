"""The one outcome record of a job, as the contract has it."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from schemas import JobAmended, JobCompleted, JobFailed, OrderOutcome
from streams.core.job import FailureReason, Job, JobKey, OrderResult, OrderStatus, Source, Status
from streams.wire.outcomes import amendment_record, event_id, outcome_record
from tests.core.builders import ACCEPTED, COMPLETED, ENDED_AT, FAILED, NOW

UNREAD = replace(
    FAILED,
    order_count=None,
    claimed_at=None,
    claimed_by=None,
    deadline=None,
    reason=FailureReason.INVALID_SUBMISSION,
    error="orders: Field required",
    robot_status=None,
    robot_may_have_received=False,
)

UNREPORTED = [OrderOutcome(itemId=f"item-{nth}", status="unreported") for nth in (1, 2)]
REPORTED = (
    OrderResult("item-1", OrderStatus.SUCCESS, "TN-1"),
    OrderResult("item-2", OrderStatus.ERROR, None, "portal", "No such city"),
)

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


def value_of(job: Job) -> Any:
    return json.loads(outcome_record(job, 3, "robot-orchestrator").value or b"")


def headers_of(job: Job) -> dict[str, str]:
    return {name: (text or b"").decode() for name, text in outcome_record(job, 3, "robot-orchestrator").headers}


def test_a_submission_that_could_not_be_read_fails_without_counts_and_times_it_never_had() -> None:
    outcome = JobFailed.model_validate_json(json.dumps(value_of(UNREAD)))
    assert (outcome.orderCount, outcome.dispatchedAt, outcome.acceptedAt, outcome.robotStatus) == (None,) * 4
    assert outcome.reason == "invalid_submission"
    assert not outcome.robotMayHaveReceived


@pytest.mark.parametrize("reason", list(FailureReason))
@pytest.mark.parametrize("received", [True, False])
def test_every_reason_passes_the_contract_and_says_what_the_robot_may_have(
    reason: FailureReason, received: bool
) -> None:
    value = value_of(replace(FAILED, reason=reason, robot_may_have_received=received, robot_status=None))
    outcome = JobFailed.model_validate_json(json.dumps(value))
    assert (outcome.reason, outcome.robotMayHaveReceived) == (reason.value, received)


@pytest.mark.parametrize(
    ("success", "error", "mismatch"), [(2, 0, False), (0, 2, False), (1, 0, True), (2, 1, True), (0, 0, True)]
)
def test_counts_that_do_not_add_up_to_the_orders_are_shown_as_they_came_and_marked(
    success: int, error: int, mismatch: bool
) -> None:
    value = value_of(replace(COMPLETED, success_count=success, error_count=error))
    assert (value["successCount"], value["errorCount"], value["orderCount"]) == (success, error, 2)
    assert value["countsMismatch"] is mismatch


@pytest.mark.parametrize("job", [COMPLETED, FAILED, UNREAD])
def test_an_outcome_has_every_field_of_its_contract_and_no_other(job: Job) -> None:
    model = JobCompleted if job.status is Status.COMPLETED else JobFailed
    assert set(value_of(job)) == set(model.model_fields)
    record = outcome_record(job, 3, "robot-orchestrator")
    assert (record.partition, record.key) == (3, b"job-1")
    assert model.model_validate_json(record.value or b"")


@pytest.mark.parametrize("job", [COMPLETED, FAILED, UNREAD])
def test_the_headers_are_those_of_a_cloud_event(job: Job) -> None:
    topic = "robot.job.completed" if job.status is Status.COMPLETED else "robot.job.failed"
    assert headers_of(job) == {
        "ce_specversion": "1.0",
        "ce_id": event_id(job),
        "ce_source": "/robot-orchestrator",
        "ce_type": f"{topic}.v1",
        "ce_time": "2026-01-31T12:01:20.000Z",
        "ce_subject": "job-1",
        "ce_partitionkey": "workspace-1",
        "content-type": "application/json",
    }


def test_the_event_id_depends_on_the_ids_the_submission_and_the_status_and_on_nothing_else() -> None:
    retold = replace(
        COMPLETED,
        ended_at=ENDED_AT + timedelta(days=1),
        success_count=0,
        source=Source("other", 1, 1),
        claimed_by="worker-2",
    )
    assert event_id(retold) == event_id(COMPLETED)
    others = {
        event_id(job)
        for job in (
            COMPLETED,
            FAILED,
            replace(COMPLETED, job_id="job-2"),
            replace(COMPLETED, workspace_id="workspace-2"),
            replace(COMPLETED, workspace_id="job-1", job_id="workspace-1"),
            replace(COMPLETED, submitted_at=COMPLETED.submitted_at + timedelta(milliseconds=1)),
        )
    }
    assert len(others) == 6


def test_the_event_id_stays_the_same_over_releases() -> None:
    """A consumer may have stored it: it is uuid5 of ids, submission and status under a fixed namespace."""
    namespace = uuid.UUID("7a3f1f0e-5a0b-4f6e-9d0c-2f1f6f0a9b51")
    assert event_id(COMPLETED) == str(
        uuid.uuid5(namespace, '["workspace-1","job-1"]:2026-01-31T12:00:00.000Z:completed')
    )
    assert event_id(FAILED) == str(uuid.uuid5(namespace, '["workspace-1","job-1"]:2026-01-31T12:00:00.000Z:failed'))


@given(ids, ids)
def test_any_ids_pass_through_an_outcome_as_they_were(workspace_id: str, job_id: str) -> None:
    job = replace(FAILED, workspace_id=workspace_id, job_id=job_id)
    record = outcome_record(job, 0, "robot-orchestrator")
    outcome = JobFailed.model_validate_json(record.value or b"")
    assert JobKey(outcome.workspaceId, outcome.jobId) == job.key
    assert (record.key or b"").decode() == headers_of(job)["ce_subject"] == job_id
    assert headers_of(job)["ce_partitionkey"] == workspace_id


def test_an_outcome_tells_what_is_known_of_each_order_and_no_more() -> None:
    assert value_of(replace(FAILED, orders=(REPORTED[1], OrderResult("item-3"))))["orders"] == [
        {"itemId": "item-2", "status": "error", "errorType": "portal", "errorMessage": "No such city"},
        {"itemId": "item-3", "status": "unreported"},
    ]
    assert value_of(replace(FAILED, orders=()))["orders"] is None


AMENDED = replace(FAILED, orders=REPORTED, amended_at=NOW)


def test_an_amendment_is_a_record_of_the_contract_that_names_the_outcome() -> None:
    record = amendment_record(AMENDED, 3, "robot-orchestrator")
    assert (record.topic, record.partition, record.key) == ("robot.job.amended", 3, b"job-1")
    amendment = JobAmended.model_validate_json(record.value or b"")
    assert (amendment.outcomeId, amendment.status, amendment.reason) == (event_id(FAILED), "failed", "robot_rejected")
    assert (amendment.successCount, amendment.errorCount, amendment.amendedAt) == (None, None, NOW)
    assert [order.status for order in amendment.orders or ()] == ["success", "error"]
    headers = {name: (text or b"").decode() for name, text in record.headers}
    assert (headers["ce_type"], headers["ce_time"]) == ("robot.job.amended.v1", "2026-01-31T13:00:00.000Z")
    assert set(json.loads(record.value or b"")) == set(JobAmended.model_fields)


def test_an_amendment_has_an_id_of_its_own_for_as_much_as_is_known() -> None:
    def amendment_id(job: Job) -> bytes | None:
        return dict(amendment_record(job, 3, "robot-orchestrator").headers)["ce_id"]

    counted = replace(AMENDED, success_count=1, error_count=1)
    jobs = (AMENDED, replace(AMENDED, orders=(REPORTED[0], OrderResult("item-2"))), counted)
    ids = {amendment_id(job) for job in jobs}
    assert len(ids | {event_id(FAILED).encode()}) == 4
    assert {amendment_id(replace(job, amended_at=ENDED_AT, claimed_by="other")) for job in jobs} == ids


def test_a_job_that_has_not_ended_has_no_amendment() -> None:
    with pytest.raises(ValidationError):
        amendment_record(replace(ACCEPTED, amended_at=NOW), 3, "a")
