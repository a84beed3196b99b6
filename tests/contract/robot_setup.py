"""A simulated robot for the tests of its contract: in this process or as a program, with a client and a bridge."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from streams.dev.batches import BatchCompletion, Fate, FateOf
from streams.dev.robot import BATCH_PATH, RobotBehaviour, SimulatedRobot

ROOT = Path(__file__).parents[2]
PASSWORD = 'pässword, with "quotes" and 100%'
A_LONG_TIME = 3600.0


class Bridge:
    """The callback bridge of these tests: holds each report until the test lets it go on."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[BatchCompletion] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()

    async def report(self, completion: BatchCompletion) -> None:
        self.reports.put_nowait(completion)
        await self.open.wait()


class Setup:
    """A robot with its bridge and a client; `behaves` starts another robot in its place."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.bridge = Bridge()
        self.robot = SimulatedRobot(report=self.bridge.report)

    async def behaves(self, *, fate_of: FateOf | None = None, log_path: Path | None = None, **behaviour: Any) -> None:
        await self.robot.stop()
        self.robot = SimulatedRobot(
            behaviour=RobotBehaviour(**behaviour),
            fate_of=fate_of,
            report=self.bridge.report,
            log_path=log_path,
        )
        await self.robot.start()

    async def post(self, body: object, **changes: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "X-Callback-Secret": "s3cret"} | changes
        return await self.client.post(self.robot.url + BATCH_PATH, content=content, headers=headers)


def batch(*cities: str, **changes: object) -> dict[str, Any]:
    orders = [
        {"itemId": str(uuid4()), "orderId": str(uuid4()), "pedidoInput": {"ciudad": city, "peso": 0.5}}
        for city in cities or ("MANIZALES (CDAS)",)
    ]
    return {
        "jobId": str(uuid4()),
        "workspaceId": str(uuid4()),
        "credentials": {"username": "demo-user", "password": PASSWORD},
        "callbackUrl": "https://app.example/api/webhooks/robot-callback",
        "callbackSecret": "s3cret",
        "orders": orders,
    } | changes


def completion_of(body: dict[str, Any], successes: int, errors: int) -> BatchCompletion:
    return BatchCompletion(body["jobId"], body["workspaceId"], successes, errors)


def is_refusal(response: httpx.Response, status: int) -> bool:
    content = response.json()
    return response.status_code == status and content.keys() == {"success", "error"} and content["success"] is False


def is_page(response: httpx.Response, status: int) -> bool:
    kind = response.headers["Content-Type"]
    return (response.status_code, kind) == (status, "text/html; charset=utf-8") and "</html>" in response.text


def always(fate: Fate) -> FateOf:
    return lambda _request: fate


@contextmanager
def robot_process(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the robot as a program and yield its URL and its process; end it in good order if the test did not."""
    command = [sys.executable, "-m", "streams.dev.robot", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            ended = process.poll() is not None
            process.send_signal(signal.SIGTERM)
    assert ended or process.returncode == 0
