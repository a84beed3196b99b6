"""What stock Faust and aiokafka lose around a rebalance, and that nothing is lost with the patches."""

import asyncio
import signal

from streams.dev.robot import Fate
from tests.hardening.halves import PAUSE_SECONDS, Halves, ended_with, eventually, members, told
from tests.hardening.stock_worker import Patch
from tests.support.scene import Scene
from tests.support.worker import WorkerProcess

LOST = "LostRecordsError"


async def test_a_rebalance_that_begins_before_the_last_is_over_loses_nothing(halves: Halves) -> None:
    """Stock Faust lets records flow in the midst of the second, and drops what has come when that is over."""
    owners = await halves.workers(Patch.RECOVERY)

    async def joins_and_leaves(scene: Scene) -> None:
        # One without a partition, so that everything is about the owner.
        await (await scene.worker()).stop()

    async with halves.load():
        await asyncio.gather(joins_and_leaves(halves.patched), joins_and_leaves(halves.stock))
        await ended_with(owners[1], LOST)
    await halves.all_called(halves.patched)
    assert owners[0].running


async def test_offsets_that_cannot_be_set_end_the_worker(halves: Halves) -> None:
    """Stock Faust gives up without a word: its worker is there, and never gets a record."""
    await halves.submit()
    patched, stock = await halves.workers(Patch.STUCK_SEEK)
    await ended_with(patched, "StuckConsumerError")
    assert stock.running
    assert (await stock.get("/readyz"))[0] == 200
    assert halves.stock.robot.calls == []


async def test_a_worker_without_partitions_drops_nothing_when_it_gets_some(halves: Halves) -> None:
    """Stock Faust lets it look for records in the midst of the rebalance, and drops what it finds."""
    owners = await halves.plain_workers()
    idle = await halves.workers(Patch.FLOW)
    async with halves.load():
        for owner in owners:
            owner.signal(signal.SIGTERM)
        await ended_with(idle[1], LOST)
    await halves.all_called(halves.patched)
    assert idle[0].running


async def test_a_partition_of_which_nothing_is_committed_loses_nothing(fresh_halves: Halves) -> None:
    """Stock aiokafka does not seek there: what a look from before the rebalance has found is dropped for good."""
    owners = await fresh_halves.workers(Patch.SEEK)
    await fresh_halves.plain_workers(ready=False)
    await asyncio.gather(*(told(owner, "rebalance_started", 2) for owner in owners))
    async with fresh_halves.load():
        await ended_with(owners[1], LOST)
    await fresh_halves.all_called(fresh_halves.patched)
    assert owners[0].running


async def test_submissions_and_completions_of_a_partition_are_with_one_worker(halves: Halves) -> None:
    """Stock Faust gives them to two: both open the partition's ledger, and the second fences the first."""
    first = await halves.workers(Patch.ASSIGNOR)
    second = await halves.workers(Patch.ASSIGNOR)
    patched, stock = zip(first, second, strict=True)

    def ended() -> WorkerProcess | None:
        return next((worker for worker in stock if not worker.running), None)

    # With completions, for whoever is fenced ends when it writes.
    async with halves.load(Fate.COMPLETE):
        await ended_with(await eventually(ended), "FencedError")
    await halves.all_called(halves.patched)
    assert all(worker.running for worker in patched)


async def test_committed_claims_outlast_a_rebalance(halves: Halves) -> None:
    """A stock channel is cleared: of the claims only that which the agent has in its hands is called."""
    owners = await halves.workers(Patch.CHANNEL)
    for _ in range(4):
        await halves.submit()
    await asyncio.gather(*(told(owner, "job_claimed", 4) for owner in owners))
    await halves.plain_workers()
    claimed = tuple(halves.jobs)
    later = await halves.submit()
    await halves.all_called(halves.patched)
    await eventually(lambda: halves.stock.posts(later))
    assert [halves.stock.posts(job_id) for job_id in claimed] == [1, 0, 0, 0]


async def test_a_worker_without_partitions_stays_a_member_and_takes_over(halves: Halves) -> None:
    """Stock Faust does not fetch without partitions, and aiokafka takes it out of the group, never to return."""
    owners = await halves.plain_workers()
    idle = await halves.workers(Patch.POLL_INTERVAL)
    async with asyncio.timeout(30):
        while await members(halves.stock) > 1:
            await asyncio.sleep(PAUSE_SECONDS)
    assert await members(halves.patched) == 2
    for owner in owners:
        await owner.kill()
    await halves.submit()
    await halves.all_called(halves.patched)
    async with asyncio.timeout(30):
        while await members(halves.stock):
            await asyncio.sleep(PAUSE_SECONDS)
    assert idle[1].running
    assert halves.stock.robot.calls == []


async def test_a_group_leader_whose_metadata_request_failed_asks_again(halves: Halves) -> None:
    """Stock aiokafka asks again after five minutes; until then it knows of no topic and assigns nothing."""
    workers = await halves.workers(Patch.METADATA_AGE)
    await halves.submit()
    await halves.all_called(halves.patched)
    assert halves.stock.robot.calls == []
    for worker in workers:
        first = next(line for line in worker.log_lines() if line["event"] == "rebalance_completed")
        assert first["partitions"] == []
