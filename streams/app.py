"""The composition root: the only place where settings, Kafka, the robot, the ledgers and Faust meet.

`faust -A streams.app worker` finds `app` here; it is built from the environment when it is first asked for.
"""

import asyncio
import contextlib
import socket
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn, cast

import faust
from aiokafka.errors import KafkaConnectionError, KafkaError
from faust.auth import SASLCredentials, SSLCredentials
from faust.types import StreamT
from yarl import URL

from streams.core.job import Status
from streams.engine.barrier import DeadlineScan, ReadBarrier
from streams.engine.calls import Dispatcher
from streams.engine.claims import CallSlots, Claim, PayloadCache
from streams.engine.clock import Clock
from streams.engine.ledger import Ledger, LedgerConfig
from streams.engine.partitions import Partitions
from streams.engine.ports import PartitionLog, Robot
from streams.engine.watchdog import Limits, Watchdog, watch_loop
from streams.faust_hardening import DurableChannel, HardenedApp, HardenedWorker
from streams.faust_hardening.app import exit_now
from streams.faust_hardening.consumer import HardenedConsumer
from streams.faust_hardening.versions import UntestedVersionError
from streams.kafka.access import AccessError, connection_problem
from streams.kafka.messages import source_record
from streams.kafka.partition_log import KafkaPartitionLog
from streams.kafka.reader import KafkaReader, answers_anew
from streams.kafka.topics import (
    CONFIG_EXIT_CODE,
    TopicsError,
    TopicsReport,
    check_topics,
    first_start_warning,
)
from streams.names import SOURCE_TOPICS, Agent, LogEvent, changelog_topic
from streams.robot.client import HttpRobot
from streams.settings import (
    KafkaSettings,
    SettingsError,
    WorkerSettings,
    changed,
    load_settings,
    unknown_variables,
    variable_of,
)
from streams.telemetry.journal import Journal
from streams.telemetry.logging import configure_logging, logging_config
from streams.telemetry.metrics import Metrics
from streams.telemetry.probes import Probes
from streams.version import version
from streams.wire.records import TopicPartition
from streams.wire.rows import TableError

# Payloads of waiting jobs held in memory; past it they are read again from their topic.
PAYLOAD_CACHE_BYTES = 64_000_000
TICK_SECONDS = 0.25
COMMIT_SECONDS = 0.25
# A timer that has not run for so long means that the process does not get anywhere.
STALLED_SECONDS = 15.0
DRAIN_POLL_SECONDS = 0.05
BROKER_RETRY_SECONDS = 2.0
# What is left of a stop after the calls are back takes a second; one that hangs must not hang for ever.
STOP_SECONDS = 30.0


def _end(reason: BaseException) -> None:
    """End the process: what a restart cannot mend is one line without a traceback."""
    if isinstance(reason, TableError):
        exit_now(str(reason), CONFIG_EXIT_CODE)
    exit_now(reason)


def _same_log(log: PartitionLog) -> PartitionLog:
    return log


def _same_robot(robot: Robot) -> Robot:
    return robot


@dataclass(frozen=True, slots=True)
class Parts:
    """What a test may put around the real parts; production uses them as they are."""

    wrap_log: Callable[[PartitionLog], PartitionLog] = _same_log
    wrap_robot: Callable[[Robot], Robot] = _same_robot
    watchdog_limits: Limits = field(default_factory=Limits)
    clock: Clock = field(default_factory=Clock)


