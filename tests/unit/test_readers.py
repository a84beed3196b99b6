"""The consumers for reads beside the group's own, without a broker."""

import gc

import pytest
from aiokafka.errors import KafkaError

from streams.kafka.consumer import Consumer
from streams.kafka.readers import Readers
from tests.support.builders import NOWHERE


def consumers() -> int:
    gc.collect()
    return sum(isinstance(one, Consumer) for one in gc.get_objects())


async def test_a_consumer_that_could_not_connect_is_not_kept() -> None:
    """In an outage each attempt makes one."""
    readers, before = Readers(bootstrap_servers=NOWHERE), consumers()
    for _ in range(3):
        with pytest.raises(KafkaError):
            await readers.start()
    assert consumers() <= before
    await readers.stop()
