"""What becomes of the robot's words."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.order_reported import (
    ERROR_MESSAGE_MAX_LENGTH,
    ERROR_TYPE_MAX_LENGTH,
    TRACKING_NUMBER_MAX_LENGTH,
    OrderReported,
)
from streams.core.job import JobKey
from streams.wire.robot_report import MalformedReportError, report_reader
from tests.core.builders import NOW

SECRET = "callback-s3cret"  # made up
FORMER = "former/s3cret"  # made up
KEY = JobKey("shop-5", "job-17")
read = report_reader([SECRET, FORMER])


def record_of(**report: Any) -> OrderReported:
    return read(KEY, json.dumps({"itemId": "item-1", "status": "error", **report}).encode(), NOW)


def test_a_report_becomes_the_record_of_its_order() -> None:
    record = record_of(status="success", trackingNumber="7300000001")
    assert json.loads(record.model_dump_json(exclude_none=True)) == {
        "workspaceId": "shop-5",
        "jobId": "job-17",
        "itemId": "item-1",
        "status": "success",
        "trackingNumber": "7300000001",
        "reportedAt": record.model_dump(mode="json")["reportedAt"],
    }
    assert record.reportedAt == NOW.replace(microsecond=NOW.microsecond // 1000 * 1000)


def test_nulls_and_unknown_fields_are_as_if_they_were_not_there() -> None:
    assert record_of(trackingNumber=None, errorType=None, errorMessage=None, jobId="other", more=[1]) == record_of()


@pytest.mark.parametrize(
    ("name", "longest"),
    [
        ("trackingNumber", TRACKING_NUMBER_MAX_LENGTH),
        ("errorType", ERROR_TYPE_MAX_LENGTH),
        ("errorMessage", ERROR_MESSAGE_MAX_LENGTH),
    ],
)
def test_a_long_text_is_cut_and_not_refused(name: str, longest: int) -> None:
    for text in ("ñ" * (longest + 1), "ñ" * 50_000):
        assert getattr(record_of(**{name: text}), name) == "ñ" * longest


@pytest.mark.parametrize(
    ("value", "text"),
    [(17, "17"), (2**70, str(2**70)), (1.5, "1.5"), (True, "true"), ({"a": ["ñ"]}, '{"a": ["ñ"]}'), ("", "")],
)
def test_a_text_that_is_none_is_taken_as_one(value: Any, text: str) -> None:
    assert record_of(trackingNumber=value).trackingNumber == text


def test_half_of_a_character_is_no_reason_to_lose_a_report() -> None:
    """Somebody who counts in UTF-16 has cut an emoji."""
    body = b'{"itemId": "item-1", "status": "error", "errorMessage": "cut \\ud83d"}'
    assert read(KEY, body, NOW).errorMessage == "cut ?"


@pytest.mark.parametrize("secret", [SECRET, FORMER])
@pytest.mark.parametrize("name", ["trackingNumber", "errorType", "errorMessage"])
def test_no_secret_of_ours_is_in_a_record(secret: str, name: str) -> None:
    assert getattr(record_of(**{name: f"sent {secret} on"}), name) == "sent *** on"


@pytest.mark.parametrize("secret", [SECRET, FORMER])
def test_a_cut_leaves_no_part_of_a_secret(secret: str) -> None:
    # Masks are shorter: what lies far behind comes within what is kept.
    # Every alignment to the secrets' lengths, which share no factor with the step.
    for before in range(4 * ERROR_MESSAGE_MAX_LENGTH - 40, 4 * ERROR_MESSAGE_MAX_LENGTH + 1200, 4):
        many = (secret * 400)[: before // len(secret) * len(secret)]
        text = many + "-" * (before - len(many)) + secret + "x" * 3000
        kept = record_of(errorMessage=text).errorMessage
        assert kept is not None
        assert secret[:4] not in kept, before


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "it is no JSON"),
        (b"itemId=item-1", "it is no JSON"),
        (b"\xff\xfe\x00", "it is no JSON"),
        (b"[" * 60_000, "it is no JSON"),
        (b"1" * 60_000, "it is no JSON"),
        (b"null", "it is no JSON object"),
        (b'["itemId"]', "it is no JSON object"),
        (b'{"status": "success"}', "itemId: "),
        (b'{"itemId": null, "status": "success"}', "itemId: "),
        (b'{"itemId": 17, "status": "success"}', "itemId: "),
        (b'{"itemId": "", "status": "success"}', "itemId: "),
        (b'{"itemId": "\\ud800", "status": "success"}', "itemId: "),
        (json.dumps({"itemId": "x" * 201, "status": "success"}).encode(), "itemId: "),
        (b'{"itemId": "item-1"}', "status: "),
        (b'{"itemId": "item-1", "status": "done"}', "status: "),
        (b'{"itemId": "item-1", "status": ["success"]}', "status: "),
    ],
)
def test_what_is_no_report_is_refused_with_what_is_wrong(body: bytes, problem: str) -> None:
    with pytest.raises(MalformedReportError) as refused:
        read(KEY, body, NOW)
    assert str(refused.value).startswith(problem)
    assert refused.value.item_id == ("item-1" if problem == "status: " else None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from(["itemId", "status", "trackingNumber", "errorType", "errorMessage", "reportedAt"])
reports = st.dictionaries(NAMES | st.text(), json_values | st.sampled_from(["success", "error"]))


@given(st.binary() | reports.map(lambda report: json.dumps(report).encode()))
@example(b'{"itemId":"i","status":"error","errorMessage":' + b"[" * 900 + b"]" * 900 + b"}")
def test_a_body_is_a_record_that_keeps_the_contract_or_is_refused(body: bytes) -> None:
    try:
        record = read(KEY, body, NOW)
    except MalformedReportError:
        return
    assert OrderReported.model_validate_json(record.model_dump_json(exclude_none=True)) == record


@given(reports)
def test_only_the_item_and_the_status_decide_whether_it_is_a_report(report: dict[str, Any]) -> None:
    report |= {"itemId": "item-1", "status": "success"}
    assert read(KEY, json.dumps(report).encode(), NOW).itemId == "item-1"
