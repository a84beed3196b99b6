"""What is wrong with a topic, and how it is said."""

from collections.abc import Mapping

import pytest

from streams.kafka.topic_rules import NO_LIMIT, Fault, FoundTopic, faults
from streams.kafka.topics import topic_specs
from streams.names import OUTCOME_TOPICS, SOURCE_TOPICS, Topic, changelog_topic
from tests.support.settings import settings_of

SPECS = {spec.name: spec.config for spec in topic_specs(settings_of("nowhere:9092"))}
CHANGELOG = changelog_topic("robot-orchestrator")
# What a broker says of a topic of its own making that has three replicas.
DEFAULTS = {
    "cleanup.policy": "delete",
    "max.compaction.lag.ms": NO_LIMIT,
    "max.message.bytes": "1048588",
    "message.timestamp.after.max.ms": "3600000",
    "message.timestamp.before.max.ms": NO_LIMIT,
    "message.timestamp.type": "CreateTime",
    "min.compaction.lag.ms": "0",
    "min.insync.replicas": "2",
    "retention.bytes": "-1",
    "retention.ms": "604800000",
    "segment.ms": "604800000",
    "unclean.leader.election.enable": "false",
}
ONE_COPY = {"min.insync.replicas": "1"}
SECRET = (Topic.SUBMITTED, Topic.DLQ_SUBMITTED)
HALF_THE_TABLE_MS = 302_400_000
FIVE_YEARS_MS = 5 * 365 * 86_400_000


def found(
    name: str, changes: Mapping[str, str] | None = None, replicas: tuple[int, ...] = (3, 3), brokers: int = 3
) -> list[Fault]:
    """Return the faults of a topic that was created as it should be and then changed."""
    config = {**DEFAULTS, **SPECS[name], **(changes or {})}
    return list(faults(FoundTopic(name, replicas, config), SPECS[name], brokers))


def told(
    name: str, changes: Mapping[str, str] | None = None, replicas: tuple[int, ...] = (3, 3), brokers: int = 3
) -> list[tuple[str, ...]]:
    """Return them as setting, value, what it must be, and whether no worker starts with it."""
    return [
        (fault.setting, fault.value, fault.wanted, "refused" if fault.fatal else "warned")
        for fault in found(name, changes, replicas, brokers)
    ]


@pytest.mark.parametrize("name", SPECS)
def test_a_topic_as_it_is_created_has_no_fault(name: str) -> None:
    assert found(name) == []
    assert found(name, ONE_COPY, (1, 1), brokers=1) == []


@pytest.mark.parametrize("name", SPECS)
def test_a_broker_that_does_not_know_a_setting_breaks_nothing_by_it(name: str) -> None:
    known = {setting: DEFAULTS[setting] for setting in ("max.message.bytes", "message.timestamp.type")}
    known |= {setting: value for setting, value in SPECS[name].items() if setting in known}
    assert list(faults(FoundTopic(name, (3, 3), known), SPECS[name], 3)) == []


@pytest.mark.parametrize(
    ("replicas", "in_sync", "expected"),
    [
        ((1,), "1", [("replicas", "1", "3", "warned")]),
        ((1,), "2", [("replicas", "1", "3", "warned"), ("min.insync.replicas", "2", "1", "refused")]),
        ((3, 2), "1", [("replicas", "2", "3", "warned"), ("min.insync.replicas", "1", "2", "refused")]),
        ((2, 2), "1", [("replicas", "2", "3", "warned")]),
        ((2, 2), "2", [("replicas", "2", "3", "warned")]),
        ((3, 3), "1", [("min.insync.replicas", "1", "2", "refused")]),
        ((3, 3), "3", [("min.insync.replicas", "3", "2", "warned")]),
        ((3, 3), "4", [("min.insync.replicas", "4", "2", "refused")]),
        ((4, 4), "2", []),
        ((5, 5), "2", [("min.insync.replicas", "2", "4", "refused")]),
        ((5, 5), "3", []),
    ],
)
def test_a_topic_must_outlive_a_broker(
    replicas: tuple[int, ...], in_sync: str, expected: list[tuple[str, ...]]
) -> None:
    for name in SPECS:
        assert told(name, {"min.insync.replicas": in_sync}, replicas, brokers=5) == expected


@pytest.mark.parametrize("name", SPECS)
def test_no_replica_may_lead_that_lacks_committed_records(name: str) -> None:
    unclean = {"unclean.leader.election.enable": "true"}
    assert told(name, unclean) == [("unclean.leader.election.enable", "true", "false", "refused")]
    # There is no other that could.
    assert told(name, unclean | ONE_COPY, (1,), brokers=1) == []


@pytest.mark.parametrize("name", SPECS)
def test_only_the_changelog_is_compacted(name: str) -> None:
    wanted, other = ("compact", "delete") if name == CHANGELOG else ("delete", "compact")
    for policy in (other, "compact,delete"):
        assert told(name, {"cleanup.policy": policy}) == [("cleanup.policy", policy, wanted, "refused")]
    # Newer brokers know also a topic that keeps everything, which breaks no promise.
    assert not [fault for fault in found(name, {"cleanup.policy": ""}) if fault.fatal]


