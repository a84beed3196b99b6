"""Topics that need a broker of their own: what is created on it, what is refused, and a broker that stands still."""

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from typer.testing import CliRunner

from streams.cli import cli
from streams.core.job import JobKey
from streams.dev.demo_jobs import example_submission
from streams.dev.kafka import EmbeddedKafka
from streams.kafka import topics
from streams.kafka.admin import admin_client
from streams.kafka.topic_rules import MAX_AGE, NO_LIMIT
from streams.kafka.topics import MissingTopicsError, TopicsError, check_topics, create_topics, topic_specs
from streams.names import Topic, changelog_topic
from streams.operate import submit
from streams.operate.submit import SubmitError, Submitter, parse_submission
from tests.support.settings import settings_of
from tests.support.worker import freeze

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run a broker whose own defaults are those that topics must not have."""
    config = {
        "log.cleaner.max.compaction.lag.ms": "604800000",
        "log.cleaner.min.compaction.lag.ms": "86400000",
        "log.cleanup.policy": "compact",
        "log.message.timestamp.before.max.ms": "3600000",
        "log.message.timestamp.type": "LogAppendTime",
        "log.retention.bytes": "1073741824",
        "log.retention.ms": "86400000",
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "true",
    }
    with EmbeddedKafka(tmp_path_factory.mktemp("topics"), config=config) as broker:
        yield broker


async def configs_of(bootstrap_servers: str, topic: str) -> dict[str, str]:
    async with admin_client(bootstrap_servers=bootstrap_servers) as admin:
        (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        ((_, _, _, _, entries),) = response.resources
        return {entry[0]: entry[1] for entry in entries}


async def configure(bootstrap_servers: str, topic: str, config: dict[str, str]) -> None:
    """Give a topic this configuration, and the broker's defaults for the rest."""
    async with admin_client(bootstrap_servers=bootstrap_servers) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])


async def delete(bootstrap_servers: str, topic: str) -> None:
    async with admin_client(bootstrap_servers=bootstrap_servers) as admin:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():
            await asyncio.sleep(0.05)


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
    for topic in {*Topic} - {Topic.SUBMITTED, Topic.CONTROL}:
        assert (await configs_of(broker.bootstrap_servers, topic))["message.timestamp.type"] == "LogAppendTime"
    await configure(broker.bootstrap_servers, Topic.SUBMITTED, submitted | {"message.timestamp.type": "LogAppendTime"})
    with pytest.raises(TopicsError) as refused:
        await check_topics(settings)
    assert str(refused.value).startswith(
        "robot.job.submitted: message.timestamp.type is LogAppendTime, must be CreateTime: old submissions that are "
    )
    assert "\n" not in str(refused.value)
    await configure(broker.bootstrap_servers, Topic.SUBMITTED, submitted)
    await check_topics(settings)


async def test_no_job_table_is_made_beside_another_one_unless_that_is_meant(broker: EmbeddedKafka) -> None:
    """A second application calls every submission again; a misspelt application id is one."""
    await create_topics(settings_of(broker.bootstrap_servers), 2, 1)
    misspelt = settings_of(broker.bootstrap_servers, ROBOT_ORCHESTRATOR_APP_ID="robot-orchestartor")
    with pytest.raises(TopicsError, match=r"^robot-orchestrator-jobs-changelog: .*topics create --beside-others"):
        await create_topics(misspelt, 2, 1, beside_others=False)
    with pytest.raises(TopicsError, match=r"^missing topics: robot-orchestartor-jobs-changelog .*; robot-orch.*: job "):
        await check_topics(misspelt)
    # With a table of its own it only makes what is missing.
    await create_topics(misspelt, 2, 1)
    await delete(broker.bootstrap_servers, Topic.FAILED)
    assert (await create_topics(misspelt, 2, 1, beside_others=False)).names == [Topic.FAILED]
    await delete(broker.bootstrap_servers, "robot-orchestartor-jobs-changelog")


