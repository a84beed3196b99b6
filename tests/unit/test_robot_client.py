"""Answers that no simulated robot gives: read from a socket that says what the test wants."""

import asyncio
from typing import Any, cast

import pytest

from streams.engine.ports import Accepted, Answer, Rejected, Unknown
from streams.robot.client import connected_robot
from streams.settings import WorkerSettings
from streams.wire.robot_request import RobotRequest


async def answer_to(raw: bytes) -> Answer:
    """Return what the client makes of the bytes that come after a request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    values = {
        "ROBOT_COORDINADORA_URL": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        "ROBOT_CALLBACK_SECRET": "made up",
        "NEXT_PUBLIC_APP_URL": "https://app.example.com",
    }
    async with server, connected_robot(WorkerSettings(**cast(Any, values))) as robot:
        return await robot.create_batch(RobotRequest("job-1", "workspace-1", b"{}", ()))


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("000", Unknown("The robot answered 0, which is no HTTP status")),
        ("099", Unknown("The robot answered 99, which is no HTTP status")),
        ("200", Accepted()),
        ("299", Accepted()),
        ("300", Rejected(300, "Robot service error 300: no")),
        ("999", Rejected(999, "Robot service error 999: no")),
    ],
)
async def test_every_status_has_a_meaning_that_an_outcome_can_carry(status: str, answer: Answer) -> None:
    raw = f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
    assert await answer_to(raw.encode()) == answer