class Worker:
    """Everything of a worker that is not Faust, wired together; `start` before Faust joins the group."""

    def __init__(self, settings: WorkerSettings, parts: Parts) -> None:
        self._settings = settings
        self._parts = parts
        self.now = parts.clock.now
        self.metrics = Metrics()
        self.journal = Journal(self.metrics)
        self.worker_id = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self.partitions = Partitions(self._make_ledger, self.now, self.journal, _end)
        self._slots = CallSlots(settings.robot_concurrency, self.partitions.wake)
        self._payloads = PayloadCache(PAYLOAD_CACHE_BYTES)
        self._deciding: asyncio.Task[None] | None = None
        self.dispatch: Callable[[Claim], None] = self._not_wired
        self.is_member: Callable[[], bool] = self._not_in_group
        self._stack = contextlib.AsyncExitStack()
        self._last_turn = time.monotonic()
        self._watchdog: Watchdog | None = None
        self._background: list[asyncio.Task[None]] = []
        self._probes = Probes(
            settings.probe_host, settings.probe_port, self._live_checks, self._ready_checks, self.metrics
        )

    async def start(self) -> None:
        """Open the probes, check the topics, connect. Ends the process with one line if something is missing."""
        settings = self._settings
        self.journal.info(LogEvent.WORKER_STARTED, version=version(), settings=changed(settings))
        if unknown := unknown_variables():
            self.journal.warning(LogEvent.SETTINGS_WARNING, problem=unknown)
        self._begin(self._turn())
        watch_loop(lambda: self._last_turn, exit_now)
        try:
            await self._probes.start()
            self._stack.push_async_callback(self._probes.stop)
        except OSError as error:
            exit_now(f"{variable_of('probe_port')}: the probes cannot listen: {error}", CONFIG_EXIT_CODE)
        report = await self._check_topics()
        self._config = LedgerConfig(
            app_id=settings.app_id,
            worker_id=self.worker_id,
            partitions=report.partitions,
            jobs_per_workspace=settings.jobs_per_workspace,
            deadlines=settings.deadlines,
            max_bytes=report.max_bytes,
        )
        options = settings.kafka_client_options()
        self._reader = KafkaReader(options, settings.app_id, report.partitions)
        # One of its own: a completion in an open transaction keeps it waiting, and nobody else.
        self._barrier_reader = KafkaReader(options, settings.app_id, report.partitions)
        for reader in (self._reader, self._barrier_reader):
            await reader.start()
            self._stack.push_async_callback(reader.stop)
        if problem := await first_start_warning(self._reader, settings.app_id):
            self.journal.warning(LogEvent.TOPICS_WARNING, problem=problem)
        barrier = ReadBarrier(self._barrier_reader)
        self._scan = DeadlineScan(
            self.partitions.open_ledgers,
            self.partitions.report,
            self.partitions.decide,
            barrier,
            self.now,
            self.journal,
        )
        self._watchdog = Watchdog(
            lambda: self.is_member() and (self.partitions.ready or self.partitions.has_loaded_more()),
            timedelta(seconds=2 * settings.session_timeout_seconds),
            self.partitions.open_ledgers,
            self._barrier_reader,
            lambda: answers_anew(options, settings.app_id, report.partitions, SOURCE_TOPICS),
            self.now,
            self.journal,
            self._parts.watchdog_limits,
        )
        self._begin(self._watchdog.run())
        secret = settings.callback_secret.get_secret_value()
        robot = HttpRobot(settings.robot_endpoint, secret, settings.robot_timeout_seconds, settings.robot_concurrency)
        await self._stack.enter_async_context(robot.connect())
        self.dispatcher = Dispatcher(
            self._parts.wrap_robot(robot),
            self._slots,
            settings.deadlines,
            settings.callback_url,
            secret,
            self.now,
            self._scan.answered,
            self.journal,
            exit_now,
        )

    async def _check_topics(self) -> TopicsReport:
        """Return what the cluster has, as soon as a broker answers."""
        while True:
            try:
                report = await check_topics(self._settings, worker=True)
            except (TopicsError, AccessError, SettingsError) as error:
                exit_now(str(error), CONFIG_EXIT_CODE)
            except KafkaConnectionError:
                self.journal.warning(LogEvent.WAITING_FOR_BROKER, error=await connection_problem(self._settings))
            except KafkaError as error:
                self.journal.warning(LogEvent.WAITING_FOR_BROKER, error=str(error))
            else:
                for problem in report.warnings:
                    self.journal.warning(LogEvent.TOPICS_WARNING, problem=problem)
                return report
            await asyncio.sleep(BROKER_RETRY_SECONDS)

    async def assign(self, numbers: set[int], generation: int) -> None:
        """Take over the partitions that a generation of the group has given us."""
        await self.partitions.assign(numbers, generation)
        self.journal.info(LogEvent.REBALANCE_COMPLETED, partitions=sorted(numbers), generation=generation)

    async def suspend(self) -> None:
        """Stand still while the group is rebalancing."""
        self.journal.info(LogEvent.REBALANCE_STARTED, partitions=self.partitions.numbers)
        await self.partitions.suspend()

    def tick(self) -> None:
        """Do what the passing of time asks for: deadlines, pauses that are over, figures."""
        now = self.now()
        self.partitions.tick(now)
        if self._scan.collect(now) and (self._deciding is None or self._deciding.done()):
            self._deciding = self._begin(self._scan.decide())
        self._show_figures()

    async def drain(self) -> None:
        """Make no more claims, and wait until the calls in flight are back and written down, bounded."""
        self.partitions.stop_admitting()
        self.journal.info(LogEvent.DRAINING, calls_in_flight=self._slots.in_flight)
        give_up = time.monotonic() + self._settings.drain_seconds
        while time.monotonic() < give_up and not (self._slots.in_flight == 0 and self.partitions.calls_settled):
            self.partitions.tick(self.now())
            await asyncio.sleep(DRAIN_POLL_SECONDS)

    async def stop(self) -> None:
        """Close everything; what is not committed is left to the next owner."""
        for task in self._background:
            task.cancel()
        await self.partitions.close()
        await self._stack.aclose()
        self.journal.info(LogEvent.WORKER_STOPPED)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let something run beside Faust; a failure of it ends the process."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 # deadlines that nobody decides any more are lost jobs
                exit_now(error)

        task = asyncio.create_task(run())
        self._background.append(task)
        task.add_done_callback(self._background.remove)
        return task

    async def _turn(self) -> None:
        """Show that the event loop turns."""
        while True:
            self._last_turn = time.monotonic()
            await asyncio.sleep(1)

    def _make_ledger(self, partition: int) -> tuple[Ledger, PartitionLog]:
        changelog = TopicPartition(changelog_topic(self._settings.app_id), partition)
        options = self._settings.kafka_client_options()
        log = self._parts.wrap_log(KafkaPartitionLog(options, self._settings.app_id, changelog, self.journal, self.now))
        ledger = Ledger(
            partition,
            self._config,
            log,
            self._reader,
            self._slots,
            self._payloads,
            lambda claim: self.dispatch(claim),
            self.journal,
        )
        return ledger, log

    @staticmethod
    def _not_wired(_claim: Claim) -> None:
        raise RuntimeError("no dispatch agent is there to take the claim")

    @staticmethod
    def _not_in_group() -> bool:
        return False

    def _live_checks(self) -> dict[str, bool]:
        watchdog = self._watchdog
        return {
            "event loop turns": time.monotonic() - self._last_turn < STALLED_SECONDS,
            "partitions move": watchdog is None or watchdog.partitions_move,
            "in the group, or joining": watchdog is None or watchdog.in_group,
        }

    def _ready_checks(self) -> dict[str, bool]:
        return {"group joined, partitions loaded": self.partitions.ready}

    def _show_figures(self) -> None:
        ledgers = self.partitions.open_ledgers()
        for status in Status:
            self.metrics.jobs.labels(status.value).set(sum(ledger.jobs_by_status[status] for ledger in ledgers))
        self.metrics.calls_in_flight.set(self._slots.in_flight)
        self.metrics.workspaces_waiting.set(sum(ledger.workspaces_waiting for ledger in ledgers))


