"""The one place where a worker meets its world: settings and topics become rules; Kafka and the robot, ports."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

from aiokafka.errors import KafkaConnectionError, KafkaError

from streams.engine.clock import Clock
from streams.engine.ports import PartitionLog
from streams.engine.rules import Rules, WatchdogLimits
from streams.engine.runtime import Supervisor
from streams.engine.watchdog import LoopWatch
from streams.engine.worker import Driver, Ports, Worker
from streams.kafka.access import connection_problem
from streams.kafka.partition_log import KafkaPartitionLog
from streams.kafka.reader import KafkaReader
from streams.kafka.topics import TopicsReport, check_topics, first_start_warning
from streams.names import LogEvent, changelog_topic
from streams.robot.client import connected_robot
from streams.settings import SettingsError, WorkerSettings, in_force, unknown_variables, variable_of
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.telemetry.probes import Probes
from streams.telemetry.tracing import running_tracing
from streams.version import version
from streams.wire.records import TopicPartition
from streams.wire.robot_request import Callback

BROKER_RETRY_SECONDS = 2.0
# What the probes check, in words for a person.
TURNS, MOVES, JOINED = "event loop turns", "partitions move", "in the group, or joining"
READY = "group joined, partitions loaded"
ROBOT = "robot answers"


def _as_they_are(ports: Ports) -> Ports:
    return ports


@contextlib.asynccontextmanager
async def running_worker(
    settings: WorkerSettings,
    driver: Driver,
    *,
    adapt: Callable[[Ports], Ports] = _as_they_are,
    watchdog: WatchdogLimits = WatchdogLimits(),  # noqa: B008 # it is frozen
) -> AsyncIterator[Worker]:
    """Open the probes, wait for the topics, connect, and yield a worker; close everything again.

    Tests put their own ports in the place of the real ones by `adapt`. Raises SettingsError, TopicsError or AccessError
    if something is not as a worker needs it, KafkaError if Kafka refuses for another reason.
    """
    journal = Journal(Metrics(settings.revision))
    journal.info(LogEvent.WORKER_STARTED, version=version(), worker_id=driver.worker_id, settings=in_force(settings))
    if unknown := unknown_variables():
        journal.warning(LogEvent.SETTINGS_WARNING, problem=unknown)
    async with AsyncExitStack() as stack:
        stack.callback(journal.info, LogEvent.WORKER_STOPPED)
        probes = Probes(settings.probe_host, settings.probe_port, journal.metrics)
        await _watch_process(probes, driver, stack)
        tracing = await stack.enter_async_context(running_tracing(settings.robot_endpoint, journal))
        report = await _topics(settings, journal)
        clock = Clock()
        readers = [KafkaReader(settings.kafka_client_options(), settings.app_id, report.partitions) for _ in range(2)]
        for reader in readers:
            stack.push_async_callback(reader.stop)
            await reader.start()
        if problem := await first_start_warning(readers[0], settings.app_id):
            journal.warning(LogEvent.TOPICS_WARNING, problem=problem)
        ports = Ports(
            log_of=lambda number: _log_of(number, settings, journal, clock),
            reader=readers[0],
            barrier_reader=readers[1],
            robot=await stack.enter_async_context(connected_robot(settings)),
            now=clock.now,
            tracing=tracing,
        )
        worker = Worker(_rules(settings, report, driver.worker_id, watchdog), adapt(ports), driver, journal)
        stack.push_async_callback(worker.close)
        probes.live[MOVES] = lambda: worker.watchdog.partitions_move
        probes.live[JOINED] = lambda: worker.watchdog.in_group
        probes.ready[READY] = lambda: worker.partitions.ready
        probes.notes[ROBOT] = lambda: worker.robot.is_there
        yield worker


async def _watch_process(probes: Probes, driver: Driver, stack: AsyncExitStack) -> None:
    """See to it that the event loop turns, and let the probes say so from the first second on."""
    supervisor, loop = Supervisor(driver.crash), LoopWatch(driver.crash)
    stack.callback(supervisor.close)
    supervisor.start(loop.run())
    probes.live[TURNS] = lambda: loop.turns
    # What is not there yet is not stuck.
    probes.live |= dict.fromkeys((MOVES, JOINED), lambda: True)
    probes.ready[READY] = lambda: False
    try:
        await probes.start()
    except OSError as error:
        raise SettingsError(f"{variable_of('probe_port')}: the probes cannot listen: {error}") from error
    stack.push_async_callback(probes.stop)


async def _topics(settings: WorkerSettings, journal: Journal) -> TopicsReport:
    """Return what the cluster has, as soon as a broker answers."""
    while True:
        try:
            report = await check_topics(settings, worker=True)
        except KafkaConnectionError:
            journal.waiting_for_broker(await connection_problem(settings))
        except KafkaError as error:
            journal.waiting_for_broker(str(error))
        else:
            for problem in report.warnings:
                journal.warning(LogEvent.TOPICS_WARNING, problem=problem)
            return report
        await asyncio.sleep(BROKER_RETRY_SECONDS)


def _rules(settings: WorkerSettings, report: TopicsReport, worker_id: str, watchdog: WatchdogLimits) -> Rules:
    secret = settings.callback_secret.get_secret_value()
    return Rules(
        app_id=settings.app_id,
        worker_id=worker_id,
        partitions=report.partitions,
        jobs_per_workspace=settings.jobs_per_workspace,
        call_slots=settings.robot_concurrency,
        deadlines=settings.deadlines,
        callback=Callback(settings.callback_url, secret, per_job=settings.callback_template is not None),
        max_bytes=report.max_bytes,
        session_timeout=timedelta(seconds=settings.session_timeout_seconds),
        watchdog=watchdog,
    )


def _log_of(number: int, settings: WorkerSettings, journal: Journal, clock: Clock) -> PartitionLog:
    changelog = TopicPartition(changelog_topic(settings.app_id), number)
    return KafkaPartitionLog(settings.kafka_client_options(), settings.app_id, changelog, journal, clock.now)
