"""A TCP proxy that misbehaves on demand: it holds, delays, cuts, in one direction too."""

import asyncio
import contextlib
from enum import StrEnum

from streams.dev.loopback import HOST, free_port

CHUNK_BYTES = 65_536


class Direction(StrEnum):
    """Which way bytes go, seen from the worker."""

    OUT = "out"
    BACK = "back"


class Proxy:
    """Passes connections to `port` on to `target`. The target's address must be known, but need not listen yet."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.target = target
        self.delay_seconds = 0.0
        self._open = {direction: asyncio.Event() for direction in Direction}
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.let_through()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def stop(self) -> None:
        """Cut everything and listen no more."""
        self.let_through()
        if self._server is not None:
            self._server.close()
        self.cut()

    def hold(self, *directions: Direction) -> None:
        """Pass nothing on in these directions; what arrives is kept, and the connections stay."""
        for direction in directions:
            self._open[direction].clear()

    def let_through(self) -> None:
        """Pass everything on, at once."""
        self.delay_seconds = 0.0
        for gate in self._open.values():
            gate.set()

    def cut(self) -> None:
        """Break every connection (RST); what is held is lost."""
        for writer in list(self._connections):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await asyncio.open_connection(HOST, self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, back_writer}
        self._connections |= ends
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, back_writer, Direction.OUT))
                pumps.create_task(self._pump(back_reader, writer, Direction.BACK))
        except asyncio.CancelledError:
            # The proxy is stopped. Before 3.12 asyncio shows a cancelled task of a connection as a failed callback.
            pass
        finally:
            self._connections -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                await self._open[direction].wait()
                writer.write(data)
                await writer.drain()
        # Closing sends what is still buffered first, and ends the other direction, whose reader then sees the end.
        writer.close()
