"""Consumers for reads beside the group's own: a read that is not over keeps its consumer, and what is on its way."""

from collections import OrderedDict
from typing import Any

from aiokafka import TopicPartition

from streams.kafka.consumer import Consumer

# Reads that are not over at once; beyond it the one that has waited longest begins anew.
MOST_PLACES = 8


class Readers:
    """Hands out connected consumers, each for one place at a time. Not for concurrent use of one place."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._all: list[Consumer] = []
        self._idle: list[Consumer] = []
        self._kept: OrderedDict[TopicPartition, Consumer] = OrderedDict()

    async def start(self) -> None:
        """Connect the first consumer. Raises a KafkaError."""
        self._idle.append(await self._connect())

    async def stop(self) -> None:
        """Disconnect."""
        for consumer in self._all:
            await consumer.stop()

    async def take(self, place: TopicPartition, start: int) -> Consumer:
        """Return a consumer that stands at the offset, or at the first one behind it that is still there."""
        consumer = self._kept.pop(place, None)
        kept = consumer is not None
        if consumer is None:
            consumer = self._idle.pop() if self._idle else await self._connect()
            consumer.assign([place])
        try:
            # What is on its way already is not asked for again: over a slow line that would be all that ever comes.
            if not kept or await consumer.position(place) != start:
                await self.seek(consumer, place, start)
        except BaseException:
            self._idle.append(consumer)
            raise
        return consumer

    def give_back(self, consumer: Consumer, place: TopicPartition, *, goes_on: bool) -> None:
        """Take a consumer back; `goes_on`: its read is not over."""
        if goes_on:
            self._kept[place] = consumer
            if len(self._kept) > MOST_PLACES:
                _, longest = self._kept.popitem(last=False)
                self._idle.append(longest)
            return
        # Or it would go on fetching.
        consumer.pause(place)
        self._idle.append(consumer)

    @staticmethod
    async def seek(consumer: Consumer, place: TopicPartition, start: int) -> int:
        """Go to an offset, or to the first one behind it that is still there; return it."""
        position: int = max(start, (await consumer.beginning_offsets([place]))[place])
        consumer.seek(place, position)
        return position

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where partitions begin. Raises a KafkaError."""
        offsets: dict[TopicPartition, int] = await self._all[0].beginning_offsets(places)
        return offsets

    async def _connect(self) -> Consumer:
        consumer = Consumer(**self._options, enable_auto_commit=False, auto_offset_reset="none")
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        self._all.append(consumer)
        return consumer
