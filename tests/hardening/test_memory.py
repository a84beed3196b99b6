"""How much of what waits in Kafka a worker has in memory at once."""

import json
import time

from aiokafka import AIOKafkaProducer

from schemas import JobFailed
from streams.names import Topic
from tests.hardening.side import Side
from tests.hardening.stock_worker import Patch
from tests.support.builders import submission

JOBS = 80
SUBMISSION_BYTES = 4_500_000
HOUR_SECONDS = 3600
# A worker without jobs takes 80 MB; beside what it holds, there is what it makes of the one it looks at.
PEAK_BYTES = 280_000_000


async def publish_large(bootstrap_servers: str) -> list[str]:
    """Publish large jobs that nobody needs to call any more, compressed; return their ids.

    They are compressed, so that one fetch brings them all.
    """
    jobs = []
    published_at = round((time.time() - 6 * HOUR_SECONDS) * 1000)
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, compression_type="gzip", max_request_size=2 * SUBMISSION_BYTES
    )
    async with producer:
        for _ in range(JOBS):
            payload = submission()
            payload["orders"][0]["pedidoInput"]["nombres"] = "Ñ" * (SUBMISSION_BYTES // 2)
            value = json.dumps(payload, ensure_ascii=False).encode()
            await producer.send_and_wait(Topic.SUBMITTED, value, partition=0, timestamp_ms=published_at)
            jobs.append(payload["jobId"])
    return jobs


async def test_large_submissions_that_wait_are_read_as_there_is_room_for_them(side: Side) -> None:
    """Stock Faust counts messages, not bytes, and unpacks all that a fetch has brought."""
    jobs = await publish_large(side.scene.bootstrap_servers)
    side.scene.variables["ROBOT_ORCHESTRATOR_RETENTION_SECONDS"] = str(10 * HOUR_SECONDS)
    worker = await side.worker(Patch.MEMORY)
    for job_id in jobs:
        outcome = await side.scene.outcome(job_id)
        assert isinstance(outcome, JobFailed)
        assert (outcome.reason, outcome.robotMayHaveReceived) == ("submission_expired", False)
    assert side.scene.robot.calls == []
    if side.stock:
        assert worker.peak_bytes() > JOBS * SUBMISSION_BYTES
    else:
        assert worker.peak_bytes() < PEAK_BYTES < JOBS * SUBMISSION_BYTES
