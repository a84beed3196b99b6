"""The topics on the cluster: how they are created, and what a worker insists on before it starts."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidReplicationFactorError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from streams.intake import COMPLETION_MAX_BYTES, SUBMISSION_MAX_BYTES
from streams.kafka_access import AccessError, DescribedTopic, Operation, check_group, describe_topics
from streams.kafka_admin import admin_client
from streams.kafka_log import MAX_BATCH_BYTES
from streams.names import Topic, changelog_topic
from streams.settings import Settings

_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS
# A submission with its headers, and a dead letter, which adds headers to what it copies.
_SUBMISSION_BYTES = SUBMISSION_MAX_BYTES + 1_000_000
_LETTER_BYTES = _SUBMISSION_BYTES + 1_000_000
_MIN_IN_SYNC_AT = 3
CREATED_POLL_SECONDS = 0.1
# The topics, or something else around the program, are not as it needs them.
CONFIG_EXIT_CODE = 78  # sysexits.h: EX_CONFIG


class TopicsError(Exception):
    """The topics are not as the program needs them; the text is one line that says which has what."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic, the settings it is created with, and what a worker does with its records."""

    name: str
    config: Mapping[str, str]
    worker: tuple[Operation, ...]


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Return every topic of an application, with its configuration."""
    # Past half the table's memory a submission is never called: its credentials need not lie there longer.
    secret_ms = int(settings.retention_seconds * 500)
    # Kafka deletes whole segments: one of the default week would keep them a week longer.
    secret = {"retention.ms": str(secret_ms), "segment.ms": str(min(secret_ms // 4, _DAY_MS))}
    week = {"retention.ms": str(_WEEK_MS)}
    # The sources are written to as well: a misplaced record is forwarded.
    both, write = (Operation.READ, Operation.WRITE), (Operation.WRITE,)
    return [
        # A forwarded record keeps its producer's timestamp, from which its age is told.
        TopicSpec(
            Topic.SUBMITTED,
            secret | {"max.message.bytes": str(_SUBMISSION_BYTES), "message.timestamp.type": "CreateTime"},
            both,
        ),
        TopicSpec(Topic.BATCH_COMPLETED, week, both),
        TopicSpec(Topic.COMPLETED, week, write),
        TopicSpec(Topic.FAILED, week, write),
        TopicSpec(Topic.DLQ_SUBMITTED, secret | {"max.message.bytes": str(_LETTER_BYTES)}, write),
        TopicSpec(
            Topic.DLQ_BATCH_COMPLETED, week | {"max.message.bytes": str(COMPLETION_MAX_BYTES + 2_000_000)}, write
        ),
        # The broker's clock in the rows is what a worker's clock is compared with.
        TopicSpec(
            changelog_topic(settings.app_id),
            {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"},
            both,
        ),
    ]


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """What was found: the one partition count, and the largest record (bytes) that each topic takes."""

    partitions: int
    max_bytes: Mapping[str, int]


async def create_topics(settings: Settings, partitions: int, replication_factor: int) -> list[str]:
    """Create the topics that are missing; return their names.

    Raises AccessError if this user may not, TopicsError if there are too few brokers, and a KafkaError if the broker
    refuses for another reason.
    """
    async with admin_client(**settings.kafka_client_options()) as admin:
        created = []
        specs = topic_specs(settings)
        names = [spec.name for spec in specs]
        existing = await describe_topics(admin, names)
        _check_access(dict.fromkeys(names, (Operation.DESCRIBE,)), existing)
        counts = {topic.partitions for topic in existing.values()}
        if len(counts) == 1:
            # What is there decides: all topics need one partition count.
            partitions = counts.pop()
        for spec in specs:
            if spec.name in existing:
                continue
            config = dict(spec.config)
            if replication_factor >= _MIN_IN_SYNC_AT:
                config["min.insync.replicas"] = str(replication_factor - 1)
            topic = NewTopic(spec.name, partitions, replication_factor, topic_configs=config)
            response = await admin.create_topics([topic])
            for _, code, *message in response.topic_errors:
                error = for_code(code)
                if error is TopicAuthorizationFailedError:
                    raise AccessError((Operation.CREATE, _resource(spec.name)))
                if error is InvalidReplicationFactorError:
                    brokers = len((await admin.describe_cluster())["brokers"])
                    raise TopicsError(
                        f"{spec.name}: a replication factor of {replication_factor} needs as many brokers, "
                        f"and the cluster has {brokers} (topics create --replication-factor {brokers})"
                    )
                if error.errno and error is not TopicAlreadyExistsError:
                    raise error(f"{spec.name}: {' '.join(filter(None, message))}")
            created.append(spec.name)
        # The broker answers before every part of it knows: a worker started now would miss them.
        missing = set(created)
        while missing:
            missing -= {name for name, topic in (await describe_topics(admin, names)).items() if topic.partitions}
            await asyncio.sleep(CREATED_POLL_SECONDS)
        return created


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


async def check_topics(settings: Settings, *, worker: bool = False) -> TopicsReport:
    """Return what the cluster has; for a worker, check also that this user may do all that a worker does.

    Raises TopicsError if a topic is missing or the counts differ, AccessError if an ACL is missing.
    """
    specs = topic_specs(settings)
    names = [spec.name for spec in specs]
    async with admin_client(**settings.kafka_client_options()) as admin:
        found = await describe_topics(admin, names)
        _check_access({spec.name: spec.worker if worker else (Operation.DESCRIBE,) for spec in specs}, found)
        counts = {name: topic.partitions for name, topic in found.items()}
        missing = [name for name in names if not counts.get(name)]
        if missing:
            raise TopicsError(f"missing topics: {', '.join(missing)} (robot-orchestrator topics create makes them)")
        if len(set(counts.values())) > 1:
            different = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise TopicsError(f"all topics need one partition count: {different}")
        _check_access(dict.fromkeys(names, (Operation.DESCRIBE_CONFIGS,)), found)
        if worker:
            await check_group(admin, settings.app_id)
        configs = await _configs(admin, names)
    changelog = names[-1]
    if "delete" in configs[changelog].get("cleanup.policy", ""):
        raise TopicsError(f"{changelog} must have cleanup.policy=compact only, or rows of waiting jobs are deleted")
    if configs[changelog]["message.timestamp.type"] != "LogAppendTime":
        raise TopicsError(
            f"{changelog} must have message.timestamp.type=LogAppendTime: workers compare their clocks with it"
        )
    if configs[Topic.SUBMITTED]["message.timestamp.type"] != "CreateTime":
        raise TopicsError(
            f"{Topic.SUBMITTED} must have message.timestamp.type=CreateTime, or old submissions that are forwarded "
            "look new and are called"
        )
    sizes = {name: int(configs[name]["max.message.bytes"]) for name in names}
    for name, size in sizes.items():
        if size < MAX_BATCH_BYTES:
            raise TopicsError(
                f"{name} takes batches of {size} bytes: its max.message.bytes must be at least {MAX_BATCH_BYTES}"
            )
    return TopicsReport(partitions=counts[changelog], max_bytes=sizes)


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


def describe(report: TopicsReport, settings: Settings) -> list[tuple[str, Any, Any]]:
    """Return (topic, partitions, largest record in bytes) rows for people."""
    return [(spec.name, report.partitions, report.max_bytes[spec.name]) for spec in topic_specs(settings)]
