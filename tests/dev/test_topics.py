"""Topics that need a broker of their own: what is created on it, what is refused, and a broker that stands still."""

import os
import signal
from collections.abc import Iterator

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams import submit
from streams.core.job import JobKey
from streams.dev.demo_jobs import example_submission
from streams.dev.kafka import EmbeddedKafka
from streams.kafka_admin import admin_client
from streams.names import Topic
from streams.settings import Settings
from streams.submit import SubmitError, Submitter, parse_submission
from streams.topics import TopicsError, check_topics, create_topics, topic_specs
from tests.support.worker import freeze

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run a broker whose own default is the one that submissions must not have."""
    config = {"log.message.timestamp.type": "LogAppendTime"}
    with EmbeddedKafka(tmp_path_factory.mktemp("topics"), config=config) as broker:
        yield broker


def settings_of(bootstrap_servers: str, **changes: str) -> Settings:
    values = {
        "ROBOT_COORDINADORA_URL": "http://robot",
        "ROBOT_CALLBACK_SECRET": "s",
        "NEXT_PUBLIC_APP_URL": "http://app",
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
    }
    return Settings(**values | changes)  # type: ignore[arg-type] # fields come by their variables' names


async def configs_of(bootstrap_servers: str, topic: str) -> dict[str, str]:
    async with admin_client(bootstrap_servers=bootstrap_servers) as admin:
        (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        ((_, _, _, _, entries),) = response.resources
        return {entry[0]: entry[1] for entry in entries}


@pytest.mark.parametrize(
    ("retention_seconds", "retention_ms", "segment_ms"),
    [("7200", HOUR_MS, HOUR_MS // 4), ("604800", 7 * DAY_MS // 2, 7 * DAY_MS // 8), ("6048000", 35 * DAY_MS, DAY_MS)],
)
def test_credentials_outlive_their_retention_by_a_short_segment_only(
    retention_seconds: str, retention_ms: int, segment_ms: int
) -> None:
    settings = settings_of("nowhere:9092", ROBOT_ORCHESTRATOR_RETENTION_SECONDS=retention_seconds)
    configs = {spec.name: spec.config for spec in topic_specs(settings)}
    for topic in (Topic.SUBMITTED, Topic.DLQ_SUBMITTED):
        assert configs[topic]["retention.ms"] == str(retention_ms)
        assert configs[topic]["segment.ms"] == str(segment_ms)


async def test_submissions_must_keep_their_producers_timestamp(broker: EmbeddedKafka) -> None:
    settings = settings_of(broker.bootstrap_servers)
    await create_topics(settings, 2, 1)
    assert (await check_topics(settings)).partitions == 2
    submitted = await configs_of(broker.bootstrap_servers, Topic.SUBMITTED)
    assert (submitted["message.timestamp.type"], submitted["segment.ms"]) == ("CreateTime", str(7 * DAY_MS // 8))
    # Of the others nobody tells an age.
    for topic in {*Topic} - {Topic.SUBMITTED}:
        assert (await configs_of(broker.bootstrap_servers, topic))["message.timestamp.type"] == "LogAppendTime"
    async with admin_client(bootstrap_servers=broker.bootstrap_servers) as admin:
        for kind in ("LogAppendTime", "CreateTime"):
            change = {"message.timestamp.type": kind}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, Topic.SUBMITTED, change)])
            if kind == "LogAppendTime":
                with pytest.raises(TopicsError) as refused:
                    await check_topics(settings)
                assert str(refused.value).startswith(
                    "robot.job.submitted must have message.timestamp.type=CreateTime, or "
                )
                assert "\n" not in str(refused.value)
        await check_topics(settings)


async def test_a_submission_without_an_answer_may_be_there_and_is_to_be_sent_again(
    broker: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "REQUEST_TIMEOUT_MS", 1000)
    settings = settings_of(broker.bootstrap_servers)
    await create_topics(settings, 2, 1)
    submission = parse_submission(example_submission(JobKey("w", "j"), 1))
    async with Submitter(settings) as submitter:
        await submitter.submit(submission)
        freeze(broker.pid)
        try:
            with pytest.raises(SubmitError) as unanswered:
                await submitter.submit(submission)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        text = str(unanswered.value)
        assert text.startswith("robot.job.submitted may or may not have taken job j (")
        assert text.endswith("): submit the very same job (same ids) again, which is harmless")
        assert "\n" not in text
        await submitter.submit(submission)
