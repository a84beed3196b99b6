"""What stock Faust and aiokafka lose around a rebalance, and that nothing is lost with the patches."""

import asyncio
import signal
from typing import Any, cast

from streams.app import build_app
from streams.dev.robot import Fate
from streams.settings import WorkerSettings
from tests.hardening.side import NEVER_SECONDS, Side, ended_with, eventually, until_members
from tests.hardening.stock_worker import Patch

LOST = "LostRecordsError"
DAY_SECONDS = 86_400


async def test_a_rebalance_that_begins_before_the_last_is_over_loses_nothing(side: Side) -> None:
    """Stock Faust lets records flow in the midst of the second, and drops what has come when that is over."""
    owner = await side.worker(Patch.RECOVERY)
    async with side.load():
        # One without a partition, so that everything is about the owner.
        await (await side.scene.worker()).stop()
        if side.stock:
            await ended_with(owner, LOST)
            return
        await owner.wait_told("rebalance_started", 3)
        # Records come again only when it is over.
        await side.called(await side.submit())
    await side.all_called()
    assert owner.running


async def test_offsets_that_cannot_be_set_end_the_worker(side: Side) -> None:
    """Stock Faust gives up without a word: its worker is there, and never gets a record."""
    await side.submit()
    worker = await side.worker(Patch.STUCK_SEEK)
    if side.stock:
        await side.nothing_is_called()
        assert worker.running
        assert (await worker.get("/readyz"))[0] == 200
    else:
        await ended_with(worker, "StuckConsumerError")


async def test_a_worker_without_partitions_drops_nothing_when_it_gets_some(side: Side) -> None:
    """Stock Faust lets it look for records in the midst of the rebalance, and drops what it finds."""
    owner = await side.scene.worker()
    idle = await side.worker(Patch.FLOW)
    async with side.load():
        owner.signal(signal.SIGTERM)
        if side.stock:
            await ended_with(idle, LOST)
            return
        await idle.wait_told("rebalance_started", 2)
        await side.called(await side.submit())
    await side.all_called()
    assert idle.running


async def test_a_partition_of_which_nothing_is_committed_loses_nothing(fresh_side: Side) -> None:
    """Stock aiokafka does not seek there: what a look from before the rebalance has found is dropped for good."""
    side = fresh_side
    owner = await side.worker(Patch.SEEK)
    await side.scene.worker(ready=False)
    await owner.wait_told("rebalance_started", 2)
    async with side.load():
        if side.stock:
            await ended_with(owner, LOST)
            return
        await side.called(await side.submit())
    await side.all_called()
    assert owner.running


async def test_submissions_and_completions_of_a_partition_are_with_one_worker(side: Side) -> None:
    """Stock Faust gives them to two, and who has not the submissions leaves completions for later, for ever."""
    for _ in range(3):
        await side.worker(Patch.ASSIGNOR)
    async with side.load(Fate.COMPLETE):
        await eventually(lambda: len(side.jobs) >= 20)
    await side.all_called()
    if side.stock:
        await asyncio.sleep(NEVER_SECONDS)
        assert not all([await side.scene.outcomes_of(job_id) for job_id in side.jobs])
    else:
        for job_id in side.jobs:
            await side.scene.outcome(job_id)


async def test_committed_claims_outlast_a_rebalance(side: Side) -> None:
    """A stock channel is cleared: of the claims only that which the agent has in its hands is called."""
    await side.worker(Patch.CHANNEL)
    claimed = [await side.submit() for _ in range(4)]
    for job_id in claimed:
        await side.scene.row(job_id, lambda job: job.claimed_at is not None)
    await side.scene.worker()
    await side.called(await side.submit())
    if side.stock:
        assert side.posts(*claimed) == [1, 0, 0, 0]
    else:
        await side.all_called()


async def test_a_worker_without_partitions_stays_a_member_and_takes_over(side: Side) -> None:
    """Stock Faust does not fetch without partitions, and aiokafka takes it out of the group, never to return."""
    owner = await side.scene.worker()
    idle = await side.worker(Patch.POLL_INTERVAL)
    if side.stock:
        await until_members(side.scene, 1)
    else:
        # No test waits for as long as the limit would take.
        app = build_app(WorkerSettings(**cast(Any, side.scene.variables)))
        assert app.conf.broker_max_poll_interval > 10 * DAY_SECONDS
        await until_members(side.scene, 2)
    await owner.kill()
    await side.submit()
    if side.stock:
        await until_members(side.scene, 0)
        assert idle.running
        assert side.scene.robot.calls == []
    else:
        await side.all_called()


async def test_a_group_leader_whose_metadata_request_failed_asks_again(side: Side) -> None:
    """Stock aiokafka asks again after five minutes; until then it knows of no topic and assigns nothing."""
    worker = await side.worker(Patch.METADATA_AGE)
    await side.submit()
    if side.stock:
        await side.nothing_is_called()
    else:
        await side.all_called()
    assert worker.told("rebalance_completed")[0]["partitions"] == []
