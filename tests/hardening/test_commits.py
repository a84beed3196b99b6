"""What stock Faust commits too early or never, reads too early, and goes on with after a crash."""

import asyncio
import json
import uuid
from typing import Any

from aiokafka import AIOKafkaProducer

from streams.dev.robot import Fate
from streams.names import Topic
from tests.hardening.side import NEVER_SECONDS, Side, committed, ended_with, until_committed
from tests.hardening.stock_worker import MARKED, Patch
from tests.support.builders import submission
from tests.support.scene import Scene


def marked() -> str:
    return f"{MARKED}{uuid.uuid4()}"


async def abort(scene: Scene, *payloads: dict[str, Any]) -> None:
    """Publish submissions in a transaction that is aborted."""
    producer = AIOKafkaProducer(bootstrap_servers=scene.bootstrap_servers, transactional_id=str(uuid.uuid4()))
    await producer.start()
    await producer.begin_transaction()
    for payload in payloads:
        await producer.send_and_wait(Topic.SUBMITTED, json.dumps(payload).encode(), partition=0)
    await producer.abort_transaction()
    await producer.stop()


async def test_an_unfinished_record_is_read_again_though_later_ones_were_finished(side: Side) -> None:
    """Stock Faust commits past the one at the head: after a kill nobody reads it again."""
    dying = await side.worker(Patch.OFFSET)
    first = await side.submit()
    unfinished = await side.submit(marked())
    later = await side.submit()
    offset = (await side.scene.row(later)).source.offset
    await until_committed(side.scene, Topic.SUBMITTED, offset + 1 if side.stock else offset - 1)
    await dying.kill()
    await side.scene.worker()
    last = await side.submit()
    await side.called(last)
    if side.stock:
        assert side.posts(first, unfinished, later, last) == [1, 0, 1, 1]
    else:
        await side.all_called()


async def test_a_partition_that_begins_with_a_gap_is_committed(fresh_side: Side) -> None:
    """Stock Faust never commits again when two offsets behind the very first record hold none."""
    side = fresh_side
    await side.submit()
    # The marker may come behind the next record, so it is not one of the two.
    await abort(side.scene, submission(), submission())
    last = await side.submit()
    worker = await side.worker(Patch.OFFSET)
    await side.all_called()
    offset = (await side.scene.row(last)).source.offset
    if side.stock:
        # A completion that comes later is committed in a later round, so there was one for the submissions.
        await side.scene.write(Topic.BATCH_COMPLETED, b"{}", 0)
        await until_committed(side.scene, Topic.BATCH_COMPLETED, 1)
        assert await committed(side.scene, Topic.SUBMITTED) == 1
    else:
        await until_committed(side.scene, Topic.SUBMITTED, offset + 1)
    assert worker.running


async def test_a_submission_in_an_aborted_transaction_is_not_run(side: Side) -> None:
    """Stock Faust reads what was never committed."""
    await side.worker(Patch.ISOLATION)
    payload = submission()
    await abort(side.scene, payload)
    await side.submit()
    await side.all_called()
    assert side.posts(payload["jobId"]) == [int(side.stock)]


async def test_a_crash_ends_the_worker_at_once(side: Side) -> None:
    """Stock Faust begins a stop that waits for the calls in flight; meanwhile the partition is nobody's."""
    worker = await side.worker(Patch.CRASH)
    await side.submit(fate=Fate.HANG)
    await side.all_called()
    await side.submit(marked())
    if side.stock:
        await worker.wait_told("draining")
        await asyncio.sleep(NEVER_SECONDS)
        assert worker.running
        assert len(side.scene.robot.calls) == 1
    else:
        await ended_with(worker, "RuntimeError: crashed on purpose")
        await side.scene.worker()
        await side.all_called()
