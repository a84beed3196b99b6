"""A worker whose watchdog is impatient: `python -m tests.kafka.watched_worker LIMIT=SECONDS...`.

It says so each time that the watchdog has looked.
"""

import sys
from datetime import timedelta
from functools import partial

import structlog

from streams.app import run_worker
from streams.engine.rules import WatchdogLimits
from streams.engine.watchdog import Watchdog
from streams.settings import WorkerSettings, load_settings
from streams.worker import running_worker

LOOKED = "watchdog_looked"


def command(**seconds: float) -> tuple[str, ...]:
    """Return how to start one, with some of the limits in seconds."""
    return ("-m", "tests.kafka.watched_worker", *(f"{name}={value}" for name, value in seconds.items()))


def main() -> None:
    """Run the worker."""
    limits = {name: timedelta(seconds=float(value)) for name, value in (word.split("=") for word in sys.argv[1:])}
    look = Watchdog.look

    async def look_and_say_so(watchdog: Watchdog) -> None:
        await look(watchdog)
        structlog.get_logger().info(LOOKED)

    Watchdog.look = look_and_say_so  # type: ignore[method-assign, assignment] # only to be heard from outside
    del sys.argv[1:]
    run_worker(load_settings(WorkerSettings), partial(running_worker, watchdog=WatchdogLimits(**limits)))


if __name__ == "__main__":
    main()