async def test_topics_that_are_there_under_another_prefix_are_named(broker: EmbeddedKafka) -> None:
    """Who has set it in one place only is told so, and not to make the topics once more."""
    settings = settings_of(broker.bootstrap_servers)
    await create_topics(settings, 2, 1)
    async with admin_client(bootstrap_servers=broker.bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(f"staging.{Topic.SUBMITTED}", 2, 1)])
    assert await check_topics(settings)
    await delete(broker.bootstrap_servers, Topic.SUBMITTED)
    with pytest.raises(MissingTopicsError) as raised:
        await check_topics(settings)
    missing, hint = raised.value.problems
    assert missing.startswith(f"missing topics: {Topic.SUBMITTED} (robot-orchestrator topics create")
    assert hint.startswith(
        "such topics are there with staging. before them, and ROBOT_ORCHESTRATOR_TOPIC_PREFIX is not"
    )
    await delete(broker.bootstrap_servers, f"staging.{Topic.SUBMITTED}")
    await create_topics(settings, 2, 1)


def test_who_asks_for_another_count_of_partitions_is_told_which_there_is(
    broker: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    run = partial(CliRunner().invoke, cli)
    assert run(["topics", "create", "--partitions", "2", "--replication-factor", "1"]).exit_code == 0
    for more in ([], ["--partitions", "2"]):
        silent = run(["topics", "create", *more])
        assert (silent.exit_code, silent.stdout, silent.stderr) == (0, "all topics are there\n", "")
    warned = run(["topics", "create", "--partitions", "12"])
    assert (warned.exit_code, warned.stdout) == (0, "all topics are there\n")
    assert warned.stderr.endswith("warning: all topics have 2 partitions, as those had that were there\n")


def test_a_dry_run_prints_what_makes_the_topics_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "nowhere:9092")
    printed = CliRunner().invoke(cli, ["topics", "create", "--dry-run", "--partitions", "12"])
    assert printed.exit_code == 0
    lines = printed.stdout.splitlines()
    specs = topic_specs(settings_of("nowhere:9092"))
    for spec, line in zip(specs, lines, strict=True):
        tool, *options = line.split()
        assert tool == "kafka-topics.sh"
        configs = dict(value.split("=") for name, value in pairwise(options) if name == "--config")
        assert configs == {**spec.config, "min.insync.replicas": "2"}
        pairs = list(pairwise(options))
        for pair in (("--topic", spec.name), ("--partitions", "12"), ("--replication-factor", "3")):
            assert pair in pairs


def test_a_dry_run_prints_commands_that_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka-1:9092, kafka-2:9092")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    run = partial(CliRunner().invoke, cli)
    for line in run(["topics", "create", "--dry-run"]).stdout.splitlines():
        assert line.split()[1:6] == [
            *("--bootstrap-server", "kafka-1:9092,kafka-2:9092", "--command-config", "client.properties", "--create")
        ]
    refused = run(["topics", "create", "--dry-run", "--replication-factor", "2"])
    assert (refused.exit_code, refused.stdout) == (78, "")
    assert "a replication factor of 2 is no use" in refused.stderr


async def test_topics_with_different_counts_are_not_added_to(broker: EmbeddedKafka) -> None:
    settings = settings_of(broker.bootstrap_servers)
    await create_topics(settings, 2, 1)
    await delete(broker.bootstrap_servers, Topic.FAILED)
    async with admin_client(bootstrap_servers=broker.bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(Topic.FAILED, 3, 1)])
    with pytest.raises(TopicsError, match=f"^all topics need one partition count: .*{Topic.FAILED} has 3"):
        await create_topics(settings, 2, 1)
    await delete(broker.bootstrap_servers, Topic.FAILED)
    await create_topics(settings, 2, 1)


async def test_what_a_worker_insists_on_is_not_left_to_the_brokers_defaults(broker: EmbeddedKafka) -> None:
    settings = settings_of(broker.bootstrap_servers)
    await create_topics(settings, 2, 1)
    assert (await check_topics(settings)).warnings == ()
    for spec in topic_specs(settings):
        # With one replica there is nothing to check.
        assert (await configs_of(broker.bootstrap_servers, spec.name))["unclean.leader.election.enable"] == "false"


