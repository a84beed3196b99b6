"""What a topic must have for the promises to hold: each fault with its reason and the command that mends it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from streams.kafka.partition_log import MAX_BATCH_BYTES
from streams.names import REPORT_TOPICS, Topic

CLEANUP = "cleanup.policy"
MAX_BYTES = "max.message.bytes"
MIN_IN_SYNC = "min.insync.replicas"
RETENTION, RETENTION_BYTES = "retention.ms", "retention.bytes"
SEGMENT = "segment.ms"
# How long a record may, and must, wait until it is compacted. No broker takes a shortest wait above the longest.
MIN_LAG, MAX_LAG = "min.compaction.lag.ms", "max.compaction.lag.ms"
TIMESTAMP_TYPE = "message.timestamp.type"
UNCLEAN = "unclean.leader.election.enable"
# How old a record may be: brokers before 3.6 know the second only, those from 4.0 on the first only.
MAX_AGE, MAX_DIFFERENCE = "message.timestamp.before.max.ms", "message.timestamp.difference.max.ms"
NO_LIMIT = str(2**63 - 1)
# Not in a topic's configuration: Kafka has a tool of its own for it.
REPLICAS = "replicas"
ENOUGH_REPLICAS = 3

_POLICY_REASON = {
    "compact": "rows of waiting jobs would be deleted",
    "delete": "a record would be deleted when another of its key comes, read or not, and one without a key refused",
}
_TIMESTAMP_REASON = {
    "CreateTime": "old submissions that are forwarded would look new and be called",
    "LogAppendTime": "workers compare their clocks with it",
}
_LONG_REASON = "credentials lie there for longer than they are of any use"
_SHORT_REASON = {
    Topic.SUBMITTED: "what workers have not read by then is lost, and jobs that still wait end as submission_expired",
    Topic.BATCH_COMPLETED: "a completion that workers have not read by then is lost, and its job fails",
    Topic.ORDER_REPORTED: "a report that workers have not read by then is lost, and its job fails",
    Topic.CONTROL: "what people did, and what workers have not read by then, is forgotten",
    Topic.COMPLETED: "who has not read an outcome by then never will",
    Topic.FAILED: "who has not read an outcome by then never will",
    Topic.AMENDED: "who has not read by then what became known late never will",
}


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic as the cluster has it: a replica count for each partition, and the settings that the broker knows."""

    name: str
    replicas: tuple[int, ...]
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fault:
    """A setting that a topic must not have. With a `fatal` one no worker starts: it would break a promise."""

    topic: str
    setting: str
    value: str
    wanted: str
    reason: str
    fatal: bool = True

    def line(self, bootstrap_servers: str) -> str:
        """Return it in one line, with the command that mends it."""
        servers = f"--bootstrap-server {bootstrap_servers}"
        if self.setting == REPLICAS:
            partition = f'{{"topic":"{self.topic}","partition":0,"replicas":[1,2,3]}}'
            mend = (
                f"kafka-reassign-partitions.sh {servers} --execute --reassignment-json-file FILE, where FILE has every "
                f'partition, as in {{"version":1,"partitions":[{partition}]}}'
            )
        else:
            change = (
                f"--alter --entity-type topics --entity-name {self.topic} --add-config {self.setting}={self.wanted}"
            )
            mend = f"kafka-configs.sh {servers} {change}"
        verb = "must" if self.fatal else "should"
        return f"{self.topic}: {self.setting} is {self.value}, {verb} be {self.wanted}: {self.reason} ({mend})"


def faults(topic: FoundTopic, created_with: Mapping[str, str], brokers: int) -> Iterator[Fault]:
    """Yield what is wrong with a topic that `topics create` would make with some settings, on a number of brokers."""
    yield from _replication(topic, brokers)
    yield from _settings(topic, created_with)
    yield from _costs(topic, created_with)