class OrchestratorApp(HardenedApp):
    """The Faust app with its worker: joins the group only when the worker is up, leaves it only when drained."""

    def __init__(self, settings: WorkerSettings, worker: Worker) -> None:
        self.worker = worker
        self._drained = False
        super().__init__(
            settings.app_id,
            broker=[URL(f"kafka://{server.strip()}") for server in settings.bootstrap_servers.split(",")],
            broker_credentials=_credentials(settings),
            broker_commit_interval=COMMIT_SECONDS,
            broker_session_timeout=settings.session_timeout_seconds,
            broker_heartbeat_interval=min(2.0, settings.session_timeout_seconds / 5),
            broker_rebalance_timeout=max(30.0, settings.session_timeout_seconds),
            broker_request_timeout=max(40.0, settings.session_timeout_seconds + 10),
            logging_config=logging_config(settings.log_format, settings.log_level),
        )

    async def on_start(self) -> None:
        """Bring up the worker first: nothing may arrive before it can be taken."""
        configure_logging(self.worker._settings.log_format, self.worker._settings.log_level)
        try:
            await self.worker.start()
        except KafkaError as error:
            exit_now(error)
        await super().on_start()

    async def stop(self) -> None:
        """Drain while everything still runs, then leave the group, then close the ledgers."""
        if not self._drained:
            self._drained = True
            await self.worker.drain()
            overdue = asyncio.get_running_loop().call_later(STOP_SECONDS, exit_now, "the stop takes too long")
            await super().stop()
            await self.worker.stop()
            overdue.cancel()