async def test_an_older_broker_is_told_by_the_setting_that_it_knows_that_a_record_may_be_of_any_age(
    broker: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(broker.bootstrap_servers)
    await create_topics(settings, 2, 1)
    await delete(broker.bootstrap_servers, Topic.SUBMITTED)
    # To this broker the setting of brokers to come is what today's is to an older one.
    monkeypatch.setattr(topics, "MAX_DIFFERENCE", MAX_AGE)
    monkeypatch.setattr(topics, "MAX_AGE", "message.timestamp.age.max.ms")
    assert (await create_topics(settings, 2, 1)).names == [Topic.SUBMITTED]
    submitted = await configs_of(broker.bootstrap_servers, Topic.SUBMITTED)
    assert submitted["message.timestamp.before.max.ms"] == NO_LIMIT
    assert submitted["message.timestamp.type"] == "CreateTime"


async def test_all_that_is_wrong_is_told_at_once_and_gone_when_that_is_done_which_is_said(
    broker: EmbeddedKafka,
) -> None:
    settings = settings_of(broker.bootstrap_servers)
    await create_topics(settings, 2, 1)
    changelog = changelog_topic(settings.app_id)
    now: dict[str, dict[str, str]] = {
        Topic.SUBMITTED: {"message.timestamp.type": "CreateTime"},
        Topic.FAILED: {},
        changelog: {},
    }
    before = {name: await configs_of(broker.bootstrap_servers, name) for name in now}
    for name, config in now.items():
        await configure(broker.bootstrap_servers, name, config)
    with pytest.raises(TopicsError) as refused:
        await check_topics(settings)
    assert [re.sub(r", (\w+) be .*", r" (\1)", problem) for problem in refused.value.problems] == [
        "robot.job.submitted: min.insync.replicas is 2 (must)",
        "robot.job.submitted: cleanup.policy is compact (must)",
        "robot.job.submitted: message.timestamp.before.max.ms is 3600000 (must)",
        "robot.job.failed: min.insync.replicas is 2 (must)",
        "robot.job.failed: cleanup.policy is compact (must)",
        f"{changelog}: min.insync.replicas is 2 (must)",
        "robot.job.submitted: segment.ms is 604800000 (should)",
        "robot.job.submitted: retention.ms is 86400000 (should)",
        "robot.job.submitted: retention.bytes is 1073741824 (should)",
        "robot.job.failed: retention.ms is 86400000 (should)",
        "robot.job.failed: retention.bytes is 1073741824 (should)",
        f"{changelog}: min.compaction.lag.ms is 86400000 (should)",
        f"{changelog}: max.compaction.lag.ms is 604800000 (should)",
    ]
    for problem in refused.value.problems:
        ((name, setting, value),) = re.findall(r"--entity-name (\S+) --add-config (\S+)=(\S+)\)$", problem)
        now[name][setting] = value
        await configure(broker.bootstrap_servers, name, now[name])
    assert (await check_topics(settings)).warnings == ()
    for name, config in before.items():
        await configure(broker.bootstrap_servers, name, config)


async def test_two_replicas_are_refused_before_anything_is_created() -> None:
    with pytest.raises(TopicsError, match=r"a replication factor of 2 is no use: .* --replication-factor 3, or 1"):
        await create_topics(settings_of("nowhere:9092"), 2, 2)


async def test_the_job_table_of_another_application_is_warned_of(broker: EmbeddedKafka) -> None:
    settings = settings_of(broker.bootstrap_servers)
    await create_topics(settings, 2, 1)
    names = [f"other-{number}" for number in range(4)]
    for name in names:
        await create_topics(settings_of(broker.bootstrap_servers, ROBOT_ORCHESTRATOR_APP_ID=name), 2, 1)
    (warning,) = (await check_topics(settings)).warnings
    for name in names:
        await delete(broker.bootstrap_servers, changelog_topic(name))
    assert warning.startswith(
        "other-0-jobs-changelog, other-1-jobs-changelog, other-2-jobs-changelog and 1 more: job tables of other "
        "applications than robot-orchestrator (ROBOT_ORCHESTRATOR_APP_ID). "
    )
    assert (await check_topics(settings)).warnings == ()


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
