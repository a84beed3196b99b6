"""The Faust app: its agents take records and claims to a worker, which `streams/worker.py` connects to its world.

`faust -A streams.app worker` finds `app` here; it is built from the environment when it is first asked for.
"""

import asyncio
import socket
import sys
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any, NoReturn, cast

import faust
from aiokafka.errors import KafkaError
from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials
from faust.types import StreamT
from yarl import URL

from streams.engine.claims import Claim
from streams.engine.watchdog import BlockedLoopError
from streams.engine.worker import Driver, Worker
from streams.faust_hardening import DurableChannel, HardenedApp, HardenedWorker
from streams.faust_hardening.app import exit_now
from streams.faust_hardening.consumer import HardenedConsumer
from streams.faust_hardening.versions import UntestedVersionError
from streams.kafka.access import AccessError
from streams.kafka.messages import source_record
from streams.kafka.topics import CONFIG_EXIT_CODE, TopicsError
from streams.names import DISPATCH_AGENT, SOURCE_TOPICS, Topic
from streams.settings import KafkaSettings, SettingsError, WorkerSettings, load_settings
from streams.telemetry.logging import configure_logging, logging_config
from streams.wire.records import TopicPartition
from streams.wire.rows import TableError
from streams.worker import running_worker

TICK_SECONDS = 0.25
COMMIT_SECONDS = 0.25
# Only by the answer to its next heartbeat does a member learn that another one has come or gone, and nobody is given
# anything before all have learned it. Session time-outs are a second and more.
HEARTBEAT_SECONDS = 0.2
# What is left of a stop after the calls are back takes a second; one that hangs must not hang for ever.
STOP_SECONDS = 30.0

# Makes a worker for a driver, and closes it again: `running_worker`, or one with a test's own ports.
Connect = Callable[[WorkerSettings, Driver], AbstractAsyncContextManager[Worker]]


def _end(reason: BaseException) -> NoReturn:
    """End the process: what a restart cannot mend is one line without a traceback."""
    if isinstance(reason, TableError):
        exit_now(str(reason), CONFIG_EXIT_CODE)
    if isinstance(reason, BlockedLoopError):
        exit_now(str(reason))
    exit_now(reason)


class OrchestratorApp(HardenedApp):
    """The Faust app that drives a worker: joins the group only when that is up, leaves it only when drained."""

    def __init__(self, settings: WorkerSettings, connect: Connect) -> None:
        worker_id = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        super().__init__(
            settings.app_id,
            broker_client_id=worker_id,
            broker=[URL(f"kafka://{server.strip()}") for server in settings.bootstrap_servers.split(",")],
            broker_credentials=_credentials(settings),
            broker_commit_interval=COMMIT_SECONDS,
            broker_session_timeout=settings.session_timeout_seconds,
            broker_heartbeat_interval=HEARTBEAT_SECONDS,
            broker_rebalance_timeout=max(30.0, settings.session_timeout_seconds),
            broker_request_timeout=max(40.0, settings.session_timeout_seconds + 10),
            logging_config=logging_config(settings.log_format, settings.log_level),
        )
        self.claims = DurableChannel(self)
        self._worker_settings = settings
        driver = Driver(worker_id=worker_id, hand_over=self.claims.put_nowait, is_member=self._is_member, crash=_end)
        self._connect = partial(connect, settings, driver)
        self._connected = AsyncExitStack()
        # Faust starts an app long after it was made.
        self._worker: Worker | None = None
        self._drained = False

    @property
    def worker(self) -> Worker:
        """The worker, which is there before anything is started that asks for it."""
        if self._worker is None:
            raise RuntimeError("the app has not been started")
        return self._worker

    async def on_start(self) -> None:
        """Bring up the worker first: nothing may arrive before it can be taken."""
        configure_logging(self._worker_settings.log_format, self._worker_settings.log_level)
        try:
            self._worker = await self._connected.enter_async_context(self._connect())
        except (TopicsError, AccessError, SettingsError) as error:
            exit_now(str(error), CONFIG_EXIT_CODE)
        except KafkaError as error:
            exit_now(error)
        await super().on_start()

    async def stop(self) -> None:
        """Drain while everything still runs, then leave the group, then close the ledgers."""
        if not self._drained:
            self._drained = True
            if self._worker is not None:
                await self._worker.drain(self._worker_settings.drain_seconds)
            overdue = asyncio.get_running_loop().call_later(STOP_SECONDS, exit_now, "the stop takes too long")
            await super().stop()
            await self._connected.aclose()
            overdue.cancel()

    async def drop_messages(self) -> None:
        """Let the ledgers forget what is queued: whoever has a partition next reads on from what is done."""
        if self._worker is not None:
            await self._worker.drop_records()

    def _is_member(self) -> bool:
        return cast(HardenedConsumer, self.consumer).is_member


