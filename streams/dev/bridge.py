"""The callback bridge's end in Kafka: one `robot.job.batch_completed` for a batch that has ended."""

import asyncio
import json
import logging
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.dev.batches import BatchCompletion
from streams.names import Topic

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class KafkaBridge:
    """Publishes completions, keyed by workspace, until the broker has them.

    Like any bridge it delivers at least once: a send whose fate is unknown is made again.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._producer.stop()

    async def report(self, completion: BatchCompletion) -> None:
        """Publish the completion; return when it is in the log."""
        value = {
            "jobId": completion.job_id,
            "workspaceId": completion.workspace_id,
            "successCount": completion.success_count,
            "errorCount": completion.error_count,
        }
        key = completion.workspace_id.encode()
        while True:
            try:
                await self._producer.send_and_wait(Topic.BATCH_COMPLETED, json.dumps(value).encode(), key=key)
            except KafkaError as error:
                log.warning("the completion of job %s is sent again: %r", completion.job_id, error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return
