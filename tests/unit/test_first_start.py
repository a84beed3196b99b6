"""The first start of an application: what it is told of the submissions that are there."""

import pytest

from streams.engine.ports import UnreadableError
from streams.kafka import topics
from streams.kafka.topics import first_start_warning
from streams.names import Topic, changelog_topic
from streams.wire.records import NewRecord, TopicPartition
from tests.core.builders import NOW
from tests.simulation.broker import SimulatedBroker, SimulatedReader


def log(*, opened: bool = False, committed: int = 0, readable: bool = True) -> SimulatedReader:
    """Return a log of two partitions with three submissions each, of which so many are committed by the group."""
    broker = SimulatedBroker(2, lambda: NOW)
    for place in broker.places([Topic.SUBMITTED]):
        broker.committed_offsets[place] = committed
        for _ in range(3):
            broker.append(NewRecord(*place, None, b"submission"))
    if opened:
        broker.append(NewRecord(*TopicPartition(changelog_topic("mine"), 1), b"opened", None))

    async def io() -> None:
        if not readable:
            raise UnreadableError("no broker")

    return SimulatedReader(broker, io)


async def test_an_application_that_has_never_run_calls_what_its_group_has_not_read() -> None:
    assert "has never run here: it calls all that robot.job.submitted holds (up to 4 submissions)" in str(
        await first_start_warning(log(committed=1), "mine")
    )


@pytest.mark.parametrize("reader", [log(opened=True), log(committed=3)], ids=["opened", "all is read"])
async def test_where_its_table_was_opened_or_all_is_read_there_is_nothing_to_say(reader: SimulatedReader) -> None:
    assert await first_start_warning(reader, "mine") is None


async def test_a_log_that_cannot_be_read_keeps_no_worker_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "FIRST_LOOK_SECONDS", 0.0)
    assert await first_start_warning(log(readable=False), "mine") is None
