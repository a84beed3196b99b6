"""The one clock of the process."""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """The wall clock as it was at the start, carried on by the monotonic one: a step of the wall changes nothing."""

    def __init__(self) -> None:
        self._started_at = datetime.now(UTC)
        self._started = time.monotonic()

    def now(self) -> datetime:
        """Return the time as aware UTC."""
        return self._started_at + timedelta(seconds=time.monotonic() - self._started)
