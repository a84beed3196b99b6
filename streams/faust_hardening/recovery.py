"""The end of a rebalance: records flow again only when the offsets are set, and only if it is the end."""

import asyncio
from typing import TYPE_CHECKING, cast

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP

if TYPE_CHECKING:
    from streams.faust_hardening.app import HardenedApp


class StuckConsumerError(Exception):
    """The offsets could not be set in time: going on would lose records."""


class OrderedRecovery(Recovery):
    """Lets records flow again when the offsets are set, unless another rebalance has begun by then.

    Stock Faust lets them flow in the midst of that one: what comes in is dropped when its queues are cleared,
    and the hole is committed as if it were a gap of the log. And when the offsets are not set in time, stock
    Faust never lets records flow again, without a word. It also resumes all that was given to the worker, which cannot
    leave anything of that for later.
    """

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Begin the end of a rebalance, and note of which: the next one cannot begin before this returns."""
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)
        app = cast("HardenedApp", self.app)
        app.assigned_in_rebalance = app.rebalancing_count

    async def _resume_streams(self, generation_id: int = 0) -> None:
        app = cast("HardenedApp", self.app)
        consumer = app.consumer
        rebalance = app.rebalancing_count
        # The end of the last one may have taken so long that the next one has begun before this one's end does.
        if app.assigned_in_rebalance != rebalance or app.consumer_generation_id != generation_id:
            self.log.warning("Another rebalance has begun")
            return
        assignment = consumer.assignment()
        # The worker opens its ledgers on this signal, so they are there before the first record.
        await asyncio.gather(app.on_rebalance_complete.send(), self._seek(assignment))
        if app.rebalancing_count != rebalance or app.consumer_generation_id != generation_id:
            self.log.warning("Another rebalance has begun")
            return
        consumer.resume_partitions(assignment - app.left_for_later)
        self.completed.set()
        # This clears the queues; from here on records may arrive.
        app.flow_control.resume()
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()

    async def _seek(self, assignment: set[TP]) -> None:
        """Set the offsets. Raises StuckConsumerError if that takes too long."""
        app = cast("HardenedApp", self.app)
        if assignment:
            try:
                async with asyncio.timeout(app.conf.broker_request_timeout):
                    await self._wait(app.consumer.perform_seek())
            except TimeoutError as error:
                raise StuckConsumerError from error


class OrderedTableManager(TableManager):
    """Hands out the recovery service above; there are no tables in this app."""

    async def on_start(self) -> None:
        """Let the topics be subscribed to. Faust first waits a second for tables that may yet be added."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()

    @property
    def recovery(self) -> Recovery:
        """The recovery service, made on first use."""
        if self._recovery is None:
            self._recovery = OrderedRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
