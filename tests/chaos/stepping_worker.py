"""A worker whose wall clock goes back and forth by minutes while it runs: `python -m tests.chaos.stepping_worker`.

Only this process sees it: the machine's clock is everybody's. Time as the kernel counts it (`time.monotonic`) goes on.
"""

import time
from datetime import datetime, tzinfo
from random import Random

import streams.engine.clock
from streams.cli import cli

STEP_EVERY_SECONDS = 1.5
STEPS_MINUTES = (-10, -3, -1, 0, 1, 3, 10)

_true_time = time.time
_first_asked: float | None = None


def stepping_time() -> float:
    """Return what the wall clock shows: the truth at first, then each time another step away from it."""
    global _first_asked
    now = _true_time()
    _first_asked = now if _first_asked is None else _first_asked
    number = int((now - _first_asked) / STEP_EVERY_SECONDS)
    return now + (Random(number).choice(STEPS_MINUTES) * 60 if number else 0)


class SteppingDatetime:
    """As much of `datetime` as the worker's clock asks for."""

    @staticmethod
    def now(tz: tzinfo) -> datetime:
        """Return what the wall clock shows."""
        return datetime.fromtimestamp(stepping_time(), tz)


if __name__ == "__main__":
    # Only now, with everything imported: a worker that starts with a wrong clock is another story.
    time.time = stepping_time
    setattr(streams.engine.clock, "datetime", SteppingDatetime)  # noqa: B010 # the one place where the worker asks for the time
    cli(["worker"])
