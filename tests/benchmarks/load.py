"""The load: publishes jobs, at once or at a rate, and reads their outcomes as any consumer of ours does.

Says when it is connected, begins at a line on its standard input, and prints when each job was handed to the
producer and each outcome was seen (seconds since 1970).
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.names import OUTCOME_TOPICS, Topic
from tests.benchmarks.jobs import Submission, make_submissions
from tests.benchmarks.lines import say

# The most by which this reader is late: the broker answers it at the latest after this.
FETCH_MAX_WAIT_MS = 10


async def publish(producer: AIOKafkaProducer, submissions: Sequence[Submission], rate: float = 0) -> dict[str, float]:
    """Publish jobs, `rate` a second or, for 0, at once; return when each was handed over, by job id."""
    submitted, deliveries = {}, []
    started = time.monotonic()
    for number, submission in enumerate(submissions):
        if rate:
            await asyncio.sleep(started + number / rate - time.monotonic())
        submitted[submission.job_id] = time.time()
        deliveries.append(await producer.send(Topic.SUBMITTED, submission.value, submission.workspace_id.encode()))
    await asyncio.gather(*deliveries)
    return submitted


async def read_outcomes(consumer: AIOKafkaConsumer, job_ids: set[str], limit_seconds: float) -> dict[str, object]:
    """Return when the outcome of each job was seen, how many were failures, and how many records came in all."""
    seen: dict[str, float] = {}
    failed = records = 0
    until = time.monotonic() + limit_seconds
    while len(seen) < len(job_ids) and time.monotonic() < until:
        for source, batch in (await consumer.getmany(timeout_ms=100)).items():
            seen_at = time.time()
            for record in batch:
                job_id = record.key.decode()
                if job_id in job_ids:
                    records += 1
                    failed += source.topic == Topic.FAILED
                    seen.setdefault(job_id, seen_at)
    return {"outcomes": seen, "failed": failed, "outcome_records": records}


async def run(bootstrap_servers: str, jobs: int, rate: float, limit_seconds: float) -> None:
    """Connect, wait for the line, publish, read, print."""
    submissions = make_submissions(jobs)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, isolation_level="read_committed", fetch_max_wait_ms=FETCH_MAX_WAIT_MS
    )
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer, consumer:
        # Asked for here, so that the first job does not have to wait for it.
        numbers = await producer.partitions_for(Topic.SUBMITTED)
        sources = [TopicPartition(topic, number) for topic in OUTCOME_TOPICS for number in sorted(numbers)]
        consumer.assign(sources)
        await consumer.seek_to_end(*sources)
        for source in sources:
            await consumer.position(source)
        say({"connected": True})
        if not await asyncio.to_thread(sys.stdin.buffer.readline):
            return
        reading = read_outcomes(consumer, {submission.job_id for submission in submissions}, limit_seconds)
        submitted, found = await asyncio.gather(publish(producer, submissions, rate), reading)
    say({"submitted": submitted, **found})


def main() -> None:
    """Run the load as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0, help="jobs a second; 0: all at once")
    parser.add_argument("--limit-seconds", type=float, required=True, help="when to give up on missing outcomes")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.bootstrap_servers, arguments.jobs, arguments.rate, arguments.limit_seconds))


if __name__ == "__main__":
    main()
