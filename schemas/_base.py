"""What all records share: how they are read, and the types of their fields."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

ID_MAX_LENGTH: Final = 200
"""Characters (code points) in an id."""

COUNT_MAX: Final = 2**31 - 1
"""Fits a signed 32-bit integer, the smallest that consumers in other languages count with."""

# Ten thousand bad orders would make a very long line.
_ERRORS_SHOWN = 3

_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def _parse_instant(value: object) -> object:
    if isinstance(value, str):
        if not _INSTANT.fullmatch(value):
            raise ValueError("expected RFC 3339 in UTC with milliseconds, as in 2026-01-31T12:00:00.000Z")
        return datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("expected a time with its time zone")
        # Cut to what the wire carries, so that a record equals its own copy read back.
        return value.astimezone(UTC).replace(microsecond=value.microsecond // 1000 * 1000)
    return value


def _format_instant(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Id = Annotated[str, StringConstraints(min_length=1, max_length=ID_MAX_LENGTH)]
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Instant = Annotated[
    datetime,
    BeforeValidator(_parse_instant),
    PlainSerializer(_format_instant, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": f"^{_INSTANT.pattern}$"}),
]


class Record(BaseModel):
    """Base of the records: strict types, unknown fields ignored, inputs never quoted in error texts."""

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


def explain(error: ValidationError) -> str:
    """Return one line that says what is wrong and where, without any of the input.

    Use it instead of `error.errors()`, which quotes the input whatever the model says: a missing username
    would quote the password beside it.
    """
    details = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{'.'.join(map(str, item['loc'])) or 'record'}: {item['msg']}" for item in details[:_ERRORS_SHOWN]]
    if len(details) > _ERRORS_SHOWN:
        shown.append(f"and {len(details) - _ERRORS_SHOWN} more")
    return "; ".join(shown)