@pytest.mark.parametrize("setting", ["message.timestamp.before.max.ms", "message.timestamp.difference.max.ms"])
@pytest.mark.parametrize("name", SPECS)
def test_a_source_takes_a_record_of_any_age_that_has_its_producers_time(name: str, setting: str) -> None:
    expected = [(setting, "86400000", NO_LIMIT, "refused")]
    # Outcomes, letters and rows have the time of their writing.
    assert told(name, {setting: "86400000"}) == (expected if name in SOURCE_TOPICS else [])
    if name == Topic.BATCH_COMPLETED:
        assert told(name, {setting: "86400000", "message.timestamp.type": "LogAppendTime"}) == []


def test_times_are_the_producers_for_submissions_and_controls_and_the_brokers_for_rows() -> None:
    for name in (Topic.SUBMITTED, Topic.CONTROL):
        given = told(name, {"message.timestamp.type": "LogAppendTime"})
        assert given == [("message.timestamp.type", "LogAppendTime", "CreateTime", "refused")]
    rows = told(CHANGELOG, {"message.timestamp.type": "CreateTime"})
    assert rows == [("message.timestamp.type", "CreateTime", "LogAppendTime", "refused")]


@pytest.mark.parametrize(
    ("setting", "value", "wanted"),
    [
        ("max.compaction.lag.ms", NO_LIMIT, "21600000"),
        ("min.compaction.lag.ms", "86400000", "0"),
    ],
)
def test_a_changelog_that_compacts_late_is_warned_of(setting: str, value: str, wanted: str) -> None:
    assert told(CHANGELOG, {setting: value}) == [(setting, value, wanted, "warned")]
    # The longest wait ends a segment too. Sooner costs the broker something, and is its administrator's choice.
    assert told(CHANGELOG, {"segment.ms": "604800000", "max.compaction.lag.ms": "60000"}) == []
    assert told(Topic.COMPLETED, {setting: value}) == []


def test_a_longest_wait_for_compaction_is_said_after_the_shortest_one_which_no_broker_lets_exceed_it() -> None:
    late = {"min.compaction.lag.ms": "86400000", "max.compaction.lag.ms": NO_LIMIT}
    assert [fault.setting for fault in found(CHANGELOG, late)] == ["min.compaction.lag.ms", "max.compaction.lag.ms"]


@pytest.mark.parametrize("name", SPECS)
def test_credentials_that_lie_for_longer_than_they_are_of_use_are_warned_of(name: str) -> None:
    for setting, kept, wanted in (
        ("retention.ms", "604800000", str(HALF_THE_TABLE_MS)),
        ("retention.ms", "-1", str(HALF_THE_TABLE_MS)),
        ("segment.ms", "604800000", str(HALF_THE_TABLE_MS // 4)),
        # Kafka has it for a topic of which nothing is deleted.
        ("cleanup.policy", "", "delete"),
    ):
        if name not in (CHANGELOG, Topic.CONTROL):
            assert told(name, {setting: kept}) == ([(setting, kept, wanted, "warned")] if name in SECRET else [])


@pytest.mark.parametrize("name", SPECS)
def test_what_is_deleted_before_everybody_may_have_read_it_is_warned_of(name: str) -> None:
    watched = (*SOURCE_TOPICS, *OUTCOME_TOPICS, Topic.AMENDED)
    others: dict[str, int] = {Topic.SUBMITTED: HALF_THE_TABLE_MS, Topic.CONTROL: FIVE_YEARS_MS}
    wanted = str(others.get(name, 604_800_000))
    for setting, value, enough in (("retention.ms", "86400000", wanted), ("retention.bytes", "1073741824", "-1")):
        assert told(name, {setting: value}) == ([(setting, value, enough, "warned")] if name in watched else [])


def test_a_fault_is_said_with_the_command_that_mends_it() -> None:
    (unclean,) = found(Topic.FAILED, {"unclean.leader.election.enable": "true"})
    assert unclean.line("one:9092,two:9092") == (
        "robot.job.failed: unclean.leader.election.enable is true, must be false: committed records could vanish, and "
        "a job whose claim has vanished is called again (kafka-configs.sh --bootstrap-server one:9092,two:9092 --alter "
        "--entity-type topics --entity-name robot.job.failed --add-config unclean.leader.election.enable=false)"
    )
    (two,) = found(Topic.BATCH_COMPLETED, replicas=(2,))
    assert two.line("one:9092") == (
        "robot.job.batch_completed: replicas is 2, should be 3: with one broker down no deadline is decided "
        "(kafka-reassign-partitions.sh --bootstrap-server one:9092 --execute --reassignment-json-file FILE, where FILE "
        'has every partition, as in {"version":1,"partitions":[{"topic":"robot.job.batch_completed","partition":0,'
        '"replicas":[1,2,3]}]})'
    )
