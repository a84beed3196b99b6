"""The first start of an application: what it is told of the submissions that are there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from streams.engine.ports import Reading, UnreadableError
from streams.kafka import topics
from streams.kafka.topics import first_start_warning
from streams.names import Topic, changelog_topic
from streams.wire.records import TopicPartition


@dataclass
class Log:
    """A log of two partitions: where each topic ends, and how far the group has come with the submissions."""

    ends: Mapping[str, dict[int, int]]
    committed: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    readable: bool = True

    async def read(self, topic_partition: TopicPartition, start: int, end: int, limit: int) -> Reading:
        raise UnreadableError(f"{topic_partition} [{start}, {end}) {limit}")

    async def end_offsets(self, topic: str) -> dict[int, int]:
        if not self.readable:
            raise UnreadableError(topic)
        return self.ends[topic]

    async def committed_offsets(self, _topic: str) -> dict[int, int]:
        return self.committed

    async def has_committed(self, topic_partition: TopicPartition) -> bool:
        return self.committed[topic_partition.partition] > 0

    async def answers_anew(self) -> bool:
        return self.readable


def log(*, opened: int = 0, committed: int = 0, readable: bool = True) -> Log:
    ends = {changelog_topic("mine"): {0: 0, 1: opened}, Topic.SUBMITTED: {0: 3, 1: 4}}
    return Log(ends, {0: committed, 1: committed}, readable)


async def test_an_application_that_has_never_run_calls_what_its_group_has_not_read() -> None:
    assert "has never run here: it calls all that robot.job.submitted holds (up to 5 submissions)" in str(
        await first_start_warning(log(committed=1), "mine")
    )


async def test_a_job_table_that_was_ever_opened_knows_its_jobs() -> None:
    assert await first_start_warning(log(opened=2), "mine") is None


async def test_where_all_is_read_there_is_nothing_to_call() -> None:
    done = Log({changelog_topic("mine"): {0: 0, 1: 0}, Topic.SUBMITTED: {0: 3, 1: 4}}, {0: 3, 1: 4})
    assert await first_start_warning(done, "mine") is None


async def test_a_log_that_cannot_be_read_keeps_no_worker_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "FIRST_LOOK_SECONDS", 0.0)
    assert await first_start_warning(log(readable=False), "mine") is None
