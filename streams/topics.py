"""The topics on the cluster: how they are created, and what a worker insists on before it starts."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidReplicationFactorError, TopicAlreadyExistsError, for_code

from streams.intake import COMPLETION_MAX_BYTES, SUBMISSION_MAX_BYTES
from streams.kafka_log import MAX_BATCH_BYTES
from streams.names import Topic, changelog_topic
from streams.settings import Settings

_WEEK_MS = 604_800_000
# A submission with its headers, and a dead letter, which adds headers to what it copies.
_SUBMISSION_BYTES = SUBMISSION_MAX_BYTES + 1_000_000
_LETTER_BYTES = _SUBMISSION_BYTES + 1_000_000
# The broker's default, for a topic whose configuration we may not read.
DEFAULT_MAX_BYTES = 1_048_588
_MIN_IN_SYNC_AT = 3
CREATED_POLL_SECONDS = 0.1
# The topics, or something else around the program, are not as it needs them.
CONFIG_EXIT_CODE = 78  # sysexits.h: EX_CONFIG


class TopicsError(Exception):
    """The topics are not as the program needs them; the text is one line that says which has what."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic and the settings it is created with."""

    name: str
    config: Mapping[str, str] = field(default_factory=dict)


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Return every topic of an application, with its configuration."""
    # Past half the table's memory a submission is never called: its credentials need not lie there longer.
    secret = {"retention.ms": str(int(settings.retention_seconds * 500))}
    week = {"retention.ms": str(_WEEK_MS)}
    return [
        TopicSpec(Topic.SUBMITTED, secret | {"max.message.bytes": str(_SUBMISSION_BYTES)}),
        TopicSpec(Topic.BATCH_COMPLETED, week),
        TopicSpec(Topic.COMPLETED, week),
        TopicSpec(Topic.FAILED, week),
        TopicSpec(Topic.DLQ_SUBMITTED, secret | {"max.message.bytes": str(_LETTER_BYTES)}),
        TopicSpec(Topic.DLQ_BATCH_COMPLETED, week | {"max.message.bytes": str(COMPLETION_MAX_BYTES + 2_000_000)}),
        # The broker's clock in the rows is what a worker's clock is compared with.
        TopicSpec(
            changelog_topic(settings.app_id),
            {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"},
        ),
    ]


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """What was found: the one partition count, and the largest record (bytes) that each topic takes."""

    partitions: int
    max_bytes: Mapping[str, int]


async def create_topics(settings: Settings, partitions: int, replication_factor: int) -> list[str]:
    """Create the topics that are missing; return their names.

    Raises TopicsError if there are too few brokers, a KafkaError if the broker refuses otherwise.
    """
    admin = AIOKafkaAdminClient(**settings.kafka_client_options())
    await admin.start()
    try:
        created = []
        existing = await _counts(admin)
        ours = {existing[spec.name] for spec in topic_specs(settings) if spec.name in existing}
        if len(ours) == 1:
            # What is there decides: all topics need one partition count.
            partitions = ours.pop()
        for spec in topic_specs(settings):
            if spec.name in existing:
                continue
            config = dict(spec.config)
            if replication_factor >= _MIN_IN_SYNC_AT:
                config["min.insync.replicas"] = str(replication_factor - 1)
            topic = NewTopic(spec.name, partitions, replication_factor, topic_configs=config)
            response = await admin.create_topics([topic])
            for _, code, *message in response.topic_errors:
                error = for_code(code)
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
            missing -= {name for name, count in (await _counts(admin)).items() if count}
            await asyncio.sleep(CREATED_POLL_SECONDS)
        return created
    finally:
        await admin.close()


async def check_topics(settings: Settings) -> TopicsReport:
    """Return what the cluster has. Raises TopicsError if a topic is missing or the counts differ."""
    names = [spec.name for spec in topic_specs(settings)]
    admin = AIOKafkaAdminClient(**settings.kafka_client_options())
    await admin.start()
    try:
        found = await _counts(admin)
        counts = {name: found[name] for name in names if name in found}
        missing = [name for name in names if not counts.get(name)]
        if missing:
            raise TopicsError(f"missing topics: {', '.join(missing)} (robot-orchestrator topics create makes them)")
        if len(set(counts.values())) > 1:
            different = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise TopicsError(f"all topics need one partition count: {different}")
        configs = await _configs(admin, names)
    finally:
        await admin.close()
    changelog = names[-1]
    if "delete" in configs[changelog].get("cleanup.policy", ""):
        raise TopicsError(f"{changelog} must have cleanup.policy=compact only, or rows of waiting jobs are deleted")
    sizes = {name: int(configs[name].get("max.message.bytes", DEFAULT_MAX_BYTES)) for name in names}
    for name, size in sizes.items():
        if size < MAX_BATCH_BYTES:
            raise TopicsError(f"{name} takes batches of {size} bytes: its max.message.bytes must be {MAX_BATCH_BYTES}")
    return TopicsReport(partitions=counts[changelog], max_bytes=sizes)


async def _counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Return the partition count of every topic of the cluster.

    All are asked for: asking for one by name would create it where brokers do that by themselves.
    """
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """Return each topic's configuration, empty where we may not read it."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {name: {} for name in names}
    for response in await admin.describe_configs(resources):
        for code, _message, _type, name, entries in response.resources:
            if code == 0:
                configs[name] = {entry[0]: entry[1] or "" for entry in entries}
    return configs


def describe(report: TopicsReport, settings: Settings) -> list[tuple[str, Any, Any]]:
    """Return (topic, partitions, largest record in bytes) rows for people."""
    return [(spec.name, report.partitions, report.max_bytes[spec.name]) for spec in topic_specs(settings)]
