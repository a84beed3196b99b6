"""Dead letters: what may be shown of each, and which may be sent in again."""

import dataclasses
import json
from typing import Any

import pytest
from msgspec.structs import replace

from streams.core.job import Job, JobKey
from streams.names import SOURCE_TOPICS, DeadLetterReason, Header, Topic
from streams.operate.letters import (
    STEPS,
    Letter,
    NotRedrivable,
    Redrivable,
    letter_of,
    redrive_of,
    redriven_headers,
    shown_payload,
)
from streams.wire.dead_letters import dead_letter
from streams.wire.records import Headers, SourceRecord
from tests.core.builders import ACCEPTED, COMPLETED, FAILED, NOW, PENDING
from tests.support.builders import PASSWORD, USERNAME, submission

NEVER_SENT = replace(FAILED, robot_may_have_received=False)
ONLY_AFTER_UPGRADE = {DeadLetterReason.INVALID, DeadLetterReason.TOO_LARGE}
OF_REPORTS = {DeadLetterReason.UNKNOWN_JOB, DeadLetterReason.NOT_DISPATCHED}
ANEW = {DeadLetterReason.SUBMISSION_EXPIRED, DeadLetterReason.FUTURE_TIMESTAMP}


def letter(
    reason: str, topic: Topic = Topic.SUBMITTED, value: Any = None, max_bytes: int = 10**7, headers: Headers = ()
) -> Letter:
    """Return the letter of a record, as it would be read from its topic."""
    raw = value if isinstance(value, bytes) else json.dumps(submission() if value is None else value).encode()
    record = SourceRecord(topic, 2, 7, NOW, b"shop-5", raw, headers)
    written = dead_letter(record, DeadLetterReason(reason), "what is wrong", max_bytes)
    read = letter_of(SourceRecord(written.topic, 2, 0, NOW, written.key, written.value, written.headers))
    assert read is not None
    return read


def verdict(reason: str, topic: Topic, job: Job | None, *, after_upgrade: bool = False) -> Redrivable | NotRedrivable:
    return redrive_of(letter(reason, topic), job, noted=None, after_upgrade=after_upgrade)


@pytest.mark.parametrize("reason", list(DeadLetterReason))
def test_a_letter_may_be_redriven_only_where_something_else_can_come_of_it(reason: DeadLetterReason) -> None:
    report = reason in OF_REPORTS
    topic = Topic.BATCH_COMPLETED if report else Topic.SUBMITTED
    for job in (None, PENDING, ACCEPTED, COMPLETED, FAILED, NEVER_SENT):
        for after_upgrade in (False, True):
            may = reason in ANEW or (reason in ONLY_AFTER_UPGRADE and after_upgrade)
            expected = job in (ACCEPTED, COMPLETED, FAILED) if report else may and job is None
            found = verdict(reason, topic, job, after_upgrade=after_upgrade)
            assert isinstance(found, Redrivable) == expected, (job, after_upgrade)
            assert isinstance(found, Redrivable) or found.reason
    assert STEPS[reason]


def test_a_submission_that_is_sent_in_again_may_ship_again_and_a_report_cannot() -> None:
    again = verdict("submission_expired", Topic.SUBMITTED, None)
    assert isinstance(again, Redrivable)
    assert "they ship again" in (again.warning or "")
    assert verdict("unknown_job", Topic.ORDER_REPORTED, ACCEPTED) == Redrivable()


def test_what_was_redriven_is_refused_whatever_it_is() -> None:
    for reason in DeadLetterReason:
        noted = redrive_of(letter(reason), None, noted="by alice at noon", after_upgrade=True)
        assert noted == NotRedrivable("it was redriven by alice at noon")


def test_a_reason_of_a_newer_release_is_left_alone() -> None:
    newer = letter("invalid")
    headers = newer.headers.model_copy(update={"reason": "not_invented_yet"})
    assert isinstance(
        redrive_of(dataclasses.replace(newer, headers=headers), None, noted=None, after_upgrade=True), NotRedrivable
    )


def test_a_redriven_record_has_its_own_headers_and_one_more_redrive() -> None:
    once = letter("unknown_job", headers=(("traceparent", b"00-1"),))
    assert redriven_headers(once) == (("traceparent", b"00-1"), (Header.DLQ_REDRIVE_COUNT.value, b"1"))
    twice = letter("unknown_job", headers=((Header.DLQ_REDRIVE_COUNT.value, b"1"),))
    assert redriven_headers(twice) == ((Header.DLQ_REDRIVE_COUNT.value, b"2"),)


@pytest.mark.parametrize(
    "payload",
    [
        submission(),
        submission() | {"credentials": f"{USERNAME}:{PASSWORD}"},
        submission() | {"credential": {"password": PASSWORD}, "carrier": [USERNAME], "orders": PASSWORD},
        submission() | {"orders": [PASSWORD, {"itemId": {"p": PASSWORD}, "password": PASSWORD}]},
        f'{{"credentials": {{"password": "{PASSWORD}"'.encode(),
        [PASSWORD],
    ],
)
def test_nothing_of_a_submission_is_shown_that_may_be_a_secret(payload: Any) -> None:
    shown = json.dumps(shown_payload(letter("invalid", value=payload)), ensure_ascii=False)
    assert PASSWORD not in shown
    assert USERNAME not in shown


def test_what_tells_a_letter_from_another_is_shown() -> None:
    payload = submission(job_id="job-1", workspace_id="shop-5")
    shown = shown_payload(letter("conflict", value=payload))
    assert (shown["jobId"], shown["workspaceId"]) == ("job-1", "shop-5")
    assert [order["orderId"] for order in shown["orders"]] == [order["orderId"] for order in payload["orders"]]
    report = {"jobId": "job-1", "workspaceId": "shop-5", "itemId": "item-1", "errorMessage": f"no {PASSWORD}"}
    shown = shown_payload(letter("unknown_item", Topic.ORDER_REPORTED, report))
    assert shown == report | {"errorMessage": "(a text, not shown)"}


@pytest.mark.parametrize("topic", SOURCE_TOPICS)
def test_a_letter_names_its_job_and_where_its_record_lies_if_that_was_too_large(topic: Topic) -> None:
    whole = letter("too_large", topic)
    assert (whole.letter_id, whole.original) == (f"{topic}-2-7", None)
    assert whole.job == JobKey(*(json.loads(whole.record.value or b"")[name] for name in ("workspaceId", "jobId")))
    short = letter("too_large", topic, max_bytes=10)
    assert short.original == (topic, 2, 7)
    assert short.job is None


def test_a_record_that_another_program_wrote_is_no_letter() -> None:
    assert letter_of(SourceRecord(Topic.DLQ_SUBMITTED, 0, 0, NOW, None, b"{}", ())) is None
