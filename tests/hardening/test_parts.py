"""Where the worker as a whole shows nothing that can be waited for: the real part of the library, stock and patched."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from time import monotonic
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import faust
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConcurrentTransactions
from aiokafka.producer import sender
from aiokafka.protocol.fetch import FetchRequest
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.types import TP, Message
from mode.services import Service

from streams.app import build_app
from streams.faust_hardening import HardenedWorker
from streams.faust_hardening.consumer import FETCH_MAX_WAIT_MS, HardenedConsumer, HardenedTransport
from streams.faust_hardening.events import hide_values
from streams.faust_hardening.fetching import ENOUGH_MESSAGES, WHOLE_FETCH_WAIT_MS, rest_between_fetches
from streams.faust_hardening.recovery import OrderedRecovery, OrderedTableManager
from streams.faust_hardening.transactions import shorten_transaction_backoff
from streams.names import Topic
from streams.settings import WorkerSettings
from tests.hardening.side import eventually
from tests.simulation.loop import in_virtual_time
from tests.support.builders import PASSWORD
from tests.support.scene import Scene

SETTINGS = WorkerSettings(  # type: ignore[call-arg] # fields come by their variables' names
    ROBOT_COORDINADORA_URL="http://robot", ROBOT_CALLBACK_SECRET="s", NEXT_PUBLIC_APP_URL="http://app"
)
# Of virtual time.
A_LONG_TIME = 3


def as_installed(name: str) -> Any:
    """Return a module as it is without our patches, beside the one that is in use."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def fetching(consumer: AIOKafkaConsumer) -> list[Any]:
    """Start a consumer of an idle partition; every fetch that it sends is added to what is returned."""
    await consumer.start()
    return fetches_of(consumer)


def fetches_of(consumer: AIOKafkaConsumer) -> list[Any]:
    """Give a consumer that runs an idle partition; every fetch that it sends is added to what is returned."""
    fetches: list[Any] = []
    send = consumer._client.send

    async def counting(node_id: int, request: object, **options: Any) -> Any:
        if type(request).__name__.startswith("Fetch"):
            fetches.append(request)
        return await send(node_id, request, **options)

    consumer._client.send = counting
    consumer.assign([TopicPartition(Topic.SUBMITTED, 0)])
    return fetches


async def test_a_fetch_does_not_wait_long_at_the_broker(one_partition: str, tmp_path: Path) -> None:
    """In the time of one of stock Faust's fetches the hardened consumer sends many: no record waits for its end."""
    async with Scene(one_partition, tmp_path, partitions=1) as scene:
        app = build_app(WorkerSettings(**cast(Any, scene.variables)))
        thread, transport = cast(HardenedConsumer, app.consumer)._thread, cast(HardenedTransport, app.transport)
        stock = AIOKafkaConsumerThread._create_worker_consumer(thread, transport)
        hardened = thread._create_worker_consumer(transport)
        try:
            slow = await fetching(stock)
            await eventually(lambda: slow)
            quick = await fetching(hardened)
            await eventually(lambda: len(slow) >= 3)
            assert len(quick) > 5
        finally:
            await stock.stop()
            await hardened.stop()


async def test_an_idle_worker_s_fetch_waits_long_at_the_broker(one_partition: str, tmp_path: Path) -> None:
    """As the service makes its consumer; what decides it is tested below."""
    async with Scene(one_partition, tmp_path, partitions=1) as scene:
        consumer = cast(HardenedConsumer, build_app(WorkerSettings(**cast(Any, scene.variables))).consumer)
        service = consumer._new_consumer_thread()
        await service.start()
        try:
            fetches = fetches_of(service._ensure_consumer())
            await eventually(lambda: fetches)
            assert {fetch._max_wait_ms for fetch in fetches} == {WHOLE_FETCH_WAIT_MS}
        finally:
            await service.stop()


async def test_the_consumer_has_no_thread_of_its_own(one_partition: str, tmp_path: Path) -> None:
    async def more_threads_with(service: AIOKafkaConsumerThread) -> int:
        before = threading.active_count()
        await service.start()
        try:
            assert service._consumer is not None
            return threading.active_count() - before
        finally:
            await service.stop()

    async with Scene(one_partition, tmp_path, partitions=1) as scene:
        consumer = cast(HardenedConsumer, build_app(WorkerSettings(**cast(Any, scene.variables))).consumer)
        assert await more_threads_with(consumer._new_consumer_thread()) == 0
        assert await more_threads_with(Consumer._new_consumer_thread(consumer)) == 1


