"""aiokafka's consumer, where its stop may never end."""

import asyncio

from aiokafka import AIOKafkaConsumer

# Between two attempts to end what fetches.
_AGAIN_SECONDS = 0.05


class Consumer(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka has no types
    """Stops whatever it is doing.

    aiokafka's fetcher, when its partitions have just changed, takes the cancellation that is to end it for that of a
    fetch, and goes on: who waits for its end waits for ever (aiokafka 0.14, since its pull request 1007). And whatever
    becomes of a fetch that is cancelled then, it raises, with the connections left open.
    """

    async def stop(self) -> None:
        """Disconnect."""
        if (fetcher := self._fetcher) is not None:
            for task in (fetcher._fetch_task, *fetcher._pending_tasks):
                while not task.done():
                    task.cancel()
                    await asyncio.wait({task}, timeout=_AGAIN_SECONDS)
            fetcher._pending_tasks.clear()
        await super().stop()
