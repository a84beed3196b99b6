"""Answers that no simulated robot gives: read from a socket that says what the test wants."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, cast

import pytest

from streams.engine.ports import Accepted, Answer, Health, Rejected, Unknown, Unreachable
from streams.robot.client import ANSWER_MAX_BYTES, HttpRobot, connected_robot
from streams.settings import WorkerSettings
from streams.version import DISTRIBUTION, version
from streams.wire.robot_request import RobotRequest
from tests.support.builders import TRACE_OF_PRODUCER, worker_variables


@contextlib.asynccontextmanager
async def robot_that_answers(raw: bytes, *, host: str = "127.0.0.1") -> AsyncIterator[tuple[HttpRobot, list[bytes]]]:
    """Yield a client of a server that says these bytes after each request, and the heads of the requests."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(serve, host, 0)
    url = f"http://{host}:{server.sockets[0].getsockname()[1]}"
    async with server, connected_robot(settings_with(url)) as robot:
        yield robot, heads


def settings_with(url: str, **variables: str) -> WorkerSettings:
    """Return settings with a robot at a URL."""
    return WorkerSettings(**cast(Any, worker_variables(robot_url=url) | variables))


async def answer_to(raw: bytes, *secrets: str) -> Answer:
    """Return what the client makes of the bytes that come after a request."""
    async with robot_that_answers(raw) as (robot, _):
        return await robot.create_batch(RobotRequest("job-1", "workspace-1", b"{}", secrets))


@pytest.mark.parametrize("length", [4, 90, 400, 500])
async def test_no_cut_of_a_long_answer_leaves_the_beginning_of_a_secret(length: int) -> None:
    """Also not where masking has made the answer so short that all of it is shown."""
    secret = "".join(f"{number:04}" for number in range(length))[:length]
    for before in range(0, length, 37):
        body = b" " * before + (secret + "\n").encode() * (ANSWER_MAX_BYTES // length + 2)
        head = f"HTTP/1.1 500 X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        answer = await answer_to(head.encode() + body, secret)
        assert isinstance(answer, Rejected)
        assert set(answer.error.removeprefix("Robot service error 500:")) <= set("* \n")


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("000", Unknown("The robot answered 0, which is no HTTP status")),
        ("099", Unknown("The robot answered 99, which is no HTTP status")),
        ("200", Accepted()),
        ("299", Accepted(299)),
        ("300", Rejected(300, "Robot service error 300: no")),
        ("999", Rejected(999, "Robot service error 999: no")),
    ],
)
async def test_every_status_has_a_meaning_that_an_outcome_can_carry(status: str, answer: Answer) -> None:
    raw = f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
    assert await answer_to(raw.encode()) == answer


@pytest.mark.parametrize("trace", [None, TRACE_OF_PRODUCER])
async def test_a_call_is_part_of_the_trace_of_its_request(trace: str | None) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with robot_that_answers(raw) as (robot, heads):
        await robot.create_batch(RobotRequest("job-1", "workspace-1", b"{}", ()).in_trace(trace))
    expected = [] if trace is None else [f"traceparent: {trace}".encode()]
    assert [line for line in heads[0].lower().splitlines() if b"trace" in line] == expected


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30), ("0", 0), ("-5", 0), ("soon", 0), ("1.5", 0), ("9" * 400, 999_999), ("", 0), ("\u0663", 0)],
)
async def test_a_robot_that_is_busy_may_say_when_to_come_again(header: str, seconds: int) -> None:
    raw = f"HTTP/1.1 429 X\r\nRetry-After: {header}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    answer = await answer_to(raw.encode())
    assert isinstance(answer, Rejected)
    assert answer.wait == timedelta(seconds=seconds)