async def test_a_look_at_partitions_right_after_a_rebalance_ends_nothing(one_partition: str, tmp_path: Path) -> None:
    async with Scene(one_partition, tmp_path, partitions=1) as scene:
        app = build_app(WorkerSettings(**cast(Any, scene.variables)))
        consumer = cast(HardenedConsumer, app.consumer)
        partition = TP(Topic.SUBMITTED, 0)
        client = consumer._thread._create_worker_consumer(cast(HardenedTransport, app.transport))
        await client.start()
        try:
            # It has been asked for records, and where they begin is not known yet.
            client.assign([TopicPartition(*partition)])
            state = client._subscription.subscription.assignment.state_value(TopicPartition(*partition))
            state.timestamp = round(monotonic() * 1000)
            consumer._thread._consumer = client
            consumer._thread.time_started = monotonic()
            with pytest.raises(AssertionError):
                await Consumer.verify_all_partitions_active(consumer)
            await consumer.verify_all_partitions_active()
        finally:
            await client.stop()


def test_transactions_follow_each_other_quickly() -> None:
    shorten_transaction_backoff()
    answer = SimpleNamespace(errors=[("topic", [(0, ConcurrentTransactions.errno)])])

    def backoff(module: Any) -> float:
        sending = SimpleNamespace(_txn_manager=SimpleNamespace(txn_partitions=set()), _retry_backoff=0.1)
        return float(module.AddPartitionsToTxnHandler(sending, []).handle_response(answer))

    assert backoff(sender) == 0.003
    assert backoff(as_installed("aiokafka.producer.sender")) == 0.02


def seconds_to(start_or_stop: Callable[[], Coroutine[Any, Any, None]]) -> float:
    """Return how long something takes where nothing but waiting takes time."""
    times: list[float] = []

    @in_virtual_time
    async def timed() -> None:
        await start_or_stop()
        times.append(asyncio.get_running_loop().time())

    timed()
    return times[0]


def test_a_start_waits_for_no_tables() -> None:
    def start_of(manager: type[TableManager]) -> Callable[[], Coroutine[Any, Any, None]]:
        async def start() -> None:
            started = manager.__new__(manager)
            app = SimpleNamespace(consumer=SimpleNamespace(assignment=set, pause_partitions=lambda _none: None))
            started.app = cast(Any, app)
            Service.__init__(started)
            started.__dict__ |= {"data": {}, "_changelogs": {}, "_channels": {}, "_recovery": Started()}
            started.__dict__ |= {"_tables_finalized": asyncio.Event(), "_tables_registered": asyncio.Event()}
            await started.on_start()
            assert cast(Any, started.recovery).started
            assert started._tables_registered.is_set()

        return start

    assert seconds_to(start_of(OrderedTableManager)) == 0
    assert seconds_to(start_of(TableManager)) == 1


class Started:
    """A recovery service that says whether it was started."""

    started = False

    async def start(self) -> None:
        self.started = True


async def test_the_end_of_a_rebalance_comes_to_nothing_when_the_next_one_has_begun() -> None:
    """Faust runs the ends one after the other, and one that is slow may let the next one's come too late."""

    async def ended(recovery: type[Recovery], *, late: bool) -> bool:
        app = build_app(SETTINGS)
        app.consumer.assignment = lambda: set()  # type: ignore[method-assign] # there is no broker
        made = recovery(app, app.tables)
        app.rebalancing_count += 1
        await made.on_rebalance(set(), set(), set(), app.consumer_generation_id)
        app.rebalancing_count += late
        try:
            await made._resume_streams(app.consumer_generation_id)
        except RuntimeError:
            # The app was told, and has no worker here.
            return True
        return False

    assert await ended(OrderedRecovery, late=False)
    assert not await ended(OrderedRecovery, late=True)
    assert await ended(Recovery, late=True)


