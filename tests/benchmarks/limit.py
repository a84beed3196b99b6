"""The yardstick: how fast Python, aiokafka and aiohttp do a worker's main job here, exactly once, and nothing more.

A loop written by hand. In one transaction for all partitions it takes what has come, writes a row for each job that
changed, claims up to a bound of calls without an answer, writes outcomes and commits the source offsets; then it makes
the calls, whose answers are in the next transaction. One batch at a time a workspace.

It leaves out nearly everything that a worker promises: deadlines and what is decided by them, restart from its rows, a
second process (partitions are assigned by hand, and one transactional id fences all or none), calls that fail (it
ends), dead letters, checks of what is read, misplaced records, reports of single orders, controls, clocks, pauses of a
workspace, payloads bounded in memory, the headers of outcomes, metrics, logs and traces. So it is no program to run: it
is what the rest is compared with.

Stock aiokafka would hold it up between transactions, not by work: asked too early after a commit, the broker answers
CONCURRENT_TRANSACTIONS (to records NOT_ENOUGH_REPLICAS), and the producer sleeps for 20 ms, or for `retry_backoff_ms`
(100 by default) with records, and where offsets are its first request. Here both are 3 ms, and offsets come second.

Says when it is connected, answers each line on its standard input with what it has done so far, and ends with it.
"""

import argparse
import asyncio
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from streams.core.job import JobKey
from streams.dev.robot import BATCH_PATH
from streams.faust_hardening.consumer import FETCH_MAX_WAIT_MS
from streams.faust_hardening.transactions import shorten_transaction_backoff
from streams.names import Topic, changelog_topic
from tests.benchmarks.limit_table import Claim, Job, Table, encode
from tests.benchmarks.lines import say

RETRY_BACKOFF_MS = 3
# Batches of records and answers that wait for the next transaction; reading stands still when it is full.
QUEUE_MAX = 256
SOURCES = (Topic.SUBMITTED, Topic.BATCH_COMPLETED)
JSON = {"Content-Type": "application/json"}


class Limit:
    """The loop. `group` is the consumer's, and its changelog is named after it."""

    def __init__(self, producer: AIOKafkaProducer, table: Table, robot_url: str, group: str) -> None:
        self.transactions = 0
        self._producer = producer
        self._table = table
        self._url = f"{robot_url}{BATCH_PATH}"
        self._group = group
        self._changelog = changelog_topic(group)
        self._came: asyncio.Queue[list[ConsumerRecord] | JobKey] = asyncio.Queue(QUEUE_MAX)

    async def run(self, consumer: AIOKafkaConsumer, session: aiohttp.ClientSession) -> None:
        """Run until it is cancelled, or anything fails."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(consumer))
            while True:
                came = [await self._came.get()]
                while not self._came.empty():
                    came.append(self._came.get_nowait())
                for claim in await self._step(came):
                    tasks.create_task(self._call(session, claim))

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                await self._came.put(records)

    async def _call(self, session: aiohttp.ClientSession, claim: Claim) -> None:
        async with session.post(self._url, data=claim.body, headers=JSON) as answer:
            answer.raise_for_status()
            await answer.read()
        await self._came.put(claim.key)

    async def _step(self, came: list[list[ConsumerRecord] | JobKey]) -> list[Claim]:
        """Run one transaction over what has come; return the calls to be made."""
        now = datetime.now(UTC)
        # Of each job the last row is written; in the order in which they changed.
        changed: dict[JobKey, None] = {}
        outcomes: list[Job] = []
        offsets: dict[TopicPartition, int] = {}
        for item in came:
            if isinstance(item, JobKey):
                changed[self._table.answer(item, now).key] = None
                continue
            offsets[TopicPartition(item[-1].topic, item[-1].partition)] = item[-1].offset + 1
            for record in item:
                if record.topic == Topic.SUBMITTED:
                    job = self._table.submit(record)
                elif (job := self._table.complete(record, now)) is not None:
                    outcomes.append(job)
                if job is not None:
                    changed[job.key] = None
        claims = self._table.claim(now)
        changed |= dict.fromkeys(claim.key for claim in claims)
        await self._commit(self._table.rows(changed), outcomes, offsets)
        return claims

    async def _commit(self, rows: list[Job], outcomes: list[Job], offsets: dict[TopicPartition, int]) -> None:
        await self._producer.begin_transaction()
        deliveries = [await self._send(self._changelog, encode(job.key), job) for job in rows]
        deliveries += [await self._send(Topic.COMPLETED, job.job_id.encode(), job) for job in outcomes]
        if offsets:
            await self._producer.send_offsets_to_transaction(offsets, self._group)
        # aiokafka commits happily without a record that the broker refused.
        await asyncio.gather(*deliveries)
        await self._producer.commit_transaction()
        self.transactions += 1

    async def _send(self, topic: str, key: bytes, job: Job) -> Any:
        return await self._producer.send(topic, encode(job), key, partition=job.source[1])


async def serve(servers: str, group: str, robot_url: str, bound: int) -> None:
    """Run until the standard input ends."""
    shorten_transaction_backoff()
    # The same haste is told at length, as records that are sent again.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        group_id=group,
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, transactional_id=f"{group}-limit", retry_backoff_ms=RETRY_BACKOFF_MS
    )
    connector = aiohttp.TCPConnector(limit=bound)
    async with producer, consumer, aiohttp.ClientSession(connector=connector) as session:
        numbers = sorted(await producer.partitions_for(Topic.SUBMITTED))
        consumer.assign([TopicPartition(topic, number) for topic in SOURCES for number in numbers])
        for source in consumer.assignment():
            await consumer.position(source)
        limit = Limit(producer, Table(bound), robot_url, group)
        running = asyncio.create_task(limit.run(consumer, session))
        say({"connected": True})
        while await asyncio.to_thread(sys.stdin.buffer.readline):
            if running.done():
                break
            say({"transactions": limit.transactions})
        running.cancel()
        await asyncio.wait([running])
        if not running.cancelled():
            running.result()


def main() -> None:
    """Run the limit as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--robot-url", required=True)
    parser.add_argument("--bound", type=int, required=True, help="the most claims without the robot's answer")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.bootstrap_servers, arguments.group, arguments.robot_url, arguments.bound))


if __name__ == "__main__":
    main()
