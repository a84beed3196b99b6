"""Faust's events, where they say too much."""

import faust


def hide_values() -> None:
    """Keep keys and values out of reprs: a submission carries credentials, and reprs end up in logs."""
    faust.Event.__repr__ = _repr  # type: ignore[method-assign] # the patch


def _repr(event: faust.Event) -> str:
    return f"<{type(event).__name__} {event.message!r}>"
