"""The one clock of the process."""

import time
from datetime import UTC, datetime, timedelta


def _boot_time() -> float:
    """Return the seconds since the machine's start, also those in which it was suspended, where `monotonic` stands."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_monotonic = _boot_time if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


class Clock:
    """The wall clock as it was at the start, carried on by a monotonic one: a step of the wall changes nothing."""

    def __init__(self) -> None:
        self._started_at = datetime.now(UTC)
        self._started = _monotonic()

    def now(self) -> datetime:
        """Return the time as aware UTC."""
        return self._started_at + timedelta(seconds=_monotonic() - self._started)
