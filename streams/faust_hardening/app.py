"""The Faust app and its worker, crash-only: a failure ends the process before anything undone is committed."""

import logging
import os
import sys
import threading
from typing import Any, NoReturn

import faust
from faust.types import TP, TransportT
from faust.types.fixups import FixupT
from faust.utils import venusian

from streams.faust_hardening.consumer import HardenedTransport
from streams.faust_hardening.events import hide_values
from streams.faust_hardening.records import read_any_header_name
from streams.faust_hardening.recovery import OrderedTableManager
from streams.faust_hardening.sensors import NoMonitor
from streams.faust_hardening.transactions import shorten_transaction_backoff
from streams.faust_hardening.versions import check_versions
from streams.names import LogEvent
from streams.telemetry.logging import LOGGER

# sysexits.h: EX_SOFTWARE, an internal error.
CRASH_EXIT_CODE = 70
METADATA_MAX_AGE_MS = 5_000
LAST_LINE_SECONDS = 5.0


def exit_now(reason: BaseException | str, code: int = CRASH_EXIT_CODE) -> NoReturn:
    """End the process with one last line, running no shutdown code that could commit anything."""
    # Nobody may be reading our log: then the last line is not worth waiting for.
    overdue = threading.Timer(LAST_LINE_SECONDS, os._exit, (code,))
    overdue.daemon = True
    overdue.start()
    try:
        text = reason if isinstance(reason, str) else f"{type(reason).__name__}: {reason}"
        # Other threads go on until the end: what they say may not come after the last line.
        logging.disable(logging.ERROR)
        trace = reason if isinstance(reason, BaseException) else None
        logging.getLogger(LOGGER).critical(
            LogEvent.WORKER_EXIT.value, extra={"error": text, "exit_code": code}, exc_info=trace
        )
        logging.shutdown()
        sys.stdout.flush()
    finally:
        # Whatever is wrong with the log, a process in doubt must not go on.
        os._exit(code)


def leave_no_marks() -> None:
    """Leave no marks on agents and timers, by which Faust would find them in modules that it looks through.

    For each of them Python looks through all modules that are loaded.
    """
    venusian.attach = _no_mark  # type: ignore[assignment] # the patch


def _no_mark(fun: object, category: str) -> None:
    """Do nothing."""


class HardenedApp(faust.App):
    """A Faust app that commits only what is done. Raises UntestedVersionError with untested libraries."""

    def __init__(self, app_id: str, **options: Any) -> None:
        # What the group has given to this worker, and nobody reads until the next rebalance.
        self.left_for_later: set[TP] = set()
        # The number of the rebalance whose assignment is the last that this worker was told.
        self.assigned_in_rebalance = 0
        check_versions()
        shorten_transaction_backoff()
        hide_values()
        read_any_header_name()
        leave_no_marks()
        super().__init__(
            app_id,
            TableManager=OrderedTableManager,
            Worker=HardenedWorker,
            Monitor=NoMonitor,
            # There is no Faust table, so nothing of these is needed; the leader topic would only be one more.
            table_standby_replicas=0,
            topic_disable_leader=True,
            topic_allow_declare=False,
            web_enabled=False,
            stream_wait_empty=True,
            consumer_auto_offset_reset="earliest",
            # A worker without partitions does not fetch, and aiokafka would take it out of the group for good.
            broker_max_poll_interval=1_000_000,
            # aiokafka does not ask again after a metadata request that failed, and a leader that knows of no
            # topic gives nobody any partition: by default the whole group stands still for five minutes.
            consumer_metadata_max_age_ms=METADATA_MAX_AGE_MS,
            # The worker's own line about a bad day is enough; Faust would log every print.
            worker_redirect_stdouts=False,
            **options,
        )

    def _new_transport(self) -> TransportT:
        return HardenedTransport(self.conf.broker_consumer, self)

    def _init_fixups(self) -> list[FixupT]:
        """Adapt to no other framework: the look for what is installed of them takes as long as an import."""
        return []

    async def drop_messages(self) -> None:
        """Forget what was handed on and nobody has begun with; return when the rest is acknowledged."""

    def _create_directories(self) -> None:
        """Make no data folder: the state is in Kafka, and the working folder may be read-only."""

    def _crash(self, reason: BaseException) -> None:
        """Exit at once: Faust's own shutdown acknowledges and commits what was being worked on."""
        exit_now(reason)


class HardenedWorker(faust.Worker):
    """Faust's worker without its spinner, and without the signal that stops everything for a debugger.

    After a stop it ends at once: whoever starts the next one waits for that.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # It writes escape codes between the log lines.
        self.spinner = None

    def execute_from_commandline(self) -> NoReturn:
        """Run until a signal and end the process.

        By then everything is closed. Python would free what is left piece by piece, which takes the longer the more
        jobs there are.
        """
        try:
            super().execute_from_commandline()
        except SystemExit as end:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else CRASH_EXIT_CODE)

    async def _sentinel_task(self) -> None:
        """Let the loop be closed: by now all services have ended and nothing runs on it. Mode waits a second more."""

    def _on_sigusr2(self) -> None:
        self.log.info("SIGUSR2 is ignored")
