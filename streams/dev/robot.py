"""A simulated robot: a real HTTP server that keeps the robot service's contract, with fates to choose per job.

It stands in for the callback bridge too: when a batch ends it hands its counts to `report`. Run as a program
(`python -m streams.dev.robot`) it prints its URL when it is ready and publishes completions to Kafka.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from aiohttp import web

from streams.dev.batches import (
    BatchCompletion,
    BatchRequest,
    Fate,
    FateOf,
    InvalidRequestError,
    fate_table,
    parse_request,
    without_city,
)
from streams.dev.loopback import HOST

__all__ = ["BatchCompletion", "BatchRequest", "Fate", "RobotBehaviour", "RobotCall", "SimulatedRobot", "fate_table"]

BATCH_PATH = "/api/crear-pedidos-batch"
HEALTH_PATH = "/api/health"
# The existing service's limit on a body.
MAX_BODY_BYTES = 5 * 1024 * 1024
# Longest response header that common clients take (aiohttp, 8190), with room for the header's name.
MAX_HEADER_LENGTH = 8000


@dataclass(frozen=True)
class RobotCall:
    """A POST that arrived. The ids are empty when the body does not give them; secrets are in no repr."""

    received_at: datetime
    job_id: str
    workspace_id: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class RobotBehaviour:
    """How the robot works: seconds of work an order, before its answer, and from its last report to free."""

    order_seconds: float = 0.0
    answer_delay_seconds: float = 0.0
    release_seconds: float = 0.0
    refuse_status: int = 400


Report = Callable[[BatchCompletion], Awaitable[None]]


async def report_nowhere(_completion: BatchCompletion) -> None:
    """Drop the completion: for robots whose reports nobody reads."""


class SimulatedRobot:
    """The robot service at `url`, from `start` to `stop`. Every POST is in `calls` and in the call log.

    The call log gets one JSON line a POST, without the credentials, before anything else is done with it.
    """

    def __init__(
        self,
        *,
        behaviour: RobotBehaviour | None = None,
        fate_of: FateOf | None = None,
        report: Report = report_nowhere,
        log_path: Path | None = None,
        port: int = 0,
    ) -> None:
        self.calls: list[RobotCall] = []
        self._behaviour = behaviour or RobotBehaviour()
        self._fate_of = fate_of or fate_table({})
        self._report = report
        self._log_path = log_path
        self._log_fd: int | None = None
        self._wanted_port = port
        self._arrived = asyncio.Condition()
        self._stopping = asyncio.Event()
        self._first_answers: dict[str, dict[str, object]] = {}
        self._busy_workspaces: set[str] = set()
        self._batches: set[asyncio.Task[None]] = set()
        self._started = time.monotonic()
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post(BATCH_PATH, self._create_batch)
        app.router.add_get(HEALTH_PATH, self._health)
        # At the end nobody waits for requests that are not to be answered. None or 0 would be without an end.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)

    async def start(self) -> None:
        """Serve on the loopback address."""
        if self._log_path is not None:
            self._log_fd = os.open(self._log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._wanted_port).start()

    async def stop(self) -> None:
        """Stop serving and drop the batches that run; raise what a report raised."""
        self._stopping.set()
        self._drop_batches()
        await self._runner.cleanup()
        # A request that was under way may have started one meanwhile.
        self._drop_batches()
        if self._log_fd is not None:
            os.close(self._log_fd)
            self._log_fd = None
        for result in await asyncio.gather(*self._batches, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def _drop_batches(self) -> None:
        for batch in self._batches:
            batch.cancel()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._runner.addresses[0][1])

    @property
    def url(self) -> str:
        """The base URL, as the orchestrator's settings take it."""
        return f"http://{HOST}:{self.port}"

    async def wait_for_calls(self, count: int) -> None:
        """Return when that many POSTs have arrived."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.calls) >= count)

    async def wait_until_idle(self) -> None:
        """Return when no batch runs and every workspace is free."""
        while self._batches:
            await asyncio.gather(*self._batches)

    async def _health(self, _request: web.Request) -> web.Response:
        uptime = time.monotonic() - self._started
        return web.json_response({"status": "ok", "uptime": uptime, "timestamp": datetime.now(UTC).isoformat()})

    async def _create_batch(self, http: web.Request) -> web.StreamResponse:
        try:
            body = await http.read()
        except web.HTTPRequestEntityTooLarge:
            await self._record(http, b"")
            return _refusal(413, "the body is too large")
        await self._record(http, body)
        try:
            request = parse_request(body)
        except InvalidRequestError as error:
            return _refusal(400, str(error))
        fate = self._fate_of(request)
        match fate:
            case Fate.REFUSE:
                return _refusal(self._behaviour.refuse_status, "refused")
            case Fate.CRASH_500:
                return web.Response(status=500, text="<html><body>It broke</body></html>", content_type="text/html")
            case Fate.REDIRECT_307:
                return web.Response(status=307, headers={"Location": f"{self.url}{BATCH_PATH}"})
            case Fate.ECHO_SECRETS:
                return _echo(http, body, request)
            case Fate.CUT | Fate.HANG:
                if fate is Fate.HANG:
                    await self._stopping.wait()
                if http.transport is not None:
                    http.transport.close()
                return web.Response()
        return await self._accept(request, fate)

    async def _accept(self, request: BatchRequest, fate: Fate) -> web.Response:
        if request.job_id in self._first_answers:
            return web.json_response(self._first_answers[request.job_id])
        if request.workspace_id in self._busy_workspaces:
            return _refusal(409, "another batch of this workspace is running")
        answer: dict[str, object] = {"success": True, "jobId": request.job_id, "message": "accepted"}
        self._first_answers[request.job_id] = answer
        self._busy_workspaces.add(request.workspace_id)
        reported = asyncio.Event()
        if fate is Fate.COMPLETE_FIRST:
            self._start_batch(request, fate, reported)
            await reported.wait()
        await asyncio.sleep(self._behaviour.answer_delay_seconds)
        if fate is not Fate.COMPLETE_FIRST:
            self._start_batch(request, fate, reported)
        return web.json_response(answer)

    def _start_batch(self, request: BatchRequest, fate: Fate, reported: asyncio.Event) -> None:
        batch = asyncio.create_task(self._work(request, fate, reported))
        self._batches.add(batch)

        def ended(task: asyncio.Task[None]) -> None:
            # One that failed stays, so that `stop` raises what it raised.
            if task.cancelled() or task.exception() is None:
                self._batches.discard(task)

        batch.add_done_callback(ended)

    async def _work(self, request: BatchRequest, fate: Fate, reported: asyncio.Event) -> None:
        try:
            orders, skipped = len(request.orders), without_city(request)
            await asyncio.sleep(self._behaviour.order_seconds * (orders - skipped))
            failed = {Fate.ALL_FAIL: orders, Fate.PARTLY_FAIL: (orders + 1) // 2}.get(fate, 0)
            errors = max(skipped, failed)
            if fate is not Fate.LOSE:
                counts = (orders - errors, errors)
                await self._report(BatchCompletion(request.job_id, request.workspace_id, *counts))
        finally:
            reported.set()
        await asyncio.sleep(self._behaviour.release_seconds)
        self._busy_workspaces.discard(request.workspace_id)

    async def _record(self, http: web.Request, body: bytes) -> None:
        ids = {"jobId": "", "workspaceId": ""}
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            ids |= {name: str(value) for name, value in json.loads(body).items() if name in ids}
        call = RobotCall(datetime.now(UTC), ids["jobId"], ids["workspaceId"], http.headers.copy(), body)
        if self._log_fd is not None:
            line = {
                "job_id": call.job_id,
                "workspace_id": call.workspace_id,
                "received_at": call.received_at.isoformat(),
                "body_sha256": hashlib.sha256(body).hexdigest(),
            }
            os.write(self._log_fd, json.dumps(line).encode() + b"\n")
        self.calls.append(call)
        async with self._arrived:
            self._arrived.notify_all()


def _refusal(status: int, error: str) -> web.Response:
    return web.json_response({"success": False, "error": error}, status=status)


def _echo(http: web.Request, body: bytes, request: BatchRequest) -> web.Response:
    encoded = base64.b64encode(request.password.encode()).decode()
    echo = {"body": body.decode(), "headers": dict(http.headers), "password_base64": encoded}
    debug = json.dumps([request.username, request.password, encoded, echo["headers"]])
    return web.json_response(
        {"success": False, "error": echo}, status=400, headers={"X-Debug": debug[:MAX_HEADER_LENGTH]}
    )


async def serve(arguments: argparse.Namespace) -> None:
    """Run the robot until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    behaviour = RobotBehaviour(
        arguments.order_seconds,
        arguments.answer_delay_seconds,
        arguments.release_seconds,
        arguments.refuse_status,
    )
    async with contextlib.AsyncExitStack() as stack:
        report: Report = report_nowhere
        if arguments.bootstrap_servers:
            from streams.dev.bridge import KafkaBridge

            report = (await stack.enter_async_context(KafkaBridge(arguments.bootstrap_servers))).report
        robot = SimulatedRobot(
            behaviour=behaviour,
            fate_of=fate_table(json.loads(arguments.fates)),
            report=report,
            log_path=arguments.log,
            port=arguments.port,
        )
        await stack.enter_async_context(robot)
        sys.stdout.write(f"{robot.url}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    """Run the simulated robot as a program."""
    parser = argparse.ArgumentParser(prog="python -m streams.dev.robot", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--log", type=Path, help="append one JSON line a POST to this file")
    parser.add_argument("--fates", default="{}", help="JSON: job id, or * for any other, to a fate or to weights")
    parser.add_argument("--bootstrap-servers", help="the Kafka that gets the completions")
    for name in ("order-seconds", "answer-delay-seconds", "release-seconds"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--refuse-status", type=int, default=400)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
