"""The Kafka side: a producer that is made anew when it can do no more."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from schemas.order_reported import OrderReported
from streams.bridge.journal import BridgeJournal
from streams.bridge.server import UnavailableError
from streams.kafka.access import AccessError, Operation, connection_problem, describe_topics
from streams.kafka.admin import admin_client
from streams.kafka.topics import TopicsError, missing_topics
from streams.names import TRACEPARENT, LogEvent, Topic
from streams.settings import BridgeSettings

TOPIC = Topic.ORDER_REPORTED.value
RETRY_SECONDS = 1.0
# A connection that is dead without a word is missed after this, and the record sent again on another.
REQUEST_TIMEOUT_MS = 10_000
CONNECT_SECONDS = 30.0
CLOSE_SECONDS = 5.0
# A producer that is replaced may still deliver what others have given up.
RETIRED_SECONDS = 60.0
# When nothing is delivered for so long, it is looked whether the brokers have moved.
STUCK_SECONDS = 15.0
LOOK_SECONDS = 5.0


@dataclass(eq=False)
class _Line:
    """A producer, how many records it has not delivered yet, and since when that number stands still.

    `gone` is done when it has been given up.
    """

    producer: AIOKafkaProducer
    gone: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    waiting: int = 0
    since: float = 0.0

    @property
    def stuck(self) -> bool:
        """Whether there are records, and nothing has become of any for long."""
        return self.waiting > 0 and time.monotonic() - self.since > STUCK_SECONDS

    @property
    def addresses(self) -> set[tuple[str, int]]:
        """Where it knows brokers."""
        return {(broker.host, broker.port) for broker in self.producer.client.cluster.brokers()}

    def count(self, change: int) -> None:
        """Count a record that was sent, or that something has become of."""
        if change < 0 or not self.waiting:
            self.since = time.monotonic()
        self.waiting += change


class KafkaPublisher:
    """Publishes reports while `run` runs; see Publisher."""

    def __init__(self, settings: BridgeSettings, journal: BridgeJournal) -> None:
        self._settings = settings
        self._options = settings.kafka_client_options()
        self._hold_seconds = settings.bridge_hold_seconds
        self._journal = journal
        self._line: asyncio.Future[_Line] = asyncio.get_running_loop().create_future()
        self._failing = False
        self._retired: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether there is a producer, and no record was given up since it last delivered one."""
        return self._current is not None and not self._failing

    @property
    def _current(self) -> _Line | None:
        return self._line.result() if self._line.done() and self._line.exception() is None else None

    async def publish(self, report: OrderReported, traceparent: str | None = None) -> None:
        """Return when the record is in the log for good; see Publisher."""
        record: dict[str, Any] = {
            "key": report.workspaceId.encode(),
            "value": report.model_dump_json(exclude_none=True).encode(),
            "headers": [] if traceparent is None else [(TRACEPARENT, traceparent.encode())],
        }
        try:
            async with asyncio.timeout(self._hold_seconds):
                while not await self._deliver(record):
                    pass
        except TimeoutError:
            self._failing = True
            raise UnavailableError(f"Kafka did not take it within {self._hold_seconds:g} s") from None

    async def _deliver(self, record: Mapping[str, Any]) -> bool:
        """Try once; return whether the record is in the log.

        Cancelled, it leaves the record with the producer, which goes on trying: at least once is what is promised.
        """
        line = await asyncio.shield(self._line)
        try:
            delivery: asyncio.Future[Any] = await line.producer.send(TOPIC, **record)
        except KafkaTimeoutError:
            # It has no more room: others wait in front.
            return False
        except KafkaError as error:
            self._give_up(line, error)
            return False
        line.count(+1)
        delivery.add_done_callback(lambda done: self._delivered(line, done))
        await asyncio.wait({delivery, line.gone}, return_when=asyncio.FIRST_COMPLETED)
        return delivery.done() and delivery.exception() is None

    def _delivered(self, line: _Line, delivery: asyncio.Future[Any]) -> None:
        line.count(-1)
        if error := delivery.exception():
            # What the producer numbers next leaves a gap that the broker does not take: it can do no more.
            self._give_up(line, error)
        else:
            self._failing = False

    def _give_up(self, line: _Line, error: BaseException | str) -> None:
        if line.gone.done():
            return
        line.gone.set_result(None)
        self._line = asyncio.get_running_loop().create_future()
        self._journal.warning(LogEvent.PRODUCER_REPLACED, error=error if isinstance(error, str) else repr(error))
        retired = asyncio.create_task(_stop(line.producer, RETIRED_SECONDS))
        self._retired.add(retired)
        retired.add_done_callback(self._retired.discard)

    async def run(self) -> None:
        """Keep a producer until cancelled. Raises TopicsError or AccessError if there can be none from the start."""
        try:
            producer = await self._connect(first=True)
        except Exception as error:
            self._line.set_exception(UnavailableError(f"it never began: {error}"))
            # Nobody may be waiting.
            self._line.exception()
            raise
        while True:
            line = _Line(producer)
            self._failing = False
            self._line.set_result(line)
            producer = await self._successor(line)

    async def _successor(self, line: _Line) -> AIOKafkaProducer:
        """Return what takes a line's place when it has been given up, or when it looks for brokers where none are."""
        while True:
            await asyncio.wait({line.gone}, timeout=LOOK_SECONDS)
            if line.gone.done():
                await asyncio.sleep(RETRY_SECONDS)
                return await self._connect()
            if line.stuck and (producer := await self._elsewhere(line)):
                self._give_up(line, "the brokers have other addresses now")
                return producer

    async def _elsewhere(self, line: _Line) -> AIOKafkaProducer | None:
        """Return a producer that has found Kafka where a line does not look for it."""
        try:
            producer = await self._open()
        except (KafkaError, TopicsError, AccessError, TimeoutError):
            return None
        if _Line(producer).addresses.isdisjoint(line.addresses):
            return producer
        await _stop(producer, CLOSE_SECONDS)
        return None

    async def _connect(self, *, first: bool = False) -> AIOKafkaProducer:
        """Return a producer as soon as there can be one."""
        while True:
            try:
                return await self._open()
            except (TopicsError, AccessError) as error:
                if first:
                    raise
                problem = str(error)
            except KafkaConnectionError:
                problem = await connection_problem(self._settings)
            except (KafkaError, TimeoutError) as error:
                problem = str(error) or type(error).__name__
            self._journal.waiting_for_broker(problem)
            await asyncio.sleep(RETRY_SECONDS)

    async def _open(self) -> AIOKafkaProducer:
        """Return a producer that knows the topic. Raises TopicsError, AccessError, a KafkaError or TimeoutError."""
        async with asyncio.timeout(CONNECT_SECONDS):
            await self._check_topic()
            producer = AIOKafkaProducer(
                **self._options, acks="all", enable_idempotence=True, request_timeout_ms=REQUEST_TIMEOUT_MS
            )
            try:
                await producer.start()
                await producer.partitions_for(TOPIC)
            except BaseException:
                await producer.stop()
                raise
            return producer

    async def _check_topic(self) -> None:
        async with admin_client(**self._options) as admin:
            topic = (await describe_topics(admin, [TOPIC])).get(TOPIC)
            if topic is None:
                raise await missing_topics(admin, [TOPIC], self._settings.app_id)
        if not topic.allows(Operation.WRITE):
            raise AccessError((Operation.WRITE, f"topic {TOPIC}"))

    async def close(self) -> None:
        """Deliver what can be delivered, and let go of Kafka."""
        stopping = list(self._retired)
        if self._current is not None:
            stopping.append(asyncio.create_task(_stop(self._current.producer, CLOSE_SECONDS)))
        if stopping:
            await asyncio.wait(stopping, timeout=CLOSE_SECONDS)


async def _stop(producer: AIOKafkaProducer, within_seconds: float) -> None:
    with contextlib.suppress(KafkaError):
        try:
            async with asyncio.timeout(within_seconds):
                await producer.stop()
        except TimeoutError:
            await producer.client.close()