async def test_it_may_say_so_by_a_date() -> None:
    for ahead, least, most in ((-60, 0, 0), (600, 590, 600)):
        at = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
        raw = f"HTTP/1.1 409 X\r\nRetry-After: {at}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        answer = await answer_to(raw.encode())
        assert isinstance(answer, Rejected)
        assert timedelta(seconds=least) <= answer.wait <= timedelta(seconds=most)


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "500 X"])
async def test_whoever_answers_at_the_health_address_is_there(status: str) -> None:
    raw = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with robot_that_answers(raw.encode()) as (robot, heads):
        assert await robot.health() == Health()
    assert heads[0].startswith(b"GET /api/health HTTP/1.1\r\n")
    assert f"user-agent: {DISTRIBUTION}/{version()}\r\n".encode() in heads[0].lower()


@pytest.mark.parametrize("raw", [b"", b"nonsense\r\n\r\n"])
async def test_nobody_is_there_who_does_not_speak_http(raw: bytes) -> None:
    async with robot_that_answers(raw) as (robot, _):
        assert await robot.health() is None


async def health_of(body: bytes, *, announced: int | None = None) -> Health | None:
    """Return what is made of a health answer, which may announce more than comes."""
    length = len(body) if announced is None else announced
    raw = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode() + body
    async with robot_that_answers(raw) as (robot, _):
        return await robot.health()


@pytest.mark.parametrize(
    ("uptime", "seconds"),
    [
        ("12", 12),
        ("12.5", 12.5),
        ("0", 0),
        ("1e3", 1000),
        *((none, None) for none in ("-1", "1e300", "1e400", "9" * 500, "NaN", "true", "null", '"12"', "[12]")),
    ],
)
async def test_an_uptime_is_believed_only_if_it_is_one(uptime: str, seconds: float | None) -> None:
    body = f'{{"status":"ok","uptime":{uptime},"timestamp":"2026-01-31T12:00:00.000Z"}}'
    assert await health_of(body.encode()) == Health(None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize("body", [b"", b"ok", b"[]", b"{}", b'{"uptime":12', b"\xff", b'{"a":' + b"[" * 16_000])
async def test_whoever_says_something_else_is_there_all_the_same(body: bytes) -> None:
    assert await health_of(body) == Health()


async def test_of_a_health_answer_no_more_is_read_than_of_any_other() -> None:
    assert await health_of(b'{"uptime":12}' + b" " * 2 * ANSWER_MAX_BYTES, announced=10**9) == Health(
        timedelta(seconds=12)
    )


async def test_who_breaks_off_in_the_middle_of_its_health_is_there() -> None:
    assert await health_of(b'{"uptime":12}', announced=100) == Health()


async def test_a_robot_whose_name_is_not_found_in_time_was_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over = threading.Event(), threading.Event()

    def silent(*_: object, **__: object) -> None:
        asked.set()
        over.wait(60)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    settings = settings_with("http://robot.example", ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS="3")
    async with connected_robot(settings) as robot:
        answer = await robot.create_batch(RobotRequest("job-1", "workspace-1", b"{}", ()))
        over.set()
    assert asked.is_set()
    assert isinstance(answer, Unreachable)


async def test_a_robot_that_hangs_on_every_call_is_asked_for_its_health_all_the_same() -> None:
    called = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            called.release()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = settings_with(url, ROBOT_ORCHESTRATOR_ROBOT_CONCURRENCY="2")
    async with server, connected_robot(settings) as robot, asyncio.TaskGroup() as calls:
        request = RobotRequest("job-1", "workspace-1", b"{}", ())
        hanging = [calls.create_task(robot.create_batch(request)) for _ in range(settings.robot_concurrency)]
        for _ in hanging:
            await called.acquire()
        assert await robot.health() == Health()
        for call in hanging:
            call.cancel()


async def test_a_cookie_of_the_robot_is_not_sent_back() -> None:
    raw = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with robot_that_answers(raw, host="localhost") as (robot, heads):
        for _ in range(2):
            await robot.create_batch(RobotRequest("job-1", "workspace-1", b"{}", ()))
    assert [line for head in heads for line in head.lower().splitlines() if b"cookie" in line] == []
    assert len(heads) == 2
