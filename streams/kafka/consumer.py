"""aiokafka's consumer, where its stop may never end, or leave something running."""

import asyncio
import contextlib
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

# Between two attempts to end what fetches.
_AGAIN_SECONDS = 0.05


class Consumer(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka has no types
    """Stops whatever it is doing, and then nothing of it is left.

    aiokafka's fetcher, when its partitions have just changed, takes the cancellation that is to end it for that of a
    fetch, and goes on: who waits for its end waits for ever (aiokafka 0.14, since its pull request 1007). A fetch that
    fails then, or a stop that is cancelled, leaves the connections open.
    """

    _closing: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Disconnect. Who is cancelled meanwhile hears of it when that is done."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        cancelled = False
        while not self._closing.done():
            try:
                await asyncio.wait({self._closing})
            except asyncio.CancelledError:
                cancelled = True
        self._closing.result()
        if cancelled:
            raise asyncio.CancelledError

    async def _close(self) -> None:
        if (fetcher := self._fetcher) is not None:
            await _end(fetcher._fetch_task)
            # It makes fetches until its end.
            for fetch in list(fetcher._pending_tasks):
                await _end(fetch)
            fetcher._pending_tasks.clear()
        try:
            # What has ended the fetcher before is of no interest any more.
            with contextlib.suppress(KafkaError):
                await super().stop()
        finally:
            await self._client.close()


async def _end(task: asyncio.Task[Any]) -> None:
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_AGAIN_SECONDS)
