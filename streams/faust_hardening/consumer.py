"""Faust's consumer, where it commits too far, drops records, reads what was never committed or is too slow."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import aiokafka
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

# While a fetch waits at the broker, aiokafka asks for nothing more from a partition it has just delivered,
# so this is the worst delay of a record. Faust hard-codes 1500.
FETCH_MAX_WAIT_MS = 50


class HardenedConsumerThread(AIOKafkaConsumerThread):
    """Reads only what was committed, promptly, with an assignor that keeps equal partition numbers together."""

    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Set before the consumer starts, which is when it makes its fetcher and coordinator from them.
        # Without tables Faust picks round-robin, which parts submissions from their completions.
        self._assignor = self.app.assignor
        consumer._partition_assignment_strategy = [self._assignor]
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        return consumer

    @property
    def is_member(self) -> bool:
        """Whether this consumer keeps up its place in the group.

        aiokafka hands an error of its coordination to whoever asks for records next, and does nothing more until
        then. Faust does not ask without partitions, so a worker in reserve would be out of the group unnoticed.
        """
        coordinator = self._consumer and self._consumer._coordinator
        return (
            coordinator is not None
            and coordinator.generation > 0
            and coordinator._pending_exception is None
            and not coordinator._coordination_task.done()
        )

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every partition to the offset that its group has committed, or to its beginning."""
        committed: Mapping[TP, int] = await self.call_thread(seek_to_committed, self._ensure_consumer())
        return committed


async def seek_to_committed(consumer: aiokafka.AIOKafkaConsumer) -> Mapping[TP, int]:
    """Seek as aiokafka does, and those too that it leaves where they are: with nothing committed, or 0.

    A look for records that began before a rebalance ends in it: what it has found is dropped, and must come again.
    """
    if not consumer.assignment():
        return {}
    committed: dict[TP, int] = await consumer.seek_to_committed()
    if unmoved := [tp for tp, offset in committed.items() if not offset or offset < 0]:
        await consumer.seek_to_beginning(*unmoved)
    return committed


class HardenedConsumer(Consumer):
    """Never commits past a record that is still being worked on, and stands still in every rebalance."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lowest_in_flight: dict[TP, int] = {}

    @property
    def is_member(self) -> bool:
        """Whether this consumer keeps up its place in the group."""
        return cast(HardenedConsumerThread, self._thread).is_member

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop the flow in every rebalance.

        Faust does not where a worker has no partitions. When it gets some, records come in before the offsets
        are sought, and are dropped when the queues are cleared; the hole is committed as if it were a gap of
        the log (faust-streaming issue 596 is the same with tables).
        """
        self.stop_flow()
        await super().on_partitions_revoked(revoked)

    def _new_consumer_thread(self) -> HardenedConsumerThread:
        return HardenedConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        self._lowest_in_flight = {}
        for message in self._unacked_messages:
            if not message.acked:
                lowest = self._lowest_in_flight.get(message.tp, message.offset)
                self._lowest_in_flight[message.tp] = min(lowest, message.offset)
        return super()._filter_committable_offsets(tps)

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset to commit: that of the lowest unfinished record, else the one behind the last finished.

        Stock Faust passes over one unacknowledged record at the head, and over any number as long as nothing
        was committed (faust-streaming issue 606, open; its fix is PR 707). And it never commits again once
        more than one offset behind the very first record of a partition holds none. It tries to tell gaps
        of the log from records that were lost; the ledger has done that before it acknowledges anything.
        """
        acked = self._acked[tp]
        if not acked:
            return None
        offset = self._lowest_in_flight.get(tp, max(acked) + 1)
        finished = {number for number in acked if number < offset}
        if not finished:
            return None
        acked[:] = [number for number in acked if number >= offset]
        self._acked_index[tp] -= finished
        self._gap.pop(tp, None)
        return offset


class HardenedTransport(Transport):
    """The transport that makes these consumers."""

    Consumer = HardenedConsumer
