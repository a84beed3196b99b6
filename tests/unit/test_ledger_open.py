"""What a ledger does at its beginning when the log does not answer."""

from streams.claims import CallSlots, PayloadCache
from streams.journal import Journal
from streams.ledger import Ledger, LedgerConfig
from streams.log import UnreadableError
from streams.metrics import Metrics
from streams.names import SOURCE_TOPICS
from tests.core.builders import DEADLINES, NOW
from tests.simulation.broker import SimulatedBroker, SimulatedPartitionLog, SimulatedReader
from tests.simulation.loop import VirtualTimeLoop
from tests.support.engine import APP, max_bytes

REFUSALS = 3


class ReluctantReader(SimulatedReader):
    """Tells the group's offsets only after it has been asked a few times."""

    refusals = REFUSALS

    async def committed_offsets(self, topic: str) -> dict[int, int]:
        if self.refusals:
            self.refusals -= 1
            raise UnreadableError(topic)
        return await super().committed_offsets(topic)


def test_a_ledger_asks_for_the_group_s_offsets_until_it_is_told() -> None:
    broker = SimulatedBroker(1, lambda: NOW)

    async def io() -> None:
        """There is no way to go."""

    reader = ReluctantReader(broker, io)
    config = LedgerConfig(
        app_id=APP, worker_id="w", partitions=1, jobs_per_workspace=1, deadlines=DEADLINES, max_bytes=max_bytes()
    )
    log = SimulatedPartitionLog(broker, io, APP, 0)
    journal = Journal(Metrics())
    ledger = Ledger(0, config, log, reader, CallSlots(1), PayloadCache(0), lambda _claim: None, journal)
    loop = VirtualTimeLoop()
    loop.run_until_complete(ledger.open(NOW))
    loop.close()
    assert reader.refusals == 0
    assert [ledger.processed(topic) for topic in SOURCE_TOPICS] == [0, 0]
