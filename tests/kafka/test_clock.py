"""A worker whose clock is wrong decides nothing: the broker's time is asked for before a partition is opened."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streams.kafka.partition_log import MAX_CLOCK_SKEW, ClockSkewError, KafkaPartitionLog
from streams.names import changelog_topic
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.records import TopicPartition
from tests.support.scene import Scene

FAR = MAX_CLOCK_SKEW + timedelta(seconds=30)
NEAR = MAX_CLOCK_SKEW - timedelta(seconds=30)


@pytest.mark.parametrize("skew", [FAR, -FAR, -NEAR], ids=["ahead", "behind", "a little behind"])
async def test_a_partition_is_not_opened_by_a_clock_that_is_far_off(
    kafka_bootstrap: str, tmp_path: Path, skew: timedelta
) -> None:
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        options = {"bootstrap_servers": kafka_bootstrap}
        changelog = TopicPartition(changelog_topic(scene.app_id), 0)
        metrics = Metrics()
        log = KafkaPartitionLog(options, scene.app_id, changelog, Journal(metrics), lambda: datetime.now(UTC) + skew)
        try:
            if abs(skew) < MAX_CLOCK_SKEW:
                await log.open()
            else:
                with pytest.raises(ClockSkewError, match="ahead of" if skew > timedelta(0) else "behind"):
                    await log.open()
        finally:
            await log.close()
        shown = metrics.registry.get_sample_value("robot_orchestrator_clock_skew_seconds")
        assert shown == pytest.approx(skew.total_seconds(), abs=20)
