"""Headers of a dead letter; key, value and the other headers are those of the record that it was."""

import re
from collections.abc import Iterable
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, WithJsonSchema

from schemas._base import Record

KNOWN_REASONS: Final = (
    "malformed",
    "invalid",
    "too_large",
    "future_timestamp",
    "submission_expired",
    "conflict",
    "unknown_job",
    "not_dispatched",
    "late_completion",
    "duplicate_mismatch",
)

# 19 digits hold any 64-bit offset.
_DECIMAL = re.compile(r"[0-9]{1,19}")


def _parse_decimal(value: object) -> object:
    return int(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else value


Decimal = Annotated[
    int,
    Field(ge=0, le=2**63 - 1),
    BeforeValidator(_parse_decimal),
    WithJsonSchema({"type": "string", "pattern": f"^{_DECIMAL.pattern}$"}),
]


class DeadLetterHeaders(Record):
    """Where a dead letter comes from and why it is one. On the wire all are UTF-8 text, numbers decimal."""

    topic: Annotated[str, Field(alias="__streams.errors.topic")]
    """Topic the record was read from."""
    partition: Annotated[Decimal, Field(alias="__streams.errors.partition")]
    """Partition it was read from."""
    offset: Annotated[Decimal, Field(alias="__streams.errors.offset")]
    """Offset it had there."""
    exception: Annotated[str, Field(alias="__streams.errors.exception")]
    """Class of the error; the reason again where no exception but a rule rejected the record."""
    message: Annotated[str, Field(alias="__streams.errors.message")]
    """Text of the error; never quotes the record."""
    stacktrace: Annotated[str, Field(alias="__streams.errors.stacktrace")]
    """Where the error was raised, cut to a bound; empty where there was no exception."""
    reason: Annotated[str, Field(alias="robot.dlq.reason", min_length=1, examples=list(KNOWN_REASONS))]
    """Why the record is here, as a code. The list may grow."""
    letter_id: Annotated[str, Field(alias="robot.dlq.id", min_length=1)]
    """Name of this letter, for people and commands."""
    redrive_count: Annotated[Decimal, Field(alias="robot.dlq.redrive.count")]
    """How often the record had been sent back to its topic before."""
    original_topic: Annotated[str, Field(alias="kafka_dlt-original-topic")]
    """The topic again, under the name that redrive tools look for."""

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, bytes | None]]) -> Self:
        """Read a record's headers; of several with one name the last counts, as for Kafka's `lastHeader`.

        Raises `pydantic.ValidationError` when one is missing or a number is not decimal text.
        """
        ours = {field.alias for field in cls.model_fields.values()}
        # A stack trace cut in the middle of a character must not make a letter unreadable.
        return cls.model_validate(
            {name: value.decode(errors="replace") for name, value in headers if name in ours and value is not None}
        )