def _credentials(settings: KafkaSettings) -> Any:
    if settings.sasl_mechanism is not None and settings.sasl_password is not None:
        return SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value(),
            mechanism=settings.sasl_mechanism.value,
            ssl_context=settings.ssl_context,
        )
    if settings.ssl_context is not None:
        return SSLCredentials(context=settings.ssl_context)
    return None


def build_app(settings: WorkerSettings, parts: Parts | None = None) -> OrchestratorApp:
    """Wire the Faust app: three agents and one timer around a worker."""
    worker = Worker(settings, parts or Parts())
    app = OrchestratorApp(settings, worker)
    for topic, name in zip(SOURCE_TOPICS, (Agent.SUBMITTED, Agent.BATCH_COMPLETED), strict=True):
        # Raw bytes cannot fail to decode: what they mean is decided in streams/wire/intake.py.
        channel = app.topic(topic.value, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
        app.agent(channel, name=name.value)(_intake_agent(worker))
    claims = DurableChannel(app)
    worker.dispatch = claims.put_nowait
    worker.is_member = lambda: cast(HardenedConsumer, app.consumer).is_member

    @app.agent(claims, name=Agent.DISPATCH.value)
    async def dispatch(stream: StreamT[Claim]) -> None:
        async for claim in stream:
            worker.dispatcher.start(claim)

    @app.timer(TICK_SECONDS)  # type: ignore[untyped-decorator] # Faust declares it without types
    async def tick() -> None:
        try:
            worker.tick()
        except Exception as error:  # noqa: BLE001 # Faust would end the app in a way that commits undone records
            exit_now(error)

    @app.on_rebalance_complete.connect  # type: ignore[arg-type] # Faust's type wants a keyword of its own
    async def assigned(_app: Any, **_kwargs: Any) -> None:
        numbers = {tp.partition for tp in app.consumer.assignment() if tp.topic in SOURCE_TOPICS}
        await worker.assign(numbers, app.consumer_generation_id)

    @app.on_partitions_revoked.connect  # type: ignore[arg-type] # as above
    async def revoked(_app: Any, _revoked: Any = None, **_kwargs: Any) -> None:
        await worker.suspend()

    return app


def run_worker(settings: WorkerSettings, parts: Parts | None = None) -> NoReturn:
    """Run a worker until SIGTERM and end the process. Raises SettingsError or UntestedVersionError."""
    configure_logging(settings.log_format, settings.log_level)
    app = build_app(settings, parts)
    app.finalize()
    HardenedWorker(app, quiet=True, loglevel=settings.log_level.upper()).execute_from_commandline()


def _intake_agent(worker: Worker) -> Callable[[StreamT[bytes]], Awaitable[None]]:
    async def agent(stream: StreamT[bytes]) -> None:
        # Acknowledged by the ledger, after the commit of what follows from the record.
        async for event in cast(faust.Stream[bytes], stream).noack().events():
            message = event.message
            record = source_record(message, round(message.timestamp * 1000))
            await worker.partitions.deliver(record, event.ack)

    return agent


def __getattr__(name: str) -> Any:
    """Build `app` when it is first asked for, so that importing this module does nothing."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        app = build_app(load_settings(WorkerSettings))
    except (SettingsError, UntestedVersionError) as error:
        sys.exit(f"robot-orchestrator: {error}")
    globals()["app"] = app
    return app
