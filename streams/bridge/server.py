"""The HTTP side: the robot's reports, each answered when its record is in the log, and the probes."""

import asyncio
import hmac
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from schemas.order_reported import OrderReported
from streams.bridge.journal import BridgeJournal, RefusedError
from streams.core.job import JobKey
from streams.names import ReportRefusal
from streams.telemetry.probes import Checks, passes, verdict
from streams.wire.callback import CALLBACK_PATH, ids_of
from streams.wire.robot_report import REPORT_MAX_BYTES, MalformedReportError, report_reader
from streams.wire.trace_context import traceparent_of

SECRET_HEADER = b"x-callback-secret"
# Time for the body of a report to arrive.
BODY_SECONDS = 10.0
# What is read of a body that is too large, so that its sender gets the answer.
READ_MAX_BYTES = 1_000_000
# What the probe checks, in words for a person.
TAKEN = "Kafka takes reports"

_STATUS = {
    ReportRefusal.UNAUTHORIZED: 401,
    ReportRefusal.MALFORMED: 400,
    ReportRefusal.TOO_LARGE: 413,
    ReportRefusal.UNAVAILABLE: 503,
}
# A connection that was kept could be closed by us just as the robot writes its next report, which would be lost.
_CLOSE = {"Connection": "close"}


class UnavailableError(Exception):
    """Kafka did not take a record in time. It may be there all the same; the text says how long that was."""


class Publisher(Protocol):
    """Kafka, as the server knows it."""

    @property
    def ready(self) -> bool:
        """Whether it takes records, as far as is known."""

    async def publish(self, report: OrderReported, traceparent: str | None = None) -> None:
        """Return when the record is in the log for good, as a part of a trace if there is one.

        Raises UnavailableError.
        """


class Reports(BaseRoute):
    """Takes every POST: the robot makes no others, so one to another path is a report that went astray.

    Goes by the raw path: what the server has decoded no longer tells a slash in an id from one between two.
    """

    def __init__(self, secrets: Iterable[str], publisher: Publisher, journal: BridgeJournal) -> None:
        known = tuple(secrets)
        self._secrets = [secret.encode() for secret in known]
        self._read = report_reader(known)
        self._publisher = publisher
        self._journal = journal

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match POSTs, and whatever is asked of a report's path."""
        is_ours = scope["type"] == "http" and (scope["method"] == "POST" or _is_callback(scope))
        return Match.FULL if is_ours else Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] == "POST":
            response = await self._answer(Request(scope, receive))
        else:
            response = PlainTextResponse("Method Not Allowed", 405, {"Allow": "POST"})
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        key = ids_of(request.scope["raw_path"])
        # Whatever comes of it: a sender that is not done with it would not get the answer.
        body = await _body(request)
        if not self._is_robot(request):
            if not _is_callback(request.scope):
                return PlainTextResponse("Not Found", 404, _CLOSE)
            if SECRET_HEADER not in dict(request.headers.raw) and not self._is_report(key, body):
                # Nobody of ours: whoever likes could wake somebody by it.
                return JSONResponse({"error": ReportRefusal.UNAUTHORIZED.value}, 401, _CLOSE)
            body = RefusedError(ReportRefusal.UNAUTHORIZED, "the secret is not ours")
        try:
            await self._take(key, body, _traceparent(request))
        except RefusedError as error:
            self._journal.refused(error, key)
            return JSONResponse({"error": error.refusal.value}, _STATUS[error.refusal], _CLOSE)
        return JSONResponse({"received": True}, 200, _CLOSE)

    def _is_robot(self, request: Request) -> bool:
        given = next((value for name, value in request.headers.raw if name == SECRET_HEADER), b"")
        # With all of them, so that the time does not tell which one it was.
        return any([hmac.compare_digest(given, secret) for secret in self._secrets])  # noqa: C419 # as above

    def _is_report(self, key: JobKey | None, body: bytes | RefusedError) -> bool:
        if key is None or isinstance(body, RefusedError):
            return False
        try:
            self._read(key, body, datetime.now(UTC))
        except MalformedReportError:
            return False
        return True

    async def _take(self, key: JobKey | None, body: bytes | RefusedError, traceparent: str | None) -> None:
        """Return when the report is in the log. Raises RefusedError."""
        if isinstance(body, RefusedError):
            raise body
        if key is None:
            raise RefusedError(ReportRefusal.MALFORMED, f"the path is not {CALLBACK_PATH}/<workspaceId>/<jobId>")
        try:
            report = self._read(key, body, datetime.now(UTC))
        except MalformedReportError as error:
            raise RefusedError(ReportRefusal.MALFORMED, str(error), error.item_id) from error
        since = time.monotonic()
        with self._journal.metrics.bridge_requests_held.track_inprogress():
            try:
                await self._publisher.publish(report, traceparent)
            except UnavailableError as error:
                raise RefusedError(ReportRefusal.UNAVAILABLE, str(error), report.itemId) from error
        self._journal.accepted(time.monotonic() - since)


def _is_callback(scope: Scope) -> bool:
    return bool(scope["raw_path"].startswith(CALLBACK_PATH.encode()))


def _traceparent(request: Request) -> str | None:
    return traceparent_of((name.decode("latin-1"), value) for name, value in request.headers.raw)


async def _body(request: Request) -> bytes | RefusedError:
    """Return a request's body, or why it is none of a report."""
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= REPORT_MAX_BYTES:
                    body += chunk
                elif size > READ_MAX_BYTES:
                    break
    except (TimeoutError, ClientDisconnect):
        return RefusedError(ReportRefusal.MALFORMED, "it did not come whole")
    if size > REPORT_MAX_BYTES:
        return RefusedError(ReportRefusal.TOO_LARGE, f"it has over {REPORT_MAX_BYTES} bytes")
    return bytes(body)


def build_app(secrets: Iterable[str], publisher: Publisher, journal: BridgeJournal) -> Starlette:
    """Return the application over a publisher."""
    # It can answer only while the event loop turns.
    live: Checks = {"event loop turns": lambda: True}
    ready: Checks = {TAKEN: lambda: publisher.ready}
    journal.metrics.ready.set_function(lambda: passes(ready))

    def probe(checks: Checks) -> Route:
        async def answer(request: Request) -> Response:
            status, text = verdict(checks, {}, verbose="verbose" in request.query_params)
            return PlainTextResponse(text, status)

        return Route("/livez" if checks is live else "/readyz", answer)

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(journal.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[Reports(secrets, publisher, journal), probe(live), probe(ready), Route("/metrics", metrics)]
    )
