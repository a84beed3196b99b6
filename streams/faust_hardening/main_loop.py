"""Faust's consumer on the event loop of everything else."""

from typing import Any

from mode.services import Service
from mode.threads import QueueServiceThread
from mode.utils.futures import maybe_async


class OnMainLoop(QueueServiceThread):
    """A service that Faust would give a thread, and a loop, of its own; put it before the service in the bases.

    Two threads of Python take turns: after each send to a socket the one may wait 5 ms for the other, and each call
    from the one to the other wakes up a loop. Heartbeats are sent between whatever else runs here, so nothing may run
    for long without a turn of the loop.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Of a thread one waits that it has ended.
        self.wait_for_shutdown = False

    async def start(self) -> None:
        """Start as a service that has no thread; crash as one that has, if that fails."""
        try:
            await self._default_start()
        except Exception as error:
            await self.crash(error)
            raise

    async def stop(self) -> None:
        """Stop as a service that has no thread."""
        await Service.stop(self)

    async def on_stop(self) -> None:
        """Close what would be closed at the end of the thread."""
        await self.on_thread_stop()

    async def call_thread(self, fun: Any, *args: Any, **options: Any) -> Any:
        """Call something where the service is: here."""
        return await maybe_async(fun(*args, **options))

    maybe_start = Service.maybe_start
    set_shutdown = Service.set_shutdown
    _stopped_set = Service._stopped_set
    _stop_children = Service._stop_children
    _stop_futures = Service._stop_futures
    _stop_exit_stacks = Service._stop_exit_stacks
