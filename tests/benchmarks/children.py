"""The processes beside ours: robot and load, which talk in JSON lines, and what is measured: worker and limit."""

import asyncio
import json
import sys
from typing import Any, Protocol, Self

from tests.support.worker import WorkerProcess

# What a child prints at its end is one line: some hundred bytes a job.
LINE_MAX_BYTES = 2**26
END_SECONDS = 20.0


class Measured(Protocol):
    """A process that does jobs."""

    @property
    def pid(self) -> int:
        """The process id."""

    async def transactions(self) -> float:
        """Return how many transactions it has committed."""


class Child:
    """A process of `python -m MODULE` that ends when its standard input does; one whose output ends has failed."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._module = module
        self._arguments = arguments

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", self._module, *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_MAX_BYTES,
            # A Ctrl-C reaches us only, and we end our children.
            process_group=0,
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.end_input()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def read(self, within_seconds: float = 60) -> Any:
        """Return what the child says next."""
        assert self._process.stdout is not None
        async with asyncio.timeout(within_seconds):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} has ended")
        return json.loads(line)

    def go(self) -> None:
        """Let a child begin, or answer, that waits for a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    def end_input(self) -> None:
        """Let the child say its result and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()


class MeasuredLimit(Child):
    """The limit, which says how far it is when it is asked."""

    async def transactions(self) -> float:
        """Return how many transactions it has committed."""
        self.go()
        return float((await self.read())["transactions"])


class MeasuredWorker(WorkerProcess):
    """A worker whose metrics are waited for."""

    async def transactions(self) -> float:
        """Return how many transactions it has committed."""
        return await self.metric("transactions_total", result="committed")

    async def wait_for_metric(self, name: str, value: float, within_seconds: float = 120, **labels: str) -> None:
        """Return when a sample has exactly this value."""
        async with asyncio.timeout(within_seconds):
            while await self.metric(name, **labels) != value:
                await asyncio.sleep(0.1)
