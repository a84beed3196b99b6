"""What a ledger does at its beginning when the log does not answer."""

from streams.engine.ledger import Ledger
from streams.engine.ports import UnreadableError
from streams.names import SOURCE_TOPICS
from tests.core.builders import NOW
from tests.simulation.broker import SimulatedBroker, SimulatedPartitionLog, SimulatedReader
from tests.simulation.loop import in_virtual_time
from tests.support.engine import APP, rules_of, shared_by

REFUSALS = 3


class ReluctantReader(SimulatedReader):
    """Tells the group's offsets only after it has been asked a few times."""

    refusals = REFUSALS

    async def committed_offsets(self, topic: str) -> dict[int, int]:
        if self.refusals:
            self.refusals -= 1
            raise UnreadableError(topic)
        return await super().committed_offsets(topic)


@in_virtual_time
async def test_a_ledger_asks_for_the_group_s_offsets_until_it_is_told() -> None:
    broker = SimulatedBroker(1, lambda: NOW)

    async def io() -> None:
        """There is no way to go."""

    reader = ReluctantReader(broker, io)
    ledger = Ledger(0, SimulatedPartitionLog(broker, io, APP, 0), shared_by(rules_of(), reader, lambda _claim: None))
    await ledger.open(NOW)
    assert reader.refusals == 0
    assert [ledger.processed(topic) for topic in SOURCE_TOPICS] == [0, 0, 0, 0]
