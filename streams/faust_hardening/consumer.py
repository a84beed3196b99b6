"""Faust's consumer, where it commits too far, drops records, reads what was never committed, too much or too slowly."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import aiokafka
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, Message

from streams.faust_hardening.coroutines import begin
from streams.faust_hardening.fetching import rest_between_fetches
from streams.faust_hardening.main_loop import OnMainLoop

if TYPE_CHECKING:
    from streams.faust_hardening.app import HardenedApp

# While a fetch waits at the broker, aiokafka asks for nothing more from a partition that it leaves out, so this is the
# worst delay of a record. Faust hard-codes 1500. One that leaves out none waits longer: see fetching.py.
FETCH_MAX_WAIT_MS = 50
# Messages handed on and not yet acknowledged, wherever they wait: while there are as many, nothing more is read of a
# partition that has its share of them. Those that have less may bring it to twice as many.
HELD_MAX_BYTES = 64_000_000
# How long is looked for records of these alone: the others go on as soon as there is room again.
LIGHT_LOOK_SECONDS = 0.05
# About the largest record that anybody sends here. A larger one is read as well, beyond the bound above.
RECORD_MAX_BYTES = 5_000_000
# What Python keeps beside the bytes of a record from its fetch to its acknowledgement.
MESSAGE_OVERHEAD = 1_000


class HardenedConsumerThread(OnMainLoop, AIOKafkaConsumerThread):
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

    async def on_start(self) -> None:
        """Connect; of the consumer's parts some are there only then."""
        await super().on_start()
        consumer = cast(HardenedConsumer, self.consumer)
        rest_between_fetches(self._ensure_consumer()._fetcher, lambda: consumer.held)

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

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, list[Any]]:
        """Return what there is room for, and one record at the least; the partitions take turns.

        Faust takes all that was fetched: a fetch of 1 MiB may hold hundreds of megabytes of compressed records, which
        aiokafka unpacks one by one as they are taken.
        """
        found: dict[TP, list[Any]] = {}
        room = cast(HardenedConsumer, self.consumer).room
        fetcher = consumer._fetcher
        # Taken in portions: one record at a time would be slow where records are small.
        while True:
            try:
                records = await super()._fetch_records(
                    consumer, active_partitions, timeout, max_records=max(1, room // RECORD_MAX_BYTES)
                )
            except Exception:
                if not found:
                    raise
                # What has been taken is handed on first; the next look meets the error again.
                break
            if not records:
                break
            for tp, batch in records.items():
                found.setdefault(tp, []).extend(batch)
                room -= sum(map(size_in_memory, batch))
                if tp in fetcher._records:
                    fetcher._records.move_to_end(tp)
            if room <= 0:
                break
            # From here on nothing is waited for, so no rebalance can begin in the midst.
            timeout = 0
        return found

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


def size_in_memory(message: Any) -> int:
    """Return about how many bytes a message takes here, as aiokafka or as Faust has it."""
    size = MESSAGE_OVERHEAD + len(message.key or b"") + len(message.value or b"")
    for name, value in message.headers or ():
        size += len(name) + len(value or b"")
    return size


class HardenedConsumer(Consumer):
    """Commits nothing that is still being worked on, stands still in every rebalance, and reads what there is room for.

    Every message that is handed on is held until it is acknowledged, which its ledger does after the commit of what
    follows from it. For that no ledger needs anything that is yet to be read here, so there is always room again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lowest_in_flight: dict[TP, int] = {}
        self._held: dict[Message, int] = {}
        self._held_bytes = 0
        # The same by the number of the partition: the records of all its topics wait for one table.
        self._held_bytes_of: Counter[int] = Counter()
        self._freed = asyncio.Event()
        self._conductor = cast(Callable[[Message], Coroutine[Any, Any, None]], self.callback)
        self.callback = self._hand_on  # type: ignore[assignment] # what it returns goes to wait_first alone

    @property
    def held(self) -> int:
        """How many messages were handed on and are not acknowledged."""
        return len(self._held)

    @property
    def room(self) -> int:
        """How many bytes of messages may still be read; with nothing in hand it is never 0."""
        return HELD_MAX_BYTES - self._held_bytes

    def _hand_on(self, message: Message) -> Awaitable[None] | None:
        """Hand a message on; return what of that has to wait, None if nothing has."""
        # One from before a rebalance is never worked on, and comes again.
        if message.generation_id == self.app.consumer_generation_id:
            self._held[message] = size = size_in_memory(message)
            self._held_bytes += size
            self._held_bytes_of[message.partition] += size
        return begin(self._conductor(message))

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:
        """Wait as Faust does, unless a message has been handed on already.

        For each message Faust makes four tasks, of which it cancels three: to hand it on, and to wait for a rebalance
        meanwhile and for two ends of the consumer. There is something to wait for only where a worker does not keep up.
        """
        if coros[0] is not None:
            return await super().wait_first(*coros, timeout=timeout)
        for never_begun in coros[1:]:
            never_begun.close()
        return None

    def ack(self, message: Message) -> bool:
        """Mark a message as done, which makes room."""
        size = self._held.pop(message, 0)
        self._held_bytes -= size
        self._held_bytes_of[message.partition] -= size
        if self.room > 0:
            self._freed.set()
        return super().ack(message)

    def resume_flow(self) -> None:
        """Let records flow again, at the end of a rebalance: what was held before it is gone, or comes again."""
        self._held.clear()
        self._held_bytes = 0
        self._held_bytes_of.clear()
        self._unacked_messages.clear()
        super().resume_flow()

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,
    ) -> Any:
        """Look for records if there is room for any; else find nothing, as soon as there is room.

        A partition whose table is being loaded, or that nobody can read now, must not keep the others from theirs.
        """
        if self.room > 0:
            return await super()._getmany(active_partitions, timeout)
        if light := self._below_their_share(active_partitions or set()):
            return await super()._getmany(light, min(timeout, LIGHT_LOOK_SECONDS))
        self._freed.clear()
        await self.wait_first(self._freed.wait(), self.suspend_flow.wait(), timeout=timeout)
        return {}

    def _below_their_share(self, partitions: set[TP]) -> set[TP]:
        """Return the partitions that hold less than if all of them held the same."""
        share = HELD_MAX_BYTES / max(1, len({tp.partition for tp in partitions}))
        return {tp for tp in partitions if self._held_bytes_of[tp.partition] < share}

    @property
    def is_member(self) -> bool:
        """Whether this consumer keeps up its place in the group."""
        return cast(HardenedConsumerThread, self._thread).is_member

    async def _wait_next_records(self, timeout: float) -> Any:
        """Look for records; without partitions wait for a rebalance, which may bring some.

        Stock Faust sleeps for a second then, also when it has just been given partitions.
        """
        if self.flow_active and not self._get_active_partitions():
            await self.wait_first(self.suspend_flow.wait(), timeout=timeout)
            return {}, set()
        return await super()._wait_next_records(timeout)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop the flow in every rebalance.

        Faust does not where a worker has no partitions. When it gets some, records come in before the offsets
        are sought, and are dropped when the queues are cleared; the hole is committed as if it were a gap of
        the log (faust-streaming issue 596 is the same with tables).
        """
        self.stop_flow()
        # Faust forgets what is done and not committed before it commits: it would be read again, and again be a letter.
        await self.wait_empty()
        await super().on_partitions_revoked(revoked)

    async def wait_empty(self) -> None:
        """Let go of what was handed on, and commit what is done; in a rebalance everybody waits for this.

        Stock Faust waits until all of it is done, which may be a minute's work, and collects garbage again and again
        meanwhile. What nobody has begun to work on is read again by whoever has its partition next.
        """
        await cast("HardenedApp", self.app).drop_messages()
        await self.commit_and_end_transactions()

    async def verify_all_partitions_active(self) -> None:
        """Look at no partition: the watchdog does, by the log itself.

        Faust asks aiokafka for the position of each every now and then. Right after a rebalance there is none yet,
        which aiokafka asserts, and that ends the worker.
        """

    def _new_consumer_thread(self) -> HardenedConsumerThread:
        return HardenedConsumerThread(self, loop=self.loop, thread_loop=self.loop, beacon=self.beacon)

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