async def test_what_is_done_by_the_beginning_of_a_rebalance_is_committed() -> None:
    """Stock Faust forgets it first."""

    async def committed(revoke: Callable[[HardenedConsumer, set[TP]], Any]) -> list[dict[TP, int]]:
        app = build_app(SETTINGS)
        consumer = cast(HardenedConsumer, app.consumer)
        commits: list[dict[TP, int]] = []

        async def commit(offsets: Mapping[TP, int], **_options: Any) -> bool:
            commits.append(dict(offsets))
            return True

        async def forget(_revoked: set[TP]) -> None:
            await consumer.wait_empty()

        consumer._commit_offsets = cast(Any, commit)  # type: ignore[method-assign] # there is no broker
        consumer._on_partitions_revoked = forget
        place = TP(Topic.SUBMITTED, 0)
        cast(Any, app.topics)._acking_topics.add(place.topic)
        consumer._committed_offset[place] = 41
        message = message_at(41)
        message.incref()
        consumer.ack(message)
        await revoke(consumer, {place})
        return commits

    assert await committed(HardenedConsumer.on_partitions_revoked) == [{TP(Topic.SUBMITTED, 0): 42}]
    assert await committed(Consumer.on_partitions_revoked) == []


def test_a_rebalance_waits_for_no_message_that_nobody_has_begun_with() -> None:
    def rebalance(wait_empty: Callable[[HardenedConsumer], Coroutine[Any, Any, None]]) -> Callable[[], Any]:
        async def begin() -> None:
            consumer = cast(HardenedConsumer, build_app(SETTINGS).consumer)
            commits: list[bool] = []
            consumer.commit = AsyncRecorder(commits)  # type: ignore[method-assign] # there is no broker
            waiting = message_at(41)
            consumer._unacked_messages.add(waiting)
            # Then the worker is told to stop.
            asyncio.get_running_loop().call_later(A_LONG_TIME, consumer._stopped.set)
            await wait_empty(consumer)
            assert commits
            assert waiting in consumer._unacked_messages

        return begin

    assert seconds_to(rebalance(HardenedConsumer.wait_empty)) == 0
    assert seconds_to(rebalance(Consumer.wait_empty)) == A_LONG_TIME


def test_a_worker_without_partitions_notices_at_once_that_it_may_get_some() -> None:
    def look(wait: Callable[[HardenedConsumer, float], Any]) -> Callable[[], Any]:
        async def begin() -> None:
            consumer = cast(HardenedConsumer, build_app(SETTINGS).consumer)
            consumer._active_partitions = set()
            consumer.resume_flow()
            asyncio.get_running_loop().call_later(0.25, consumer.stop_flow)
            assert await wait(consumer, 1) == ({}, set())

        return begin

    assert seconds_to(look(HardenedConsumer._wait_next_records)) == 0.25
    assert seconds_to(look(Consumer._wait_next_records)) == 1