def _replication(topic: FoundTopic, brokers: int) -> Iterator[Fault]:
    fewest, most = min(topic.replicas), max(topic.replicas)
    reason = None
    if fewest == 1 and brokers > 1:
        reason = "with one lost disk its records are lost"
    elif fewest == 2 and topic.name in REPORT_TOPICS:
        # A leader is believed when half of the others name it (see high_watermarks.py), and there is one other.
        reason = "with one broker down no deadline is decided"
    elif fewest == 2:
        reason = "with one broker down a record has one copy, or nothing can be written"
    if reason is not None:
        yield Fault(topic.name, REPLICAS, str(fewest), str(ENOUGH_REPLICAS), reason, fatal=False)
    if most > 1 and topic.config.get(UNCLEAN) == "true":
        reason = "committed records could vanish, and a job whose claim has vanished is called again"
        yield Fault(topic.name, UNCLEAN, "true", "false", reason)
    if topic.config.get(MIN_IN_SYNC):
        yield from _in_sync(topic.name, fewest, most, int(topic.config[MIN_IN_SYNC]))


def _in_sync(name: str, fewest: int, most: int, in_sync: int) -> Iterator[Fault]:
    def fault(wanted: int, reason: str, *, fatal: bool = True) -> Fault:
        return Fault(name, MIN_IN_SYNC, str(in_sync), str(wanted), reason, fatal)

    if in_sync * 2 < most:
        reason = f"what fewer than half of {most} replicas have can be lost, or be missed when a deadline is decided"
        yield fault(most - 1, reason)
    elif in_sync > fewest:
        yield fault(max(1, fewest - 1), f"with {fewest} replicas nothing can be written")
    elif in_sync == fewest >= ENOUGH_REPLICAS:
        yield fault(fewest - 1, "with one broker down nothing can be written", fatal=False)


def _settings(topic: FoundTopic, created_with: Mapping[str, str]) -> Iterator[Fault]:
    def fault(setting: str, wanted: str, reason: str) -> Fault:
        return Fault(topic.name, setting, topic.config[setting], wanted, reason)

    policy = created_with[CLEANUP]
    if topic.config.get(CLEANUP, policy) not in ("", policy):
        yield fault(CLEANUP, policy, _POLICY_REASON[policy])
    kind = created_with.get(TIMESTAMP_TYPE)
    if kind is not None and topic.config[TIMESTAMP_TYPE] != kind:
        yield fault(TIMESTAMP_TYPE, kind, _TIMESTAMP_REASON[kind])
    # The broker's own time is no record's age. What a limit on the future has let in is let in later as well.
    if MAX_AGE in created_with and topic.config[TIMESTAMP_TYPE] == "CreateTime":
        for setting in (MAX_AGE, MAX_DIFFERENCE):
            if topic.config.get(setting, NO_LIMIT) != NO_LIMIT:
                reason = "a record that is too old to be forwarded ends its worker, and again after each restart"
                yield fault(setting, NO_LIMIT, reason)
    if int(topic.config[MAX_BYTES]) < MAX_BATCH_BYTES:
        yield fault(MAX_BYTES, str(MAX_BATCH_BYTES), "a busy worker writes batches of that size, and ends when refused")


def _costs(topic: FoundTopic, created_with: Mapping[str, str]) -> Iterator[Fault]:
    """Yield what breaks no promise: topics that are there already keep what they were created with, or were given."""

    def drift(setting: str, reason: str, *, more: bool) -> Iterator[Fault]:
        value, wanted = topic.config.get(setting, ""), created_with[setting]
        if value and (_size(value) > _size(wanted) if more else _size(value) < _size(wanted)):
            yield Fault(topic.name, setting, value, wanted, reason, fatal=False)

    if created_with[CLEANUP] == "compact":
        # The longest wait also ends a segment, whatever segment.ms is.
        for setting in (MIN_LAG, MAX_LAG):
            yield from drift(setting, "all that is not compacted yet is read at every start", more=True)
    if topic.name in (Topic.SUBMITTED, Topic.DLQ_SUBMITTED):
        for setting in (RETENTION, SEGMENT):
            yield from drift(setting, _LONG_REASON, more=True)
        if topic.config.get(CLEANUP) == "":
            yield Fault(topic.name, CLEANUP, "", created_with[CLEANUP], _LONG_REASON, fatal=False)
    if topic.name in _SHORT_REASON:
        for setting in (RETENTION, RETENTION_BYTES):
            yield from drift(setting, _SHORT_REASON[Topic(topic.name)], more=False)


def _size(value: str) -> float:
    return math.inf if value == "-1" else int(value)
