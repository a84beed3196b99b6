"""Headers of a dead letter; key, value and the other headers are those of the record that it was."""

import re
from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, WithJsonSchema

from schemas._base import Record
from streams.names import DeadLetterReason, Header

# 19 digits hold any 64-bit offset.
_DECIMAL = re.compile(r"[0-9]{1,19}")


def _parse_decimal(value: object) -> object:
    return int(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else value


_REASONS = [reason.value for reason in DeadLetterReason]
Decimal = Annotated[
    int,
    Field(ge=0, le=2**63 - 1),
    BeforeValidator(_parse_decimal),
    WithJsonSchema({"type": "string", "pattern": f"^{_DECIMAL.pattern}$"}),
]


class DeadLetterHeaders(Record):
    """Where a dead letter comes from and why it is one. On the wire all are UTF-8 text, numbers decimal."""

    topic: Annotated[str, Field(alias=Header.ERROR_TOPIC.value)]
    """Topic the record was read from."""
    partition: Annotated[Decimal, Field(alias=Header.ERROR_PARTITION.value)]
    """Partition it was read from."""
    offset: Annotated[Decimal, Field(alias=Header.ERROR_OFFSET.value)]
    """Offset it had there."""
    exception: Annotated[str, Field(alias=Header.ERROR_EXCEPTION.value)]
    """Class of the error; the reason again where no exception but a rule rejected the record."""
    message: Annotated[str, Field(alias=Header.ERROR_MESSAGE.value)]
    """Text of the error; never quotes the record."""
    stacktrace: Annotated[str, Field(alias=Header.ERROR_STACKTRACE.value)]
    """Where the error was raised, cut to a bound; empty where there was no exception."""
    reason: Annotated[str, Field(alias=Header.DLQ_REASON.value, min_length=1, examples=_REASONS)]
    """Why the record is here, as a code. The list may grow."""
    letter_id: Annotated[str, Field(alias=Header.DLQ_ID.value, min_length=1)]
    """Name of this letter, for people and commands."""
    redrive_count: Annotated[Decimal, Field(alias=Header.DLQ_REDRIVE_COUNT.value)]
    """How often the record had been sent back to its topic before."""
    original_topic: Annotated[str, Field(alias=Header.ORIGINAL_TOPIC.value)]
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
