"""Spans as OpenTelemetry records and exports them, in the background. Needs the extra `[otel]`."""

import logging
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from streams.core.job import Job, JobKey
from streams.names import TRACEPARENT
from streams.telemetry.tracing import Span, Tracing
from streams.version import DISTRIBUTION, version
from streams.wire.records import NewRecord, SourceRecord
from streams.wire.trace_context import traceparent_of

Attributes = dict[str, str | int]

# Attributes that are no convention's.
JOB_ID, WORKSPACE_ID = "robot.job.id", "robot.workspace.id"
JOB_STATUS, JOB_REASON = "robot.job.status", "robot.job.reason"

_W3C = TraceContextTextMapPropagator()


class OtelSpan(Span):
    """A span that is recorded, if it is ended and sampled."""

    def __init__(self, span: trace.Span) -> None:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, set_span_in_context(span))
        super().__init__(carrier.get(TRACEPARENT))
        self._span = span

    def end(self, http_status: int | None = None, *, error: str | None = None) -> None:
        """Say that it is done; see Span."""
        if http_status is not None:
            self._span.set_attribute("http.response.status_code", http_status)
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class OtelTracing(Tracing):
    """Begins spans with a provider. Names and attributes are those of OpenTelemetry's semantic conventions."""

    def __init__(self, provider: TracerProvider, robot_endpoint: str) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(DISTRIBUTION, version())
        robot = urlsplit(robot_endpoint)
        self._call_name = f"POST {robot.path}"
        self._call: Attributes = {
            "http.request.method": "POST",
            "url.full": robot_endpoint,
            "server.address": robot.hostname or "",
            "server.port": robot.port or (443 if robot.scheme == "https" else 80),
        }

    def process(self, record: SourceRecord, key: JobKey, traceparent: str | None) -> Span:
        """Begin to take in a record of a job; see Tracing."""
        own = traceparent_of(record.headers)
        links = () if own in (None, traceparent) else (Link(get_current_span(_context(own)).get_span_context()),)
        attributes = _messaging("process", record) | {"messaging.kafka.offset": record.offset} | _ids(key)
        return self._begin(f"process {record.topic}", SpanKind.CONSUMER, traceparent, attributes, links)

    def call(self, job: Job) -> Span:
        """Begin a job's POST."""
        return self._begin(self._call_name, SpanKind.CLIENT, job.traceparent, self._call | _ids(job.key))

    def send(self, record: NewRecord, job: Job) -> Span:
        """Begin to write a record that tells others of a job."""
        attributes = _messaging("send", record) | _ids(job.key) | {JOB_STATUS: job.status.value}
        if job.reason is not None:
            attributes[JOB_REASON] = job.reason.value
        return self._begin(f"send {record.topic}", SpanKind.PRODUCER, job.traceparent, attributes)

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()

    def _begin(
        self, name: str, kind: SpanKind, traceparent: str | None, attributes: Attributes, links: tuple[Link, ...] = ()
    ) -> Span:
        return OtelSpan(self._tracer.start_span(name, _context(traceparent), kind, attributes, links))


def exported_tracing(robot_endpoint: str) -> OtelTracing:
    """Return what exports its spans as OpenTelemetry's variables say. Raises whatever these make the SDK raise."""
    # It quotes a header that it cannot read, which may be the login of the receiver.
    logging.getLogger("opentelemetry.util.re").setLevel(logging.CRITICAL)
    ours = Resource({"service.name": DISTRIBUTION, "service.version": version()})
    resource = Resource.create().merge(ours).merge(OTELResourceDetector().detect())
    # The SDK would wait at the end of the process for a receiver that is away.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OtelTracing(provider, robot_endpoint)


def _context(traceparent: str | None) -> Context:
    """Return the context of a span's parent; an empty one begins a trace."""
    return _W3C.extract({} if traceparent is None else {TRACEPARENT: traceparent})


def _messaging(operation: str, record: SourceRecord | NewRecord) -> Attributes:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
    }


def _ids(key: JobKey) -> Attributes:
    return {JOB_ID: key.job_id, WORKSPACE_ID: key.workspace_id}
