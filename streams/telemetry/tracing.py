"""Spans: what is done for a job, as parts of one trace. Without OpenTelemetry a trace is only passed on."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Mapping

from streams.core.job import Job, JobKey
from streams.names import LogEvent
from streams.settings import SettingsError, is_base_url
from streams.telemetry.journal import Journal
from streams.wire.records import NewRecord, SourceRecord

# What is left when a worker stops is exported within this, or lost.
CLOSE_SECONDS = 5.0
EXTRA = "robot-orchestrator[otel]"

# OpenTelemetry's own variables; all others are left to its SDK.
_OFF = "OTEL_SDK_DISABLED"
_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class Span:
    """Something that is done for a job; what leaves with it has its `traceparent`. This one is recorded nowhere."""

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def end(self, http_status: int | None = None, *, error: str | None = None) -> None:
        """Say that it is done, and in a word what went wrong. One that is never ended is not recorded."""


class Tracing:
    """Begins spans, each as a part of a trace, or of a new one without. Here none is recorded, and none is new."""

    def process(self, record: SourceRecord, key: JobKey, traceparent: str | None) -> Span:
        """Begin to take in a record of a job; if that one's trace is not the record's own, the two are linked."""
        return Span(traceparent)

    def call(self, job: Job) -> Span:
        """Begin a job's POST."""
        return Span(job.traceparent)

    def send(self, record: NewRecord, job: Job) -> Span:
        """Begin to write a record that tells others of a job."""
        return Span(job.traceparent)

    def close(self) -> None:
        """Export what is left. It may take long, and is called in a thread of its own."""


NO_SPANS = Tracing()


@contextlib.asynccontextmanager
async def running_tracing(robot_endpoint: str, journal: Journal) -> AsyncIterator[Tracing]:
    """Yield what begins spans, which are exported if OpenTelemetry's variables ask for it.

    What is wrong with these is a warning: a job needs no trace, and other programs may share them.
    """
    try:
        tracing = _tracing_of(os.environ, robot_endpoint)
    except SettingsError as error:
        journal.warning(LogEvent.SETTINGS_WARNING, problem=f"no traces: {error}")
        tracing = NO_SPANS
    try:
        yield tracing
    finally:
        await _close(tracing)


def _tracing_of(variables: Mapping[str, str], robot_endpoint: str) -> Tracing:
    """Return what these variables ask for. Raises SettingsError."""
    exporter = variables.get(_EXPORTER)
    asked = exporter or any(map(variables.get, _ENDPOINTS))
    if not asked or exporter == "none" or variables.get(_OFF, "").lower() == "true":
        return NO_SPANS
    if exporter not in (None, "", "otlp"):
        raise SettingsError(f"{_EXPORTER} is {exporter}, and can be otlp or none")
    for name in _ENDPOINTS:
        if (endpoint := variables.get(name)) and not is_base_url(endpoint):
            # The exporter would quote it at each export, with the login that may be in it.
            raise SettingsError(f"{name} must be an http address without a login or a query")
    name, protocol = next(((name, value) for name in _PROTOCOLS if (value := variables.get(name))), ("", None))
    if protocol not in (None, "http/protobuf"):
        raise SettingsError(f"{name} is {protocol}, and can be http/protobuf only")
    try:
        from streams.telemetry.otel import exported_tracing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise SettingsError(f"they need an extra: install {EXTRA}") from None
    try:
        return exported_tracing(robot_endpoint)
    except Exception as error:
        raise SettingsError(f"the OTEL_* variables cannot be used: {error}") from error


async def _close(tracing: Tracing) -> None:
    """Close it, within a bound. A thread that is left behind by that keeps no process alive."""
    loop, closed = asyncio.get_running_loop(), asyncio.Event()

    def close() -> None:
        tracing.close()
        # There is no loop any more if it took too long.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=close, daemon=True).start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await closed.wait()
