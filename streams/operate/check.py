"""Whether all is as workers need it: each finding is ok, or says what mends it. Only reads."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka.errors import KafkaError

from streams.engine.ports import UnreadableError
from streams.kafka.access import AccessError, connection_problem, describe_group
from streams.kafka.admin import admin_client
from streams.kafka.messages import instant_of
from streams.kafka.topics import MissingTopicsError, TopicsError, check_topics
from streams.names import SOURCE_TOPICS, changelog_topic
from streams.operate.held import held_now
from streams.operate.job_rows import NotReadError, record_reader
from streams.operate.standing import WaitKind, clock
from streams.operate.table_view import view_of, workers_of
from streams.operate.unread import unread_records
from streams.robot.client import connected_robot
from streams.settings import KafkaSettings, WorkerSettings, variable_of
from streams.telemetry.journal import SKEW_WARNING_SECONDS
from streams.wire.rows import TableError, is_no_job

# Enough to find a record among transactions' markers.
_LAST_OFFSETS = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of something; with `mend`, what mends it."""

    what: str
    words: str
    mend: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nobody has to do anything."""
        return self.mend is None


async def findings(settings: KafkaSettings, worker: WorkerSettings | None) -> AsyncIterator[Finding]:
    """Yield what is found, one after the other; without a connection nothing more than that.

    `worker`: the settings of a worker, None where they are not complete.
    """
    try:
        async with admin_client(**settings.kafka_client_options()):
            yield Finding("connection", f"Kafka answers at {settings.bootstrap_servers}")
    except KafkaError:
        yield Finding("connection", await connection_problem(settings), "start the brokers, or set what is named there")
        return
    told: set[str] = set()
    missing = False
    for what, look in _LOOKS.items():
        try:
            async for finding in look(settings, what):
                yield finding
        except AccessError as error:
            yield Finding(what, str(error), _acl_commands(settings, error))
        except TopicsError as error:
            for problem in error.problems:
                # Another look may find the same; and of missing topics the first one has named all.
                if problem not in told and not (missing and isinstance(error, MissingTopicsError)):
                    yield Finding(what, problem, "as it says there")
            told.update(error.problems)
            missing |= isinstance(error, MissingTopicsError)
        except (KafkaError, NotReadError, UnreadableError) as error:
            yield Finding(what, str(error) or type(error).__name__, "see to the brokers, then check again")
    if worker is not None:
        yield await _robot(worker)


def _acl_commands(settings: KafkaSettings, error: AccessError) -> str:
    """Return the commands that give what is missing to this user."""
    if settings.tokens is not None:
        return "an ACL (with IAM: a policy) for whom the token names, which is its sub as a rule"
    user = settings.sasl_username or "ANONYMOUS"
    head = f"kafka-acls.sh --bootstrap-server {settings.bootstrap_servers} --add --allow-principal User:{user}"
    return "; ".join(
        f"{head} --operation {operation.name} --{kind.replace(' ', '-')} {name}"
        for operation, (kind, _, name) in ((lack, resource.rpartition(" ")) for lack, resource in error.lacks)
    )


async def _topics(settings: KafkaSettings, what: str) -> AsyncIterator[Finding]:
    report = await check_topics(settings)
    yield Finding(what, f"all are there, with {report.partitions} partitions")
    for warning in report.warnings:
        yield Finding(what, warning, "as it says there, if it is not meant so")


async def _acls(settings: KafkaSettings, what: str) -> AsyncIterator[Finding]:
    await check_topics(settings, worker=True)
    yield Finding(what, "this user may do what a worker does with topics and group")


async def _group(settings: KafkaSettings, what: str) -> AsyncIterator[Finding]:
    async with admin_client(**settings.kafka_client_options()) as admin:
        group = await describe_group(admin, settings.app_id)
    if group is None:
        yield Finding(what, f"this user may not ask about it (DESCRIBE on group {settings.app_id})", "an ACL for it")
        return
    try:
        unread = f"up to {await unread_records(settings, SOURCE_TOPICS, (await check_topics(settings)).partitions)}"
    except TopicsError:
        unread = "not known with such topics"
    if not group.members:
        # Which a broker calls dead, also where there has never been one.
        yield Finding(what, f"no worker runs, records unread: {unread}", "robot-orchestrator worker")
        return
    yield Finding(what, f"{group.state}, workers: {len(group.members)}, records unread: {unread}")


async def _table(settings: KafkaSettings, what: str) -> AsyncIterator[Finding]:
    """Yield what the table's marks and its last records tell: who misses the robot, and the broker's time."""
    changelog = changelog_topic(settings.app_id)
    last = 0

    def take(message: Any) -> None:
        nonlocal last
        last = max(last, message.timestamp)

    async with record_reader(settings, changelog) as reader:
        values = await reader.last_values(changelog, range(reader.partitions), is_no_job)
        starts = {number: max(0, end - _LAST_OFFSETS) for number, end in (await reader.ends(changelog)).items()}
        await reader.scan(changelog, starts, take, starts=starts)
    now = datetime.now(UTC)
    behind = instant_of(last) - now
    if behind > timedelta(seconds=SKEW_WARNING_SECONDS):
        words = f"this machine's is {behind.total_seconds():.0f} s behind the broker's"
        yield Finding(what, words, "set it right (timedatectl set-ntp true)")
    else:
        written = (
            "nothing was written yet" if last == 0 else f"it wrote to the table last at {clock(instant_of(last), now)}"
        )
        yield Finding(what, f"this machine's is not behind the broker's ({written})")
    try:
        view = view_of(values, len(values), await workers_of(settings))
    except TableError as error:
        yield Finding("table", str(error), "run the release that the workers have")
        return
    for held in held_now(view, now):
        if held.by is WaitKind.PERSON:
            what = "everything" if held.workspace_id is None else held.workspace_id
            yield Finding("holds", f"nobody is called of {what}: {held.actor} holds it ({held.reason})")
    for worker_id, (since, numbers) in view.robot_missed_by.items():
        words = f"{worker_id} has missed it since {clock(since, now)} (partitions {', '.join(map(str, numbers))})"
        yield Finding("robot", words, f"start the robot, or set {variable_of('robot_url')} for the worker")


async def _robot(worker: WorkerSettings) -> Finding:
    async with connected_robot(worker) as robot:
        health = await robot.health()
    if health is None:
        return Finding(
            "robot", f"nobody answers at {worker.robot_health}", f"start it, or set {variable_of('robot_url')} right"
        )
    uptime = "" if health.uptime is None else f", and has run for {_in_whole_seconds(health.uptime)}"
    return Finding("robot", f"it answers at {worker.robot_health}{uptime}")


def _in_whole_seconds(time: timedelta) -> timedelta:
    return timedelta(seconds=int(time.total_seconds()))


_LOOKS: dict[str, Callable[[KafkaSettings, str], AsyncIterator[Finding]]] = {
    "topics": _topics,
    "ACLs": _acls,
    "group": _group,
    "clock": _table,
}
