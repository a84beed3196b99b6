"""What the robot reports of an order: the body of its callback, and the record that is made of it."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from schemas import ID_MAX_LENGTH, explain
from schemas.order_reported import (
    ERROR_MESSAGE_MAX_LENGTH,
    ERROR_TYPE_MAX_LENGTH,
    TRACKING_NUMBER_MAX_LENGTH,
    OrderReported,
)
from streams.core.job import JobKey
from streams.wire.scrub import longest_form, scrubber, without_cut_end

REPORT_MAX_BYTES = 64_000
_TEXTS = {
    "trackingNumber": TRACKING_NUMBER_MAX_LENGTH,
    "errorType": ERROR_TYPE_MAX_LENGTH,
    "errorMessage": ERROR_MESSAGE_MAX_LENGTH,
}
# Of a long text so many times as much as is kept is looked through: masking makes it shorter.
_LOOKED_THROUGH = 4

Scrub = Callable[[str, int], str]
ReadReport = Callable[[JobKey, bytes, datetime], OrderReported]


class MalformedReportError(ValueError):
    """A body that is no report. The text says what is wrong and quotes nothing; `item_id` is there if it is one."""

    def __init__(self, problem: str, item_id: str | None = None) -> None:
        super().__init__(problem)
        self.item_id = item_id


def report_reader(secrets: Iterable[str]) -> ReadReport:
    """Return what makes records of bodies that came at some time, with these secrets masked.

    It raises MalformedReportError. Nothing is refused for a text that is odd or too long: reports come only once.
    """
    clean = _cleaner(tuple(secrets))

    def read(key: JobKey, body: bytes, at: datetime) -> OrderReported:
        try:
            report = json.loads(body)
        except (ValueError, RecursionError):
            raise MalformedReportError("it is no JSON") from None
        if not isinstance(report, dict):
            raise MalformedReportError("it is no JSON object")
        return _record(key, report, at, clean)

    return read


def _record(key: JobKey, report: Mapping[str, Any], at: datetime, clean: Scrub) -> OrderReported:
    try:
        return OrderReported.model_validate(
            {
                "workspaceId": key.workspace_id,
                "jobId": key.job_id,
                "itemId": report.get("itemId"),
                "status": report.get("status"),
                "reportedAt": at,
                **{
                    name: clean(_text(report[name]), most)
                    for name, most in _TEXTS.items()
                    if report.get(name) is not None
                },
            }
        )
    except ValidationError as error:
        raise MalformedReportError(explain(error), _valid_id(report.get("itemId"))) from None


def _valid_id(value: Any) -> str | None:
    return value if isinstance(value, str) and 1 <= len(value) <= ID_MAX_LENGTH and value.isprintable() else None


def _text(value: Any) -> str:
    """Return a value as text: what is none as JSON, and halves of characters, as a cut leaves them, as `?`."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise MalformedReportError("it is nested too deeply") from None
    return text.encode("utf-8", "replace").decode()


def _cleaner(secrets: tuple[str, ...]) -> Scrub:
    scrub, longest = scrubber(secrets), longest_form(secrets)

    def clean(text: str, maximum: int) -> str:
        looked_through = maximum * _LOOKED_THROUGH + longest
        cut = len(text) > looked_through
        text = scrub(text[:looked_through])
        return (without_cut_end(text, secrets) if cut else text)[:maximum]

    return clean
