"""The topics on the cluster: how they are created, and what a worker insists on before it starts."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    BrokerResponseError,
    InvalidConfigurationError,
    InvalidReplicationFactorError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from streams.engine.ports import LogReader, until_readable
from streams.kafka.access import (
    AccessError,
    DescribedTopic,
    Operation,
    check_group,
    describe_topics,
    visible_cluster,
)
from streams.kafka.admin import admin_client
from streams.kafka.topic_rules import (
    CLEANUP,
    ENOUGH_REPLICAS,
    MAX_AGE,
    MAX_BYTES,
    MAX_DIFFERENCE,
    MAX_LAG,
    MIN_IN_SYNC,
    MIN_LAG,
    NO_LIMIT,
    RETENTION,
    RETENTION_BYTES,
    SEGMENT,
    TIMESTAMP_TYPE,
    UNCLEAN,
    FoundTopic,
    faults,
)
from streams.names import (
    TOPIC_PREFIX,
    TOPIC_PREFIX_VARIABLE,
    Topic,
    changelog_topic,
    other_changelogs,
    other_prefixes,
)
from streams.settings import KafkaSettings, SecurityProtocol, variable_of
from streams.wire.intake import COMPLETION_MAX_BYTES, SUBMISSION_MAX_BYTES

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_WEEK_MS = 7 * _DAY_MS
_YEARS_MS = 5 * 365 * _DAY_MS
# A job has three rows, and one for each report; its last one is all that counts. By default they would be compacted
# after a week or 1 GiB, and each start reads all that is there. After six hours, what is superfluous is a tenth of a
# table of a week; and a broker writes each partition's table anew four times a day. A segment of an hour lets it begin
# sooner where the table is smaller than what has come; of 64 partitions it keeps some 500 segments open.
_SEGMENT_MS = _HOUR_MS
_COMPACTED_WITHIN_MS = 6 * _HOUR_MS
# A submission with its headers, and a dead letter, which adds headers to what it copies.
_SUBMISSION_BYTES = SUBMISSION_MAX_BYTES + 1_000_000
_LETTER_BYTES = _SUBMISSION_BYTES + 1_000_000
_OTHERS_SHOWN = 3
CREATED_POLL_SECONDS = 0.1
# Long enough for a coordinator that is being elected.
FIRST_LOOK_SECONDS = 10.0
# The topics, or something else around the program, are not as it needs them.
CONFIG_EXIT_CODE = 78  # sysexits.h: EX_CONFIG


class TopicsError(Exception):
    """The topics are not as the program needs them; the text is one line that says which has what.

    `problems` has a line for each, the ones that a worker would only warn of behind the others.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class MissingTopicsError(TopicsError):
    """Topics are not there."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic, the settings it is created with, and what a worker does with its records."""

    name: str
    config: Mapping[str, str]
    worker: tuple[Operation, ...]


