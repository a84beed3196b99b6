"""What is watched is the table as it is, not as it was."""

import asyncio
import uuid
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from msgspec.structs import replace

from streams.core.job import Job, OrderResult, Status
from streams.kafka.admin import admin_client
from streams.names import changelog_topic
from streams.operate.live_table import JobBoard
from streams.wire.rows import encode_row, row_key
from tests.core.builders import COMPLETED, KEY, PENDING

# More bytes than are read at once.
OTHERS = 400
ORDERS = tuple(OrderResult(f"an-order-with-a-long-name-{number}") for number in range(300))


async def test_a_row_that_was_replaced_is_not_taken_for_the_job_s_end(kafka_bootstrap: str) -> None:
    """A job's ids are free again when it is forgotten; until the changelog is compacted both are in it."""
    app_id = f"watched-{uuid.uuid4().hex[:8]}"
    topic = changelog_topic(app_id)
    async with admin_client(bootstrap_servers=kafka_bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    others = (replace(COMPLETED, job_id=f"other-{number}", orders=ORDERS) for number in range(OTHERS))
    rows: list[tuple[Job, bool]] = [
        (COMPLETED, True),
        *((job, True) for job in others),
        (COMPLETED, False),
        (PENDING, True),
    ]
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, linger_ms=50) as producer:
        send = partial(producer.send, topic, partition=0)
        written = [await send(key=row_key(job.key), value=encode_row(job) if there else None) for job, there in rows]
        await asyncio.gather(*written)
    board = JobBoard({"bootstrap_servers": kafka_bootstrap}, app_id, lambda job: job.key == KEY)
    seen: list[Status] = []

    def look() -> bool:
        seen.extend(job.status for job in board.jobs.values())
        return bool(seen)

    following = asyncio.create_task(board.follow(lambda _job: None, lambda: None))
    try:
        assert await board.wait_for(look, 30)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert set(seen) == {Status.PENDING}
