"""A worker in which one stock part is back: `python -m tests.hardening.stock_worker HALF PATCH...`.

HALF is `patched` or `stock`. In both, what makes the patch's window wide is there, so that the scenario is the
same; only in `stock` is the patch taken out. Everything else is production's.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any

import faust
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.channels import Channel
from faust.tables.manager import TableManager
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer

from streams.app import OrchestratorApp, build_app
from streams.engine.claims import Claim
from streams.engine.holes import HoleCheck
from streams.engine.worker import Worker
from streams.faust_hardening import DurableChannel, HardenedApp, HardenedWorker
from streams.faust_hardening.consumer import HardenedConsumer, HardenedConsumerThread
from streams.names import DISPATCH_AGENT, SOURCE_TOPICS
from streams.settings import WorkerSettings, load_settings
from streams.telemetry.logging import configure_logging
from streams.wire.records import SourceRecord

# Job ids that begin with this are held back or crash, as the scenario is.
MARKED = "marked-"
WORKING_FOLDER = "STOCK_WORKER_FOLDER"


class Half(StrEnum):
    """Whether the patch is in."""

    PATCHED = "patched"
    STOCK = "stock"


class Patch(StrEnum):
    """What can be taken out."""

    RECOVERY = "recovery"
    STUCK_SEEK = "stuck_seek"
    FLOW = "flow"
    SEEK = "seek"
    OFFSET = "offset"
    ISOLATION = "isolation"
    ASSIGNOR = "assignor"
    CHANNEL = "channel"
    CRASH = "crash"
    POLL_INTERVAL = "poll_interval"
    METADATA_AGE = "metadata_age"
    DIRECTORIES = "directories"
    SIGUSR2 = "sigusr2"
    MEMORY = "memory"


Change = Callable[[OrchestratorApp], None]
Deliver = Callable[[SourceRecord, Callable[[], None]], Any]


def _replace(owner: Any, name: str, part: Any) -> None:
    setattr(owner, name, part)


def _nothing(_app: OrchestratorApp) -> None:
    pass


def _around_deliveries(change: Callable[[Deliver], Deliver]) -> None:
    real = Worker.deliver

    async def deliver(worker: Worker, record: SourceRecord, acknowledge: Callable[[], None]) -> None:
        await change(partial(real, worker))(record, acknowledge)

    _replace(Worker, "deliver", deliver)


def _is_marked(record: SourceRecord) -> bool:
    return MARKED.encode() in (record.value or b"")


def _rebalances_overlap(app: OrchestratorApp) -> None:
    """Let the offsets of the second rebalance be set in the midst of the third, and those of the third take a while.

    That is how it is with a broker that is slow to answer, and a member that is slow to join. The agents are busy.
    """
    seeking: list[bool] = []
    perform_seek, join = HardenedConsumer.perform_seek, GroupCoordinator._do_rejoin_group

    async def slow_seek(self: HardenedConsumer) -> None:
        rebalance = app.rebalancing_count
        seeking.append(True)
        await perform_seek(self)
        while rebalance == 2 and app.rebalancing_count == 2:
            await asyncio.sleep(0.05)
        if rebalance > 1:
            await asyncio.sleep(1.5)
        seeking.pop()

    async def slow_join(self: GroupCoordinator, subscription: Any) -> Any:
        while seeking:
            await asyncio.sleep(0.05)
        if app.rebalancing_count > 2:
            await asyncio.sleep(0.5)
        return await join(self, subscription)

    def change(deliver: Deliver) -> Deliver:
        async def slow_deliver(record: SourceRecord, acknowledge: Callable[[], None]) -> None:
            await asyncio.sleep(0.5 if seeking else 0)
            await deliver(record, acknowledge)

        return slow_deliver

    _replace(HardenedConsumer, "perform_seek", slow_seek)
    _replace(GroupCoordinator, "_do_rejoin_group", slow_join)
    _around_deliveries(change)


def _stock_recovery(app: OrchestratorApp) -> None:
    _replace(app.conf, "TableManager", TableManager)


def _seek_hangs(app: OrchestratorApp) -> None:
    # Not below the session time-out of the scenes.
    app.conf.broker_request_timeout = 3.5

    async def hanging(_self: HardenedConsumer) -> None:
        await asyncio.Event().wait()

    _replace(HardenedConsumer, "perform_seek", hanging)


def _look_begins_in_a_rebalance(app: OrchestratorApp) -> None:
    """Let a look for records begin before the partitions are paused, and find some when the offsets are set."""
    looking, sought, found = asyncio.Event(), asyncio.Event(), asyncio.Event()
    on_rebalance, perform_seek = app.agents.on_rebalance, HardenedConsumer.perform_seek
    getmany = HardenedConsumerThread.getmany

    async def waits_for_look(revoked: Any, newly_assigned: Any) -> None:
        if newly_assigned:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(looking.wait(), 3)
        await on_rebalance(revoked, newly_assigned)

    async def look(self: HardenedConsumerThread, active: Any, timeout: float) -> Any:
        if found.is_set():
            return await getmany(self, active, timeout)
        looking.set()
        await sought.wait()
        while not (records := await getmany(self, active, timeout)):
            pass
        found.set()
        return records

    async def seek(self: HardenedConsumer) -> None:
        await perform_seek(self)
        sought.set()
        if looking.is_set():
            await found.wait()

    _replace(app.agents, "on_rebalance", waits_for_look)
    _replace(HardenedConsumerThread, "getmany", look)
    _replace(HardenedConsumer, "perform_seek", seek)


def _stock_flow(_app: OrchestratorApp) -> None:
    _replace(HardenedConsumer, "on_partitions_revoked", Consumer.on_partitions_revoked)


def _look_ends_in_a_rebalance(app: OrchestratorApp) -> None:
    """Let a look from before the second rebalance find something before the offsets are set."""
    found = asyncio.Event()
    getmany, perform_seek = HardenedConsumerThread.getmany, HardenedConsumer.perform_seek

    async def long_look(self: HardenedConsumerThread, active: Any, _timeout: float) -> Any:
        records = await getmany(self, active, 30)
        found.set()
        return records

    async def late_seek(self: HardenedConsumer) -> None:
        if app.rebalancing_count > 1:
            await found.wait()
        await perform_seek(self)

    _replace(HardenedConsumerThread, "getmany", long_look)
    _replace(HardenedConsumer, "perform_seek", late_seek)


def _stock_seek(_app: OrchestratorApp) -> None:
    stock = AIOKafkaConsumerThread.seek_to_committed
    _replace(HardenedConsumerThread, "seek_to_committed", stock)


def _marked_stay_in_flight(_app: OrchestratorApp) -> None:
    """Work on marked records for ever; the ledger, which would notice that they are missing, does not look."""
    in_flight: list[Callable[[], None]] = []

    def change(deliver: Deliver) -> Deliver:
        async def holding(record: SourceRecord, acknowledge: Callable[[], None]) -> None:
            if _is_marked(record):
                in_flight.append(acknowledge)
            else:
                await deliver(record, acknowledge)

        return holding

    async def no_look(_self: HoleCheck, _records: Any, _now: datetime) -> bool:
        return True

    _around_deliveries(change)
    _replace(HoleCheck, "check", no_look)


def _stock_offset(_app: OrchestratorApp) -> None:
    _replace(HardenedConsumer, "_new_offset", Consumer._new_offset)


def _stock_consumer_setting(name: str) -> Change:
    """Return what gives the group's consumer a setting as stock Faust makes it."""

    def change(_app: OrchestratorApp) -> None:
        hardened = HardenedConsumerThread._create_worker_consumer

        def create(self: HardenedConsumerThread, transport: Any) -> Any:
            stock = AIOKafkaConsumerThread._create_worker_consumer(self, transport)
            consumer = hardened(self, transport)
            setattr(consumer, name, getattr(stock, name))
            return consumer

        _replace(HardenedConsumerThread, "_create_worker_consumer", create)

    return change