def topic_specs(settings: KafkaSettings) -> list[TopicSpec]:
    """Return every topic of an application, with its configuration."""
    # Past half the table's memory a submission is never called: its credentials need not lie there longer.
    secret_ms = int(settings.retention_seconds * 500)
    # What a broker's own defaults could say otherwise is said here.
    safe = {UNCLEAN: "false"}
    deleted = safe | {CLEANUP: "delete", RETENTION_BYTES: "-1"}
    soon = {SEGMENT: str(_SEGMENT_MS), MIN_LAG: "0", MAX_LAG: str(_COMPACTED_WITHIN_MS)}
    compacted = safe | {CLEANUP: "compact"} | soon
    # Kafka deletes whole segments: one of the default week would keep them a week longer.
    secret = deleted | {RETENTION: str(secret_ms), SEGMENT: str(min(secret_ms // 4, _DAY_MS))}
    week = deleted | {RETENTION: str(_WEEK_MS)}
    # Who has done what, for whoever asks in some years.
    years = deleted | {RETENTION: str(_YEARS_MS)}
    # The sources are written to as well: a misplaced record is forwarded with its own time, however old it is.
    both, write = (Operation.READ, Operation.WRITE), (Operation.WRITE,)
    any_age = {MAX_AGE: NO_LIMIT}
    return [
        # A forwarded record keeps its producer's timestamp, from which its age is told.
        TopicSpec(
            Topic.SUBMITTED,
            secret | any_age | {MAX_BYTES: str(_SUBMISSION_BYTES), TIMESTAMP_TYPE: "CreateTime"},
            both,
        ),
        TopicSpec(Topic.BATCH_COMPLETED, week | any_age, both),
        TopicSpec(Topic.ORDER_REPORTED, week | any_age, both),
        TopicSpec(Topic.CONTROL, years | any_age | {TIMESTAMP_TYPE: "CreateTime"}, both),
        TopicSpec(Topic.COMPLETED, week, write),
        TopicSpec(Topic.FAILED, week, write),
        TopicSpec(Topic.AMENDED, week, write),
        TopicSpec(Topic.DLQ_SUBMITTED, secret | {MAX_BYTES: str(_LETTER_BYTES)}, write),
        TopicSpec(Topic.DLQ_BATCH_COMPLETED, week | {MAX_BYTES: str(COMPLETION_MAX_BYTES + 2_000_000)}, write),
        TopicSpec(Topic.DLQ_ORDER_REPORTED, week | {MAX_BYTES: str(COMPLETION_MAX_BYTES + 2_000_000)}, write),
        TopicSpec(Topic.DLQ_CONTROL, week | {MAX_BYTES: str(COMPLETION_MAX_BYTES + 2_000_000)}, write),
        # The broker's clock in the rows is what a worker's clock is compared with.
        TopicSpec(changelog_topic(settings.app_id), compacted | {TIMESTAMP_TYPE: "LogAppendTime"}, both),
    ]


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """What was found: the one partition count, and the largest record (bytes) that each topic takes.

    `warnings` has a line for each thing that breaks no promise and that somebody should mend.
    """

    partitions: int
    max_bytes: Mapping[str, int]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CreatedTopics:
    """The topics that were created, and the partition count of all."""

    names: list[str]
    partitions: int


async def create_topics(
    settings: KafkaSettings, partitions: int, replication_factor: int, *, beside_others: bool = True
) -> CreatedTopics:
    """Create the topics that are missing, with as many partitions as those that are there.

    Without `beside_others` no job table is made where another application has one. A replication factor of -1 is as
    much as is of use on this cluster. Raises AccessError if this user may not, TopicsError if the factor is 2, there
    are too few brokers or another application is there, and a KafkaError if the broker refuses for another reason.
    """
    _check_factor(replication_factor)
    async with admin_client(**settings.kafka_client_options()) as admin:
        specs = topic_specs(settings)
        names = [spec.name for spec in specs]
        existing = await describe_topics(admin, names)
        _check_access(dict.fromkeys(names, (Operation.DESCRIBE,)), existing)
        counts = {topic.partitions for topic in existing.values()}
        if len(counts) > 1:
            raise _different({name: topic.partitions for name, topic in existing.items()})
        if counts:
            # What is there decides: all topics need one partition count.
            partitions = counts.pop()
        if not beside_others and names[-1] not in existing:
            for line in _other_applications((await visible_cluster(admin)).topics, settings.app_id):
                raise TopicsError(f"{line} (topics create --beside-others makes a table all the same)")
        if replication_factor < 0:
            replication_factor = _useful_factor((await visible_cluster(admin)).brokers)
        created = [spec.name for spec in specs if spec.name not in existing]
        for spec in specs:
            if spec.name in created:
                await _create(admin, spec, partitions, replication_factor)
        # The broker answers before every part of it knows: a worker started now would miss them.
        missing = set(created)
        while missing:
            missing -= {name for name, topic in (await describe_topics(admin, names)).items() if topic.partitions}
            await asyncio.sleep(CREATED_POLL_SECONDS)
        return CreatedTopics(created, partitions)


def _check_factor(replication_factor: int) -> None:
    if replication_factor == 2:
        raise TopicsError(
            "a replication factor of 2 is no use: with one broker down no deadline would be decided "
            f"(topics create --replication-factor {ENOUGH_REPLICAS}, or 1 where nothing need outlive a broker)"
        )


def creation_commands(settings: KafkaSettings, partitions: int, replication_factor: int) -> list[str]:
    """Return the commands of Kafka's own tool that make all topics, for who makes them in another way.

    Raises TopicsError if the factor is 2.
    """
    _check_factor(replication_factor)
    servers = settings.bootstrap_servers.replace(" ", "")
    login = "" if settings.security_protocol is SecurityProtocol.PLAINTEXT else "--command-config client.properties "
    return [
        f"kafka-topics.sh --bootstrap-server {servers} {login}--create --topic {spec.name} "
        f"--partitions {partitions} --replication-factor {replication_factor} "
        + " ".join(f"--config {name}={value}" for name, value in _config(spec, replication_factor).items())
        for spec in topic_specs(settings)
    ]


def _config(spec: TopicSpec, replication_factor: int) -> dict[str, str]:
    # One broker may be down.
    return {**spec.config, MIN_IN_SYNC: str(max(1, replication_factor - 1))}


def _useful_factor(brokers: int) -> int:
    return ENOUGH_REPLICAS if brokers >= ENOUGH_REPLICAS else 1


async def _create(admin: AIOKafkaAdminClient, spec: TopicSpec, partitions: int, replication_factor: int) -> None:
    """Create a topic. Raises AccessError, TopicsError or a KafkaError if the broker does not."""
    config = _config(spec, replication_factor)
    error, message = await _ask_for(admin, NewTopic(spec.name, partitions, replication_factor, topic_configs=config))
    if error is TopicAuthorizationFailedError:
        raise AccessError((Operation.CREATE, _resource(spec.name)))
    if error is InvalidReplicationFactorError:
        brokers = (await visible_cluster(admin)).brokers
        raise TopicsError(
            f"{spec.name}: a replication factor of {replication_factor} needs as many brokers, "
            f"and the cluster has {brokers} (topics create --replication-factor {_useful_factor(brokers)})"
        )
    if error.errno and error is not TopicAlreadyExistsError:
        raise error(f"{spec.name}: {message}")


async def _ask_for(admin: AIOKafkaAdminClient, topic: NewTopic) -> tuple[type[BrokerResponseError], str]:
    """Ask for a topic; return what the broker answers."""
    ((_, code, *message),) = (await admin.create_topics([topic])).topic_errors
    error, text = for_code(code), " ".join(filter(None, message))
    if error is InvalidConfigurationError and MAX_AGE in topic.topic_configs and MAX_AGE in text:
        # A broker of before 3.6.
        del topic.topic_configs[MAX_AGE]
        topic.topic_configs[MAX_DIFFERENCE] = NO_LIMIT
        return await _ask_for(admin, topic)
    return error, text


def _check_access(needed: Mapping[str, Iterable[Operation]], found: Mapping[str, DescribedTopic]) -> None:
    """Raise AccessError if this user may not do with a topic what it needs."""
    lacks = [
        (operation, _resource(name))
        for name, topic in found.items()
        for operation in needed[name]
        if not topic.allows(operation)
    ]
    if lacks:
        raise AccessError(*lacks)


async def check_topics(settings: KafkaSettings, *, worker: bool = False) -> TopicsReport:
    """Return what the cluster has; for a worker, check also that this user may do all that a worker does.

    Raises TopicsError if a topic is missing, the counts differ or a setting breaks a promise, AccessError if an ACL
    is missing.
    """
    specs = topic_specs(settings)
    names = [spec.name for spec in specs]
    async with admin_client(**settings.kafka_client_options()) as admin:
        found = await describe_topics(admin, names)
        _check_access({spec.name: spec.worker if worker else (Operation.DESCRIBE,) for spec in specs}, found)
        counts = {name: topic.partitions for name, topic in found.items()}
        missing = [name for name in names if not counts.get(name)]
        if missing:
            raise await missing_topics(admin, missing, settings.app_id)
        if len(set(counts.values())) > 1:
            raise _different(counts)
        _check_access(dict.fromkeys(names, (Operation.DESCRIBE_CONFIGS,)), found)
        if worker:
            await check_group(admin, settings.app_id)
        configs = await _configs(admin, names)
        cluster = await visible_cluster(admin)
    found_faults = [
        fault
        for spec in specs
        for fault in faults(
            FoundTopic(spec.name, found[spec.name].replicas, configs[spec.name]), spec.config, cluster.brokers
        )
    ]
    warnings = [fault.line(settings.bootstrap_servers) for fault in found_faults if not fault.fatal]
    warnings += _other_applications(cluster.topics, settings.app_id)
    if fatal := [fault.line(settings.bootstrap_servers) for fault in found_faults if fault.fatal]:
        raise TopicsError(*fatal, *warnings)
    sizes = {name: int(configs[name][MAX_BYTES]) for name in names}
    return TopicsReport(partitions=counts[names[-1]], max_bytes=sizes, warnings=tuple(warnings))


def _different(counts: Mapping[str, int]) -> TopicsError:
    different = ", ".join(f"{name} has {count}" for name, count in counts.items())
    return TopicsError(f"all topics need one partition count: {different}")


async def missing_topics(admin: AIOKafkaAdminClient, missing: list[str], app_id: str) -> MissingTopicsError:
    """Return what to raise for missing topics, with what may have been meant, as far as this user may see it."""
    topics = (await visible_cluster(admin)).topics
    others = list(_other_applications(topics, app_id)) if changelog_topic(app_id) in missing else []
    makes = "robot-orchestrator topics create makes them"
    if others:
        makes = (
            f"set {variable_of('app_id')} to the application that works on these topics; if there is to be one more, "
            "which calls all that they hold again, robot-orchestrator topics create --beside-others makes them"
        )
    lines = [f"missing topics: {', '.join(missing)} ({makes})", *others]
    if Topic.SUBMITTED not in topics and (prefixes := other_prefixes(topics)):
        there = " and ".join(f"with {prefix} before them" if prefix else "without a prefix" for prefix in prefixes)
        here = f"is {TOPIC_PREFIX}" if TOPIC_PREFIX else "is not set"
        lines.append(
            f"such topics are there {there}, and {TOPIC_PREFIX_VARIABLE} {here} here: all programs and commands of an "
            "environment need the same one"
        )
    return MissingTopicsError(*lines)


def _other_applications(topics: Iterable[str], app_id: str) -> Iterator[str]:
    """Yield a line if there are job tables of other applications among the topics that this user may see."""
    others = other_changelogs(topics, app_id)
    if others:
        more = f" and {len(others) - _OTHERS_SHOWN} more" if len(others) > _OTHERS_SHOWN else ""
        yield (
            f"{', '.join(others[:_OTHERS_SHOWN])}{more}: job tables of other applications than {app_id} "
            f"({variable_of('app_id')}). Each application calls every submission that {Topic.SUBMITTED} holds, also "
            "those that another one has called"
        )


async def first_start_warning(reader: LogReader, app_id: str) -> str | None:
    """Return a line if an application that has never run finds submissions; None if its job table was ever opened.

    Needs no rights but a worker's, unlike a look at the other applications' topics. None also if the log gives no clear
    answer in a few seconds: a worker must not stand still for a warning.
    """
    try:
        async with asyncio.timeout(FIRST_LOOK_SECONDS):
            opened = await until_readable(partial(reader.end_offsets, changelog_topic(app_id)))
            committed = await until_readable(partial(reader.committed_offsets, Topic.SUBMITTED))
            ends = await until_readable(partial(reader.end_offsets, Topic.SUBMITTED))
    except TimeoutError:
        return None
    # Transactions' markers are counted as well.
    unread = sum(end - committed[number] for number, end in ends.items())
    if any(opened.values()) or not unread:
        return None
    return (
        f"{app_id} ({variable_of('app_id')}) has never run here: it calls all that {Topic.SUBMITTED} holds (up to "
        f"{unread} submissions), also what another application has called"
    )


def _resource(topic: str) -> str:
    return f"topic {topic}"


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """Return each topic's configuration."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _type, name, entries in response.resources:
            if code:
                raise for_code(code)(f"{name}: {message}")
            configs[name] = {entry[0]: entry[1] or "" for entry in entries}
    return configs


def describe(report: TopicsReport, settings: KafkaSettings) -> list[tuple[str, Any, Any]]:
    """Return (topic, partitions, largest record in bytes) rows for people."""
    return [(spec.name, report.partitions, report.max_bytes[spec.name]) for spec in topic_specs(settings)]
