"""What is shown of a partition while its job table is being loaded."""

import uuid

from aiokafka.admin import NewTopic

from streams.engine.clock import Clock
from streams.kafka.admin import admin_client
from streams.kafka.partition_log import KafkaPartitionLog
from streams.names import changelog_topic
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.records import NewRecord, TopicPartition

ROWS = 10


async def test_what_is_still_to_be_loaded_is_shown_until_the_partition_moves_away(kafka_bootstrap: str) -> None:
    app_id = f"loaded-{uuid.uuid4().hex[:8]}"
    place = TopicPartition(changelog_topic(app_id), 0)
    options, metrics = {"bootstrap_servers": kafka_bootstrap}, Metrics()

    def remaining() -> float | None:
        name = "robot_orchestrator_recovery_remaining_records"
        return metrics.registry.get_sample_value(name, {"partition": "0"})

    async with admin_client(**options) as admin:
        await admin.create_topics([NewTopic(place.topic, 1, 1)])
    former, owner = (KafkaPartitionLog(options, app_id, place, Journal(metrics), Clock().now) for _ in range(2))
    try:
        await former.open()
        await former.commit([NewRecord(*place, b"key", b"row") for _ in range(ROWS)])
        await former.close()
        async for _ in await owner.open():
            assert ROWS <= (remaining() or 0) <= ROWS + 5, "the rows, and some marks and markers"
        assert remaining() == 0
    finally:
        await owner.close()
    assert remaining() is None
