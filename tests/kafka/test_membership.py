"""Whether a consumer keeps up its place in the group: what nobody would notice in a worker without partitions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiokafka
import pytest
from aiokafka.errors import GroupAuthorizationFailedError

from streams.faust_hardening.consumer import HardenedConsumerThread
from streams.names import Topic
from tests.support.scene import WAIT_SECONDS, Scene


@asynccontextmanager
async def member(bootstrap_servers: str) -> AsyncIterator[HardenedConsumerThread]:
    """Yield the part of a worker that is a member of a group of its own."""
    async with aiokafka.AIOKafkaConsumer(
        Topic.SUBMITTED, bootstrap_servers=bootstrap_servers, group_id="membership"
    ) as consumer:
        thread: HardenedConsumerThread = object.__new__(HardenedConsumerThread)
        thread._consumer = consumer
        async with asyncio.timeout(WAIT_SECONDS):
            while not thread.is_member:
                await asyncio.sleep(0.05)
        yield thread


async def test_an_error_that_waits_for_somebody_to_ask_is_a_lost_membership(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with Scene(kafka_bootstrap, tmp_path), member(kafka_bootstrap) as thread:
        assert thread._consumer is not None
        coordinator = thread._consumer._coordinator
        told = asyncio.ensure_future(coordinator._push_error_to_user(GroupAuthorizationFailedError("membership")))
        await asyncio.sleep(0)
        assert not thread.is_member
        with pytest.raises(GroupAuthorizationFailedError):
            await thread._consumer.getmany()
        assert thread.is_member
        await told


async def test_a_consumer_that_has_left_is_no_member(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with Scene(kafka_bootstrap, tmp_path), member(kafka_bootstrap) as thread:
        assert thread._consumer is not None
        await thread._consumer._coordinator.close()
        assert not thread.is_member