def _claims_wait_for_a_rebalance(app: OrchestratorApp) -> None:
    """Keep claims in the channel until a rebalance is over."""
    rebalanced = asyncio.Event()

    async def dispatch(stream: faust.Stream[Claim]) -> None:
        async for claim in stream:
            await rebalanced.wait()
            app.worker.call(claim)

    async def completed(_app: Any, **_kwargs: Any) -> None:
        if app.rebalancing_count > 1:
            rebalanced.set()

    agents = {agent.name.rpartition(".")[2]: agent for agent in app.agents.values()}
    _replace(agents[DISPATCH_AGENT], "fun", dispatch)
    app.on_rebalance_complete.connect(completed)  # type: ignore[arg-type] # as in streams/app.py


def _stock_channel(_app: OrchestratorApp) -> None:
    _replace(DurableChannel, "queue", Channel.queue)


def _crash_at_marked(app: OrchestratorApp) -> None:
    """Let Faust's consumer crash while a marked record is being worked on."""

    def change(deliver: Deliver) -> Deliver:
        async def crashing(record: SourceRecord, acknowledge: Callable[[], None]) -> None:
            if _is_marked(record):
                await app.consumer.crash(RuntimeError("crashed on purpose"))
                await asyncio.sleep(1)
            await deliver(record, acknowledge)

        return crashing

    _around_deliveries(change)


