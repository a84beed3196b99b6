"""What bridge and console have in common: a socket, and a server whose end is decided by whoever runs it."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from uvicorn import Config

from streams.settings import SettingsError


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
        http="h11",
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
