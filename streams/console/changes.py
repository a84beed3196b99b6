"""That something has changed, for whoever waits for it."""

import asyncio
from contextlib import suppress


class Changes:
    """Counts changes in `number`, until it is closed."""

    def __init__(self) -> None:
        self.number = 0
        self._next = asyncio.Event()
        self._closing = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether nobody is to wait any longer."""
        return self._closing.is_set()

    def happened(self) -> None:
        """Count a change."""
        self.number += 1
        self._next.set()
        self._next = asyncio.Event()

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closing.set()
        self._next.set()

    async def after(self, number: int, within_seconds: float) -> int:
        """Return the number of the last change as soon as it is another one, or when the time is over."""
        if self.number == number and not self.closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_seconds):
                    await self._next.wait()
        return self.number

    async def quiet(self, seconds: float) -> None:
        """Let a time pass, unless it is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()
