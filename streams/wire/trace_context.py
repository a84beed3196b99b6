"""The trace that a record or a request is part of: W3C Trace Context, as far as it is passed on."""

import re
from collections.abc import Iterable
from dataclasses import replace

from streams.names import TRACEPARENT, Header
from streams.wire.records import NewRecord

# Version, trace, parent, flags; an id of zeros alone is none. There is no other version yet.
_VALID = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """Return the `traceparent` among some headers, the last if there are several; None without one that is valid."""
    value = dict(headers).get(TRACEPARENT)
    return value.decode() if value is not None and _VALID.fullmatch(value) else None


def in_trace(event: NewRecord, traceparent: str | None) -> NewRecord:
    """Return the record of a CloudEvent as a part of a trace, if there is one."""
    if traceparent is None:
        return event
    return replace(event, headers=(*event.headers, (Header.CE_TRACEPARENT.value, traceparent.encode())))
