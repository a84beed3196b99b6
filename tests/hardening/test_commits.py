"""What stock Faust commits too early or never, reads too early, and goes on with after a crash."""

import json
import uuid
from typing import Any

from aiokafka import AIOKafkaProducer

from streams.dev.robot import Fate
from streams.names import Topic
from tests.hardening.halves import Halves, committed, ended_with, eventually, told, until_committed
from tests.hardening.stock_worker import MARKED, Patch
from tests.support.scene import Scene, submission


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


async def test_an_unfinished_record_is_read_again_though_later_ones_were_finished(halves: Halves) -> None:
    """Stock Faust commits past the one at the head: after a kill nobody reads it again."""
    dying = await halves.workers(Patch.OFFSET)
    first = await halves.submit()
    unfinished = await halves.submit(marked())
    later = await halves.submit()
    offset = (await halves.patched.row(later)).source.offset
    await until_committed(halves.patched, Topic.SUBMITTED, offset - 1)
    await until_committed(halves.stock, Topic.SUBMITTED, offset + 1)
    for worker in dying:
        await worker.kill()
    await halves.plain_workers()
    last = await halves.submit()
    await halves.all_called(halves.patched)
    await eventually(lambda: halves.stock.posts(last))
    assert [halves.stock.posts(job_id) for job_id in (first, unfinished, later, last)] == [1, 0, 1, 1]


async def test_a_partition_that_begins_with_a_gap_is_committed(fresh_halves: Halves) -> None:
    """Stock Faust never commits again when two offsets behind the very first record hold none."""
    await fresh_halves.submit()
    # The marker may come behind the next record, so it is not one of the two.
    await abort(fresh_halves.patched, submission(), submission())
    last = await fresh_halves.submit()
    workers = await fresh_halves.workers(Patch.OFFSET)
    for scene in (fresh_halves.patched, fresh_halves.stock):
        await fresh_halves.all_called(scene)
    offset = (await fresh_halves.patched.row(last)).source.offset
    await until_committed(fresh_halves.patched, Topic.SUBMITTED, offset + 1)
    # A completion that comes later is committed in a later round, so there was one for the submissions.
    await fresh_halves.patched.write(Topic.BATCH_COMPLETED, b"{}", 0)
    await until_committed(fresh_halves.stock, Topic.BATCH_COMPLETED, 1)
    assert await committed(fresh_halves.stock, Topic.SUBMITTED) == 1
    assert all(worker.running for worker in workers)


async def test_a_submission_in_an_aborted_transaction_is_not_run(halves: Halves) -> None:
    """Stock Faust reads what was never committed."""
    await halves.workers(Patch.ISOLATION)
    payload = submission()
    await abort(halves.patched, payload)
    await halves.submit()
    for scene in (halves.patched, halves.stock):
        await halves.all_called(scene)
    assert halves.patched.posts(payload["jobId"]) == 0
    assert halves.stock.posts(payload["jobId"]) == 1


async def test_a_crash_ends_the_worker_at_once(halves: Halves) -> None:
    """Stock Faust begins a stop that waits for the calls in flight; meanwhile the partition is nobody's."""
    patched, stock = await halves.workers(Patch.CRASH)
    await halves.submit(fate=Fate.HANG)
    for scene in (halves.patched, halves.stock):
        await halves.all_called(scene)
    await halves.submit(marked())
    await ended_with(patched, "RuntimeError: crashed on purpose")
    await told(stock, "draining", 1)
    await halves.patched.worker()
    await halves.all_called(halves.patched)
    assert stock.running
