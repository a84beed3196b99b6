"""The one place where a console meets its world: settings become a socket, a file, a reader and a server."""

import asyncio
import contextlib
import os
import signal
import socket

from streams.console.access import Gate
from streams.console.changes import Changes
from streams.console.follower import Follower
from streams.console.page import Console
from streams.console.server import build_app
from streams.console.store import Store, StoreError
from streams.kafka.access import AccessError
from streams.kafka.topics import CONFIG_EXIT_CODE, TopicsError
from streams.names import LogEvent
from streams.serving import Server, listen, server_config
from streams.settings import ConsoleSettings, SettingsError, in_force, unknown_variables, variable_of
from streams.telemetry.lines import Lines
from streams.telemetry.logging import configure_logging
from streams.version import version
from streams.wire.rows import TableError

BACKLOG = 128
STOP_SECONDS = 5


class ConsoleServer(Server):
    """Ends streams of events when it stops."""

    def __init__(self, console: Console) -> None:
        super().__init__(server_config(build_app(console), stop_seconds=STOP_SECONDS))
        self._changes = console.changes

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody wait for a change, then stop."""
        self._changes.close()
        await super().shutdown(sockets)


def console_socket(settings: ConsoleSettings) -> socket.socket:
    """Return a socket that listens. Raises SettingsError if there can be none."""
    port = variable_of("console_port")
    return listen("console", settings.console_host, settings.console_port, variable=port, backlog=BACKLOG)


async def serve(settings: ConsoleSettings, *, allow_actions: bool) -> None:
    """Run a console until SIGTERM or SIGINT.

    Raises SettingsError, StoreError, TopicsError or AccessError if it cannot begin, and TableError.
    """
    with console_socket(settings) as sock, Store(settings.console_file) as store:
        changes = Changes()
        follower = Follower(settings, store, changes)
        server = ConsoleServer(Console(settings, store, follower, changes, Gate(settings), allow_actions))

        def stop(_why: object = None) -> None:
            server.should_exit = True

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        following = asyncio.create_task(follower.run())
        following.add_done_callback(stop)
        try:
            await server.serve(sockets=[sock])
        finally:
            following.cancel()
            await asyncio.wait({following})
    with contextlib.suppress(asyncio.CancelledError):
        await following


def run_console(settings: ConsoleSettings, *, allow_actions: bool) -> int:
    """Run a console to its end; return the exit code. What a restart cannot mend is the last log line."""
    configure_logging(settings.log_format, settings.log_level)
    log = Lines()
    log.info(LogEvent.CONSOLE_STARTED, version=version(), settings=in_force(settings))
    if unknown := unknown_variables():
        log.warning(LogEvent.SETTINGS_WARNING, problem=unknown)
    try:
        asyncio.run(serve(settings, allow_actions=allow_actions))
    except (SettingsError, StoreError, TopicsError, AccessError, TableError) as error:
        code, text = CONFIG_EXIT_CODE, str(error)
    except Exception as error:  # noqa: BLE001 # whatever it was: one line, and a supervisor starts the next one
        code, text = os.EX_SOFTWARE, repr(error)
    else:
        log.info(LogEvent.CONSOLE_STOPPED)
        return 0
    log.critical(LogEvent.CONSOLE_STOPPED, error=text, exit_code=code)
    return code
