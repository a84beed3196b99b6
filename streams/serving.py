"""What bridge and console have in common: a socket, and a server whose end is decided by whoever runs it."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from streams.settings import SettingsError

# By then the head of a request must be there: whoever has vanished without a word would keep its connection for good.
HEAD_SECONDS = 20.0


class PromptProtocol(H11Protocol):
    """Closes a connection on which the next request does not begin, or its head does not end, for too long.

    uvicorn waits for a first head for ever, and for the rest of any other.
    """

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest, unless a request is being answered now."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class Server(uvicorn.Server):
    """Serves until `should_exit`, and leaves signals alone: uvicorn's own handling ends the process by the signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing about signals."""
        yield


def server_config(app: object, *, stop_seconds: int) -> Config:
    """Return what such a server is run with: `stop_seconds` is how long it lets requests end when it stops."""
    return Config(
        app,  # type: ignore[arg-type] # any of them
        loop="asyncio",
        http=PromptProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        # Else whoever sends the header could say from where it comes.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=stop_seconds,
    )


def listen(what: str, host: str, port: int, *, variable: str, backlog: int) -> socket.socket:
    """Return a socket that listens at what a variable says. Raises SettingsError if there can be none."""
    try:
        (family, *_, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(address, family=family, backlog=backlog)
    except OSError as error:
        raise SettingsError(f"{variable}: the {what} cannot listen: {error}") from error
