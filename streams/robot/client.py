"""One call to the robot: no redirect, no retry, no proxy of the environment."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from schemas import ERROR_MAX_LENGTH
from streams.engine.ports import Accepted, Answer, Health, Rejected, Unknown, Unreachable
from streams.names import TRACEPARENT
from streams.robot.pages import is_page, page_text
from streams.settings import WorkerSettings
from streams.version import DISTRIBUTION, version
from streams.wire.robot_request import RobotRequest
from streams.wire.scrub import scrub, without_cut_end

# Time for a health check: a robot that takes longer is not asked for work.
HEALTH_SECONDS = 5.0
# Nothing runs for longer than a century.
UPTIME_MAX_SECONDS = 100 * 365 * 86_400.0
# More seconds than anybody waits.
SECONDS_DIGITS = 6
# The client takes any three digits.
LEAST_STATUS = 100
# What is read of an answer, so that an endless one costs nothing.
ANSWER_MAX_BYTES = 16_384
# A connection that was idle longer may be closed by the robot just as we write: no answer, and nobody
# could say whether the batch was received.
IDLE_SECONDS = 1.0
# A robot that has not taken the connection by then is not there, which is a safer thing to know than nothing. Its name
# has to be found in that time too.
CONNECT_SECONDS = 10.0
# Connections beyond those of the calls: who asks for its health must not have to wait until a call has ended.
HEALTH_CONNECTIONS = 3

# aiohttp raises these only while it has no connection: the request never left. Its httpx transport maps a
# connection that was cut after the request was written to the same httpx error as one that timed out
# while connecting, so the cause is looked at.
_NEVER_LEFT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class _Uptime(msgspec.Struct):
    uptime: float


_uptimes = msgspec.json.Decoder(_Uptime)


@contextlib.asynccontextmanager
async def connected_robot(settings: WorkerSettings) -> AsyncIterator["HttpRobot"]:
    """Yield the robot of the settings, and hold its connection pool open. Connects with the first call."""
    # To read the authorities takes longer than to connect.
    tls = httpx.create_ssl_context(verify=settings.robot_endpoint.startswith("https:"), trust_env=False)
    limit = settings.robot_concurrency + HEALTH_CONNECTIONS
    connector = aiohttp.TCPConnector(limit=limit, keepalive_timeout=IDLE_SECONDS, ssl=tls)
    # The transport's own session would send the robot's cookies back.
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
    async with AiohttpTransport(verify=tls, client=session) as transport:
        yield HttpRobot(transport, settings)


class HttpRobot:
    """The robot behind a URL. Its time-out is for the whole call, the answer's body included.

    Requests go to the transport itself: a client's redirects, cookies, authentication and merging of headers and
    addresses are not wanted here, and took more than half of a call's CPU.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, settings: WorkerSettings) -> None:
        self._transport = transport
        self._endpoint = httpx.URL(settings.robot_endpoint)
        self._health = httpx.URL(settings.robot_health)
        self._timeout_seconds = settings.robot_timeout_seconds
        # The transport takes "connect" for the socket alone, "pool" for all that comes before the request is written.
        self._extensions = {"timeout": {"pool": min(CONNECT_SECONDS, settings.robot_timeout_seconds / 2)}}
        # What is read of an answer is bounded as it comes, so it must not grow when it is unpacked.
        self._headers = {"User-Agent": f"{DISTRIBUTION}/{version()}", "Accept-Encoding": "identity"}
        secret = settings.callback_secret.get_secret_value()
        self._call_headers = {**self._headers, "Content-Type": "application/json", "X-Callback-Secret": secret}

    async def create_batch(self, request: RobotRequest) -> Answer:
        """POST a batch once and return what became of it. Raises nothing but cancellation."""
        headers = self._call_headers
        if request.traceparent is not None:
            headers = {**headers, TRACEPARENT: request.traceparent}
        status: int | None = None
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                aclosing(await self._send("POST", self._endpoint, headers, request.body)) as response,
            ):
                status = response.status_code
                await _read_bounded(response, body)
            answer = _answered(status, bytes(body), request, whole=len(body) <= ANSWER_MAX_BYTES)
            return replace(answer, wait=_asked_for(response)) if isinstance(answer, Rejected) else answer
        except Exception as error:  # noqa: BLE001 # whatever it was, the request may have left: nothing else is safe
            if status is not None:
                # The status is the answer, even if the rest of its text did not come.
                return _answered(status, bytes(body), request, whole=False)
            return self._unanswered(error, request)

    async def health(self) -> Health | None:
        """Ask at the robot's health address; see Robot."""
        answered = False
        body = bytearray()
        try:
            async with (
                asyncio.timeout(HEALTH_SECONDS),
                aclosing(await self._send("GET", self._health, self._headers)) as response,
            ):
                answered = True
                await _read_bounded(response, body)
        except Exception:  # noqa: BLE001 # whatever it was, what had come by then is the answer
            return Health() if answered else None
        return Health(_uptime(bytes(body)))

    async def _send(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], body: bytes | None = None
    ) -> httpx.Response:
        """Return the head of an answer, whose body can be read until it is closed."""
        request = httpx.Request(method, url, headers=headers, content=body, extensions=self._extensions)
        return await self._transport.handle_async_request(request)

    def _unanswered(self, error: Exception, request: RobotRequest) -> Answer:
        if isinstance(error, TimeoutError):
            return Unknown(f"The robot did not answer within {self._timeout_seconds:g} s")
        cause = error.__cause__ or error
        # The network's errors explain themselves; the client's quote what the robot sent, escaped over and over.
        detail = scrub(str(cause), request.secrets) if isinstance(cause, OSError) else type(cause).__name__
        if isinstance(cause, _NEVER_LEFT):
            return Unreachable(f"No connection to the robot: {detail}"[:ERROR_MAX_LENGTH])
        return Unknown(f"The connection broke before the robot's answer: {detail}"[:ERROR_MAX_LENGTH])


async def _read_bounded(response: httpx.Response, body: bytearray) -> None:
    """Read an answer into what is there of it when the connection breaks; of one that is too long, a little more."""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > ANSWER_MAX_BYTES:
            return


def _uptime(body: bytes) -> timedelta | None:
    """Return for how long the robot says that it has run, None if it says nothing that can be believed."""
    try:
        seconds = _uptimes.decode(body).uptime
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return timedelta(seconds=seconds) if 0 <= seconds <= UPTIME_MAX_SECONDS else None


def _asked_for(response: httpx.Response) -> timedelta:
    """Return how long the robot asks us to wait (Retry-After: seconds, or a date), 0 if it does not say."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:SECONDS_DIGITS]), 10**SECONDS_DIGITS))
    try:
        return max(parsedate_to_datetime(text) - datetime.now(UTC), timedelta(0))
    except (TypeError, ValueError):
        return timedelta(0)


def _answered(status: int, body: bytes, request: RobotRequest, *, whole: bool) -> Answer:
    if 200 <= status < 300:
        return Accepted(status)
    if status < LEAST_STATUS:
        return Unknown(f"The robot answered {status}, which is no HTTP status")
    text = scrub(body[:ANSWER_MAX_BYTES].decode(errors="replace").strip(), request.secrets)
    if is_page(text):
        # What was split by tags may be in one piece now.
        text = scrub(page_text(text), request.secrets)
    if not whole:
        text = without_cut_end(text, request.secrets)
    return Rejected(status, f"Robot service error {status}: {text}"[:ERROR_MAX_LENGTH])
