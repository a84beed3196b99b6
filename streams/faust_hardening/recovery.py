"""The end of a rebalance: nothing may be fetched before the queues have been cleared and the offsets set."""

from typing import cast

import faust
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery

from streams.faust_hardening.consumer import HardenedConsumer

# A look for records ends within a quarter of a second; a consumer that still has not come to rest by then never will.
STAND_STILL_SECONDS = 20.0


class StuckConsumerError(Exception):
    """The consumer does not stop fetching, so no offset can be set without losing records."""


class OrderedRecovery(Recovery):
    """Waits until nothing is fetched, then seeks, then lets records flow; stock Faust does it the other way round.

    In the stock order records that arrive while the seek is out are dropped when flow control clears the
    queues, and the hole is committed as if it were a gap of the log (faust-streaming issue 596). Records
    that a look from before the rebalance finds are dropped too (see HardenedConsumer).
    """

    async def _resume_streams(self, generation_id: int = 0) -> None:
        app = cast(faust.App, self.app)
        consumer = cast(HardenedConsumer, app.consumer)
        # The worker opens its ledgers on this signal, so they are there before the first record.
        await app.on_rebalance_complete.send()
        if app.consumer_generation_id != generation_id:
            self.log.warning("Another rebalance has begun")
            return
        if app._fetcher.started:
            await self._wait(consumer.standing_still.wait(), timeout=STAND_STILL_SECONDS)
            if not consumer.standing_still.is_set():
                raise StuckConsumerError
        if assignment := consumer.assignment():
            await self._wait(consumer.perform_seek(), timeout=app.conf.broker_request_timeout)
            consumer.resume_partitions(assignment)
        self.completed.set()
        # This clears the queues; from here on records may arrive.
        app.flow_control.resume()
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()


class OrderedTableManager(TableManager):
    """Hands out the recovery service above; there are no tables in this app."""

    @property
    def recovery(self) -> Recovery:
        """The recovery service, made on first use."""
        if self._recovery is None:
            self._recovery = OrderedRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
