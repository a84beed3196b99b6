"""What /metrics has before anything has happened."""

import pytest
from prometheus_client import generate_latest

from streams.settings import FIELDS
from streams.telemetry.metrics import BridgeMetrics, Metrics, Registry
from streams.version import version

HOUR = 3_600


@pytest.mark.parametrize("metrics", [Metrics("abc1234"), BridgeMetrics("abc1234")], ids=["worker", "bridge"])
def test_every_counter_and_histogram_is_there_with_nothing_and_without_a_time_of_its_own(metrics: Registry) -> None:
    counted = [family for family in metrics.registry.collect() if family.type in ("counter", "histogram")]
    ours = [family for family in counted if family.name.startswith("robot_orchestrator_")]
    assert ours
    for family in ours:
        assert family.samples, family.name
        assert {sample.value for sample in family.samples} == {0}
    text = generate_latest(metrics.registry).decode()
    assert "_created" not in text
    assert f'robot_orchestrator_build_info{{revision="abc1234",version="{version()}"}} 1.0' in text
    assert "process_start_time_seconds" in text


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("dispatch_duration_seconds", FIELDS["robot_timeout_seconds"].default + 1),
        ("submission_to_call_seconds", 12 * HOUR),
        ("deadline_delay_seconds", 12 * HOUR),
        ("job_duration_seconds", 12 * HOUR),
    ],
)
def test_the_buckets_reach_what_is_to_be_expected(name: str, seconds: float) -> None:
    (family,) = (one for one in Metrics().registry.collect() if one.name == f"robot_orchestrator_{name}")
    bounds = {float(sample.labels["le"]) for sample in family.samples if sample.name.endswith("_bucket")}
    assert sorted(bounds)[-2] >= seconds
