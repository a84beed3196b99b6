"""The end of a rebalance: nothing may be fetched before the queues have been cleared and the offsets set."""

from typing import cast

import faust
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery


class OrderedRecovery(Recovery):
    """Resumes flow, then seeks, then resumes the source partitions; stock Faust resumes the partitions first.

    In the stock order records that arrive while the seek is out are dropped when flow control clears the
    queues, and the hole is committed as if it were a gap of the log (faust-streaming issue 596).
    """

    async def _resume_streams(self, generation_id: int = 0) -> None:
        app = cast(faust.App, self.app)
        consumer = app.consumer
        # The worker opens its ledgers on this signal, so they are there before the first record.
        await app.on_rebalance_complete.send()
        if app.consumer_generation_id != generation_id:
            self.log.warning("Another rebalance has begun")
            return
        # This clears the queues; no source partition is being fetched yet.
        app.flow_control.resume()
        consumer.resume_flow()
        if assignment := consumer.assignment():
            await self._wait(consumer.perform_seek(), timeout=app.conf.broker_request_timeout)
            consumer.resume_partitions(assignment)
        self.completed.set()
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
