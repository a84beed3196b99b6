"""The one place where a bridge meets its world: settings become a socket, a producer and a server."""

import asyncio
import contextlib
import os
import signal
import socket

from streams.bridge.journal import BridgeJournal
from streams.bridge.publisher import KafkaPublisher
from streams.bridge.server import BODY_SECONDS, Publisher, build_app
from streams.kafka.access import AccessError
from streams.kafka.topics import CONFIG_EXIT_CODE, TopicsError
from streams.names import LogEvent
from streams.serving import Server, listen, server_config
from streams.settings import BridgeSettings, SettingsError, in_force, unknown_variables, variable_of
from streams.telemetry.logging import configure_logging
from streams.telemetry.metrics import BridgeMetrics
from streams.version import version

# Who has connected before a stop may still send a report.
LATE_SECONDS = 2.0
BACKLOG = 2048


class BridgeServer(Server):
    """Loses nobody who has connected before the stop."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no connection any more, then answer what is asked on those that there are."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(LATE_SECONDS)
        await super().shutdown(sockets)


def bridge_server(settings: BridgeSettings, publisher: Publisher, journal: BridgeJournal) -> BridgeServer:
    """Return a server over a publisher."""
    app = build_app(settings.callback_secrets, publisher, journal)
    # Longer than any request takes: one that is cancelled is one that is lost.
    stop_seconds = int(BODY_SECONDS + settings.bridge_hold_seconds) + 5
    return BridgeServer(server_config(app, stop_seconds=stop_seconds))


def bridge_socket(settings: BridgeSettings) -> socket.socket:
    """Return a socket that listens. Raises SettingsError if there can be none."""
    port = variable_of("bridge_port")
    return listen("bridge", settings.bridge_host, settings.bridge_port, variable=port, backlog=BACKLOG)


async def serve(settings: BridgeSettings, journal: BridgeJournal) -> None:
    """Run a bridge until SIGTERM or SIGINT. Raises SettingsError, TopicsError or AccessError if it cannot begin."""
    publisher = KafkaPublisher(settings, journal)
    server = bridge_server(settings, publisher, journal)

    def stop(_why: object = None) -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    with bridge_socket(settings) as sock:
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