def _credentials(settings: KafkaSettings) -> Any:
    if settings.tokens is not None:
        return OAuthCredentials(oauth_cb=settings.tokens, ssl_context=settings.ssl_context)
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


def build_app(settings: WorkerSettings, connect: Connect = running_worker) -> OrchestratorApp:
    """Wire the Faust app: three agents and one timer around a worker."""
    app = OrchestratorApp(settings, connect)
    for topic in SOURCE_TOPICS:
        # Raw bytes cannot fail to decode: what they mean is decided in streams/wire/intake.py.
        channel = app.topic(topic.value, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
        app.agent(channel, name=topic.name.lower())(_intake_agent(app))

    @app.agent(app.claims, name=DISPATCH_AGENT)
    async def dispatch(stream: StreamT[Claim]) -> None:
        async for claim in stream:
            app.worker.call(claim)

    @app.timer(TICK_SECONDS)  # type: ignore[untyped-decorator] # Faust declares it without types
    async def tick() -> None:
        try:
            app.worker.tick()
        except Exception as error:  # noqa: BLE001 # Faust would end the app in a way that commits undone records
            exit_now(error)

    @app.on_rebalance_complete.connect  # type: ignore[arg-type] # Faust's type wants a keyword of its own
    async def assigned(_app: Any, **_kwargs: Any) -> None:
        # While releases with fewer sources are in the group, those that they lack are shared out by themselves. Whoever
        # has the submissions has the partition; what was given to others of it is left for later.
        given = {tp for tp in app.consumer.assignment() if tp.topic in SOURCE_TOPICS}
        numbers = {tp.partition for tp in given if tp.topic == Topic.SUBMITTED}
        app.left_for_later = {tp for tp in given if tp.partition not in numbers}
        sources = {TopicPartition(tp.topic, tp.partition) for tp in given}
        await app.worker.assign(numbers, app.consumer_generation_id, sources)

    @app.on_partitions_revoked.connect  # type: ignore[arg-type] # as above
    async def revoked(_app: Any, _revoked: Any = None, **_kwargs: Any) -> None:
        await app.worker.suspend()

    return app


def run_worker(settings: WorkerSettings, connect: Connect = running_worker) -> NoReturn:
    """Run a worker until SIGTERM and end the process. Raises SettingsError or UntestedVersionError."""
    configure_logging(settings.log_format, settings.log_level)
    app = build_app(settings, connect)
    app.finalize()
    HardenedWorker(app, quiet=True, loglevel=settings.log_level.upper()).execute_from_commandline()


def _intake_agent(app: OrchestratorApp) -> Callable[[StreamT[bytes]], Awaitable[None]]:
    async def agent(stream: StreamT[bytes]) -> None:
        # Acknowledged by the ledger, after the commit of what follows from the record.
        async for event in cast(faust.Stream[bytes], stream).noack().events():
            message = event.message
            await app.worker.deliver(source_record(message, round(message.timestamp * 1000)), event.ack)

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
