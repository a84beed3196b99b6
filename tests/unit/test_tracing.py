"""Whether traces are asked for, and what is said where they cannot be had."""

import pytest
from structlog.testing import capture_logs

from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.telemetry.otel import OtelTracing
from streams.telemetry.tracing import NO_SPANS, running_tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
GRPC = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}


ROBOT = "http://robot.example/api/crear-pedidos-batch"


@pytest.mark.parametrize(
    ("variables", "recorded", "problem"),
    [
        ({}, False, None),
        ({"OTEL_SERVICE_NAME": "robots", "OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False, None),
        (ENDPOINT, True, None),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True, None),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True, None),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False, None),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "True"}, False, None),
        (ENDPOINT | GRPC | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, True, None),
        (ENDPOINT | GRPC, False, "OTEL_EXPORTER_OTLP_PROTOCOL is grpc, and can be http/protobuf only"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, False, "OTEL_TRACES_EXPORTER is zipkin, and can be otlp or none"),
        *(
            (
                {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
                False,
                "OTEL_EXPORTER_OTLP_ENDPOINT must be an http address without a login or a query",
            )
            for endpoint in ("user:s3cret@127.0.0.1:1", "http://user:s3cret@127.0.0.1:1", "http://127.0.0.1:99999")
        ),
        (
            ENDPOINT | {"OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
            False,
            "the OTEL_* variables cannot be used: max_queue_size",
        ),
    ],
)
async def test_traces_are_recorded_only_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], recorded: bool, problem: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with capture_logs() as lines:
        async with running_tracing(ROBOT, Journal(Metrics())) as tracing:
            assert isinstance(tracing, OtelTracing) is recorded
            assert (tracing is NO_SPANS) is not recorded
    assert [line["event"] for line in lines] == ([] if problem is None else ["settings_warning"])
    assert all(line["problem"].startswith(f"no traces: {problem}") for line in lines)


async def test_the_login_at_a_receiver_is_not_written_down_where_it_is_malformed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in ENDPOINT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "the-login-at-the-receiver")
    async with running_tracing(ROBOT, Journal(Metrics())) as tracing:
        assert isinstance(tracing, OtelTracing)
    assert "the-login" not in caplog.text
