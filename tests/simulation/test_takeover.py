"""A worker comes back to a partition that was somebody else's meanwhile."""

from streams.core.job import JobKey
from streams.names import Topic
from streams.wire.records import NewRecord, SourceRecord
from tests.simulation.world import Plan, World, submission

KEY = JobKey("workspace-0", "job-0")


def test_a_ledger_is_kept_only_from_one_generation_to_the_next() -> None:
    """One that slept through a generation does not know of the jobs that others have written meanwhile."""
    world = World(0, Plan(partitions=1))

    async def scene() -> None:
        sleeper, other = world.make_worker().worker.partitions, world.make_worker().worker.partitions
        await sleeper.assign({0}, generation=1)
        await sleeper.suspend()
        await sleeper.assign({0}, generation=2)
        await world.until(lambda: sleeper.ready)
        kept = sleeper.open_ledgers()
        await sleeper.suspend()
        await sleeper.assign({0}, generation=3)
        assert sleeper.open_ledgers() == kept

        await other.assign({0}, generation=4)
        await world.until(lambda: other.ready)
        entry = world.broker.append(NewRecord(Topic.SUBMITTED, 0, None, submission(KEY, 1)))
        taken: list[SourceRecord] = []
        other.deliver(entry.record, lambda: taken.append(entry.record))
        await world.until(lambda: taken)

        await sleeper.suspend()
        await sleeper.assign({0}, generation=5)
        await world.until(lambda: sleeper.ready)
        (ledger,) = sleeper.open_ledgers()
        assert ledger not in kept
        assert [job.key for job in ledger.jobs()] == [KEY]

    world.play(scene())