async def test_a_message_is_handed_on_without_a_task() -> None:
    """Of its own, and three that wait for what would interrupt it."""

    async def tasks_of(callback: Callable[[HardenedConsumer, Message], Any], consumer: HardenedConsumer) -> int:
        made: list[object] = []

        def counting(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
            made.append(work)
            return asyncio.Task(work, loop=loop, **options)

        loop = asyncio.get_running_loop()
        loop.set_task_factory(counting)
        try:
            await consumer.wait_first(callback(consumer, message_at(41)), consumer.suspend_flow.wait())
        finally:
            loop.set_task_factory(None)
        return len(made)

    async def conductor(message: Message) -> None:
        handed_on.append(message.offset)

    handed_on: list[int] = []
    consumer = cast(HardenedConsumer, build_app(SETTINGS).consumer)
    consumer._conductor = conductor
    assert await tasks_of(HardenedConsumer._hand_on, consumer) == 0
    assert await tasks_of(lambda consumer, message: consumer._conductor(message), consumer) == 4
    assert handed_on == [41, 41]


async def test_a_message_that_has_to_wait_is_given_up_when_a_rebalance_begins() -> None:
    async def conductor(message: Message) -> None:
        await asyncio.get_running_loop().create_future()
        handed_on.append(message.offset)

    handed_on: list[int] = []
    consumer = cast(HardenedConsumer, build_app(SETTINGS).consumer)
    consumer._conductor = conductor
    waiting = asyncio.create_task(consumer.wait_first(consumer._hand_on(message_at(41)), consumer.suspend_flow.wait()))
    await asyncio.sleep(0)
    consumer.suspend_flow.set()
    await waiting
    assert handed_on == []


@in_virtual_time
async def test_a_fetch_waits_a_little_while_enough_is_here() -> None:
    """And not at all where a message that comes would be worked on at once."""
    assignment = SimpleNamespace(tps=range(256))
    fetch: tuple[Any, ...] = ([(0, SimpleNamespace())], {}, 0.2, False, [])
    nothing_yet: tuple[Any, ...] = ([], {}, pytest.approx(0.0156), False, [])
    here = 0
    fetcher = SimpleNamespace(_get_actions_per_node=lambda _assignment: fetch, _records={})
    rest_between_fetches(fetcher, lambda: here)
    for _ in range(3):
        assert fetcher._get_actions_per_node(assignment) == fetch
    here = ENOUGH_MESSAGES
    await asyncio.sleep(0.01)
    assert fetcher._get_actions_per_node(assignment) == nothing_yet
    await asyncio.sleep(0.016)
    assert fetcher._get_actions_per_node(assignment) == fetch


@pytest.mark.parametrize(
    "left_out", ["none", "one not taken yet", "one without offset", "one without leader", "a paused one"]
)
@in_virtual_time
async def test_a_fetch_waits_long_at_the_broker_only_if_it_leaves_out_no_partition(left_out: str) -> None:
    fetch = FetchRequest(FETCH_MAX_WAIT_MS, 1, 1, 1, [("topic", [(0, 41, 1)])])
    is_out = left_out.__eq__
    actions = (
        [(0, fetch)],
        {0: ["partition"]} if is_out("one without offset") else {},
        0.2,
        is_out("one without leader"),
        ["its resumption"] if is_out("a paused one") else [],
    )
    fetcher = SimpleNamespace(
        _get_actions_per_node=lambda _assignment: actions,
        _records={"partition": "records"} if is_out("one not taken yet") else {},
    )
    rest_between_fetches(fetcher, lambda: 0)
    assert fetcher._get_actions_per_node(SimpleNamespace(tps=range(2))) == actions
    assert fetch._max_wait_ms == (WHOLE_FETCH_WAIT_MS if is_out("none") else FETCH_MAX_WAIT_MS)


def test_no_monitor_counts_and_times_messages() -> None:
    message = message_at(41)
    for app, counted in ((build_app(SETTINGS), None), (faust.App("stock"), 1)):
        app.sensors.add(app.monitor)
        app.sensors.on_message_in(message.tp, message.offset, message)
        assert getattr(app.monitor, "messages_received_total", None) == counted


def message_at(offset: int) -> Message:
    return Message(
        Topic.SUBMITTED, 0, offset, timestamp=0, timestamp_type=0, headers={}, key=b"k", value=b"v", checksum=None
    )


class AsyncRecorder:
    """In the place of a commit: notes that there was one."""

    def __init__(self, calls: list[bool]) -> None:
        self._calls = calls

    async def __call__(self, *_args: Any, **_options: Any) -> bool:
        self._calls.append(True)
        return True


def test_a_process_ends_when_its_services_have() -> None:
    def end_of(worker: type[faust.Worker]) -> Callable[[], Coroutine[Any, Any, None]]:
        return worker.__new__(worker)._sentinel_task

    assert seconds_to(end_of(HardenedWorker)) == 0
    assert seconds_to(end_of(faust.Worker)) == 1


def test_agents_are_not_looked_for_and_nothing_is_adapted_to() -> None:
    """What is left out is a look through every module for each agent, and one at every installed package."""
    app = build_app(SETTINGS)
    mark = "__venusian_callbacks__"
    agents = list(app.agents.values())
    assert len(agents) == 5
    assert [agent for agent in agents if hasattr(agent, mark)] == []
    assert app.fixups == []
    as_installed("faust.utils.venusian").attach(agents[0], category="agent")
    assert hasattr(agents[0], mark)


def test_an_event_does_not_show_its_value() -> None:
    hide_values()
    message = Message(
        "robot.job.submitted", 0, 41, timestamp=0, timestamp_type=0, headers={}, key=b"k", value=b"v", checksum=None
    )
    values = (None, "key", {"password": PASSWORD}, None, message)
    shown = repr(faust.Event(*cast(Any, values)))
    assert PASSWORD not in shown
    assert "offset=41" in shown
    assert PASSWORD in repr(as_installed("faust.events").Event(*values))