def _stock_crash(_app: OrchestratorApp) -> None:
    _replace(HardenedApp, "_crash", faust.App._crash)


def _scaled_poll_interval(app: OrchestratorApp) -> None:
    """Faust's default, 1,000 s, as 2 s."""
    app.conf.broker_max_poll_interval = 2


def _first_metadata_request_fails(_app: OrchestratorApp) -> None:
    update = AIOKafkaClient._metadata_update
    failed: list[bool] = []

    async def failing(self: AIOKafkaClient, cluster: Any, topics: Any) -> Any:
        if not failed and set(SOURCE_TOPICS) == set(topics or ()):
            failed.append(True)
            return False
        return await update(self, cluster, topics)

    _replace(AIOKafkaClient, "_metadata_update", failing)


def _stock_metadata_age(app: OrchestratorApp) -> None:
    app.conf.consumer_metadata_max_age_ms = faust.Settings.SETTINGS["consumer_metadata_max_age_ms"].default


def _in_a_folder_of_its_own(_app: OrchestratorApp) -> None:
    os.chdir(os.environ[WORKING_FOLDER])


def _stock_directories(_app: OrchestratorApp) -> None:
    _replace(HardenedApp, "_create_directories", faust.App._create_directories)


def _input_that_nobody_gives(_app: OrchestratorApp) -> None:
    """Let standard input be open, as in a container that was given one."""
    reading, _writing = os.pipe()
    os.dup2(reading, sys.stdin.fileno())


def _stock_sigusr2(_app: OrchestratorApp) -> None:
    _replace(HardenedWorker, "_on_sigusr2", faust.Worker._on_sigusr2)


def _stock_reading(_app: OrchestratorApp) -> None:
    _replace(HardenedConsumer, "_getmany", Consumer._getmany)
    _replace(HardenedConsumerThread, "_fetch_records", AIOKafkaConsumerThread._fetch_records)


# Of each patch: what makes its window wide, and what takes it out.
CHANGES: dict[Patch, tuple[Change, Change]] = {
    Patch.RECOVERY: (_rebalances_overlap, _stock_recovery),
    Patch.STUCK_SEEK: (_seek_hangs, _stock_recovery),
    Patch.FLOW: (_look_begins_in_a_rebalance, _stock_flow),
    Patch.SEEK: (_look_ends_in_a_rebalance, _stock_seek),
    Patch.OFFSET: (_marked_stay_in_flight, _stock_offset),
    Patch.ISOLATION: (_nothing, _stock_consumer_setting("_isolation_level")),
    Patch.ASSIGNOR: (_nothing, _stock_consumer_setting("_partition_assignment_strategy")),
    Patch.CHANNEL: (_claims_wait_for_a_rebalance, _stock_channel),
    Patch.CRASH: (_crash_at_marked, _stock_crash),
    Patch.POLL_INTERVAL: (_nothing, _scaled_poll_interval),
    Patch.METADATA_AGE: (_first_metadata_request_fails, _stock_metadata_age),
    Patch.DIRECTORIES: (_in_a_folder_of_its_own, _stock_directories),
    Patch.SIGUSR2: (_input_that_nobody_gives, _stock_sigusr2),
    Patch.MEMORY: (_nothing, _stock_reading),
}


def main() -> None:
    """Run the worker."""
    half = Half(sys.argv[1])
    settings = load_settings(WorkerSettings)
    configure_logging(settings.log_format, settings.log_level)
    app = build_app(settings)
    app.finalize()
    for patch in sys.argv[2:]:
        widen, take_out = CHANGES[Patch(patch)]
        widen(app)
        if half is Half.STOCK:
            take_out(app)
    HardenedWorker(app, quiet=True, loglevel="INFO").execute_from_commandline()


if __name__ == "__main__":
    main()
