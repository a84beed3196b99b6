"""The one place where a bridge meets its world: settings become a socket, a producer and a server."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn

from streams.bridge.journal import BridgeJournal
from streams.bridge.publisher import KafkaPublisher
from streams.bridge.server import BODY_SECONDS, Publisher, build_app
from streams.kafka.access import AccessError
from streams.kafka.topics import CONFIG_EXIT_CODE, TopicsError
from streams.names import LogEvent
from streams.settings import BridgeSettings, SettingsError, in_force, unknown_variables, variable_of
from streams.telemetry.logging import configure_logging
from streams.telemetry.metrics import BridgeMetrics
from streams.version import version

# Who has connected before a stop may still send a report.
LATE_SECONDS = 2.0
BACKLOG = 2048


class BridgeServer(uvicorn.Server):
    """Serves until `should_exit`; leaves signals alone, and loses nobody who has connected before the stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the server: uvicorn's own handling ends the process by the signal."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no connection any more, then answer what is asked on those that there are."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(LATE_SECONDS)
        await super().shutdown(sockets)


def bridge_server(settings: BridgeSettings, publisher: Publisher, journal: BridgeJournal) -> BridgeServer:
    """Return a server over a publisher."""
    config = uvicorn.Config(
        build_app(settings.callback_secrets, publisher, journal),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # Longer than any request takes: one that is cancelled is one that is lost.
        timeout_graceful_shutdown=int(BODY_SECONDS + settings.bridge_hold_seconds) + 5,
    )
    return BridgeServer(config)


def listen(settings: BridgeSettings) -> socket.socket:
    """Return a socket that listens. Raises SettingsError if there can be none."""
    try:
        (family, *_, address), *_ = socket.getaddrinfo(
            settings.bridge_host, settings.bridge_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(f"{variable_of('bridge_port')}: the bridge cannot listen: {error}") from error


async def serve(settings: BridgeSettings, journal: BridgeJournal) -> None:
    """Run a bridge until SIGTERM or SIGINT. Raises SettingsError, TopicsError or AccessError if it cannot begin."""
    publisher = KafkaPublisher(settings, journal)
    server = bridge_server(settings, publisher, journal)

    def stop(_why: object = None) -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with listen(settings) as sock:
        publishing = asyncio.create_task(publisher.run())
        publishing.add_done_callback(stop)
        try:
            await server.serve(sockets=[sock])
        finally:
            publishing.cancel()
            await publisher.close()
    with contextlib.suppress(asyncio.CancelledError):
        await publishing


def run_bridge(settings: BridgeSettings) -> int:
    """Run a bridge to its end; return the exit code. What a restart cannot mend is the last log line."""
    configure_logging(settings.log_format, settings.log_level)
    journal = BridgeJournal(BridgeMetrics(settings.revision))
    journal.info(LogEvent.BRIDGE_STARTED, version=version(), settings=in_force(settings))
    if unknown := unknown_variables():
        journal.warning(LogEvent.SETTINGS_WARNING, problem=unknown)
    try:
        asyncio.run(serve(settings, journal))
    except (SettingsError, TopicsError, AccessError) as error:
        code, text = CONFIG_EXIT_CODE, str(error)
    except Exception as error:  # noqa: BLE001 # whatever it was: one line, and a supervisor starts the next one
        code, text = os.EX_SOFTWARE, repr(error)
    else:
        journal.info(LogEvent.BRIDGE_STOPPED)
        return 0
    journal.critical(LogEvent.BRIDGE_STOPPED, error=text, exit_code=code)
    return code
