"""A simulated robot: a real HTTP server that keeps the robot service's contract, with fates to choose per job.

By default it stands in for the callback bridge too: with a batch's last result it hands the counts to `report`. With
`call_back` it reports each order to the batch's callback URL, as the robot service does, and the bridge is elsewhere.
Run as a program (`python -m streams.dev.robot`) it prints its URL when it is ready, and publishes completions to Kafka
or calls back.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from aiohttp import web

from streams.dev.batches import (
    BatchCompletion,
    BatchRequest,
    ErrorRates,
    ErrorType,
    Fate,
    FateOf,
    HandlerBugError,
    InvalidRequestError,
    NoJsonError,
    OrderResult,
    error_rates,
    fate_table,
    has_city,
    item_id_of,
    parse_json,
    parse_request,
    work_results,
)
from streams.dev.callbacks import Callbacks
from streams.dev.loopback import HOST
from streams.dev.robot_answers import echo, page, refusal, takes

__all__ = ["BatchCompletion", "BatchRequest", "Fate", "RobotBehaviour", "RobotCall", "SimulatedRobot", "fate_table"]

BATCH_PATH = "/api/crear-pedidos-batch"
HEALTH_PATH = "/api/health"
# Of the simulated robot alone, the service has no such thing: PUT holds a workspace's lock from outside, as a guide
# lookup does, and DELETE frees it again. A batch that runs is not touched by either.
HELD_PATH = "/simulated/held/{workspace_id}"
# The existing service's limit on a body.
MAX_BODY_BYTES = 5 * 1024 * 1024
BUSY = "something of this workspace is running"


@dataclass(frozen=True)
class RobotCall:
    """A POST that arrived. The ids are empty when the body does not give them; secrets are in no repr."""

    received_at: datetime
    job_id: str
    workspace_id: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    # None if it is not answered.
    status: int | None = None


@dataclass(frozen=True)
class RobotBehaviour:
    """How the robot works: seconds of work an order, before its answer, and from its last report to free.

    The last is the time in which the browser closes: until then the workspace is busy. `busy_attempts` is how many
    POSTs of a job the fates BUSY_409 and LIMIT_429 turn away, `error_rates` says how many orders end as errors, and
    `call_back` that each order is reported to the batch's callback URL.
    """

    order_seconds: float = 0.0
    answer_delay_seconds: float = 0.0
    release_seconds: float = 0.0
    refuse_status: int = 400
    busy_attempts: int = 2
    retry_after_seconds: int = 1
    error_rates: ErrorRates = field(default_factory=dict)
    call_back: bool = False


Report = Callable[[BatchCompletion], Awaitable[None]]


async def report_nowhere(_completion: BatchCompletion) -> None:
    """Drop the completion: for robots whose reports nobody reads."""


@dataclass(eq=False)
class _Batch:
    """A batch that has taken its workspace's lock, and the results that it has reported so far."""

    request: BatchRequest
    fate: Fate
    reported: list[OrderResult] = field(default_factory=list)
    all_reported: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class _Decision:
    """What a POST will be answered, None for nothing, and what has to be done before."""

    answer: web.Response | None
    before: Callable[[], Awaitable[object]] | None = None


def reports_log(call_log: Path) -> Path:
    """Return where the reports that were answered are noted, beside the log of POSTs."""
    return call_log.with_suffix(".reports.jsonl")


class SimulatedRobot:
    """The robot service at `url`, from `start` to `stop`. Every POST is in `calls` and in the call log.

    The call log gets one JSON line a POST, without the credentials, before anything else is done with it: `status` in
    it is what it will be answered with, null if nothing.
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
        # Lost with the process, as in the existing service.
        self._first_answers: dict[str, dict[str, object]] = {}
        self._busy_workspaces: set[str] = set()
        self._held_workspaces: set[str] = set()
        self._turned_away = Counter[str]()
        self._callbacks = Callbacks(log_path and reports_log(log_path))
        self._batches: set[asyncio.Task[None]] = set()
        self._started = time.monotonic()
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post(BATCH_PATH, self._create_batch)
        app.router.add_get(HEALTH_PATH, self._health)
        app.router.add_put(HELD_PATH, self._hold)
        app.router.add_delete(HELD_PATH, self._free)
        # At the end nobody waits for requests that are not to be answered. None or 0 would be without an end.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)

    async def start(self) -> None:
        """Serve on the loopback address."""
        if self._log_path is not None:
            self._log_fd = os.open(self._log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        await self._callbacks.start()
        self._started = time.monotonic()
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._wanted_port).start()

    async def stop(self) -> None:
        """Stop serving and drop the batches that run, without a report; raise what a report raised."""
        self._stopping.set()
        self._drop_batches()
        await self._runner.cleanup()
        # A request that was under way may have started one meanwhile.
        self._drop_batches()
        if self._log_fd is not None:
            os.close(self._log_fd)
            self._log_fd = None
        results = await asyncio.gather(*self._batches, return_exceptions=True)
        await self._callbacks.stop()
        for result in results:
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

    def hold(self, workspace_id: str) -> None:
        """Hold a workspace's lock from outside: its batches are answered 409."""
        self._held_workspaces.add(workspace_id)

    def free(self, workspace_id: str) -> None:
        """Give up what `hold` has taken."""
        self._held_workspaces.discard(workspace_id)

    async def _hold(self, http: web.Request) -> web.Response:
        self.hold(http.match_info["workspace_id"])
        return web.Response(status=204)

    async def _free(self, http: web.Request) -> web.Response:
        self.free(http.match_info["workspace_id"])
        return web.Response(status=204)

    async def _health(self, _request: web.Request) -> web.Response:
        uptime = time.monotonic() - self._started
        return web.json_response({"status": "ok", "uptime": uptime, "timestamp": datetime.now(UTC).isoformat()})

    async def _create_batch(self, http: web.Request) -> web.StreamResponse:
        try:
            body = await http.read()
        except web.HTTPRequestEntityTooLarge:
            body = b""
            decision = _Decision(page(413, "PayloadTooLargeError: request entity too large"))
        else:
            decision = self._decide(http, body)
        await self._record(http, body, decision.answer.status if decision.answer is not None else None)
        if decision.before is not None:
            await decision.before()
        if decision.answer is not None:
            return decision.answer
        if http.transport is not None:
            http.transport.close()
        return web.Response()

    def _decide(self, http: web.Request, body: bytes) -> _Decision:
        # Nothing is awaited here, so that two POSTs of a moment are decided one after the other.
        if not takes(http):
            return _Decision(page(415, "UnsupportedMediaTypeError: unsupported content type, charset or encoding"))
        try:
            content = parse_json(body)
        except NoJsonError as error:
            return _Decision(page(400, f"SyntaxError: {error}"))
        # By the job id alone: the lock, the workspace and the orders are not looked at.
        job_id = content.get("jobId") if isinstance(content, dict) else None
        if isinstance(job_id, str) and job_id in self._first_answers:
            return _Decision(web.json_response(self._first_answers[job_id]))
        try:
            request = parse_request(content)
        except InvalidRequestError as error:
            return _Decision(refusal(400, str(error)))
        except HandlerBugError as error:
            return _Decision(page(500, f"TypeError: {error}"))
        return self._by_fate(http, body, request)

    def _by_fate(self, http: web.Request, body: bytes, request: BatchRequest) -> _Decision:
        fate = self._fate_of(request)
        match fate:
            case Fate.REFUSE:
                return _Decision(refusal(self._behaviour.refuse_status, "refused"))
            case Fate.CRASH_500:
                text = "<html><body>It broke</body></html>"
                return _Decision(web.Response(status=500, text=text, content_type="text/html"))
            case Fate.REDIRECT_307:
                return _Decision(web.Response(status=307, headers={"Location": f"{self.url}{BATCH_PATH}"}))
            case Fate.ECHO_SECRETS:
                return _Decision(echo(http, body, request))
            case Fate.CUT:
                return _Decision(None)
            case Fate.HANG:
                return _Decision(None, self._stopping.wait)
            case Fate.BUSY_409 | Fate.LIMIT_429 if self._turned_away[request.job_id] < self._behaviour.busy_attempts:
                self._turned_away[request.job_id] += 1
                if fate is Fate.BUSY_409:
                    return _Decision(refusal(409, BUSY))
                return _Decision(refusal(429, "too many requests", self._behaviour.retry_after_seconds))
        return self._accept(request, fate)

    def _accept(self, request: BatchRequest, fate: Fate) -> _Decision:
        if request.workspace_id in self._busy_workspaces | self._held_workspaces:
            return _Decision(refusal(409, BUSY))
        self._busy_workspaces.add(request.workspace_id)
        batch = _Batch(request, fate)
        if not any(map(has_city, request.orders)):
            # Not remembered, like every answer but 200: asked again, it reports them again.
            return _Decision(refusal(400, "no order has a city"), lambda: self._give_up(batch))
        answer: dict[str, object] = {"success": True, "jobId": request.job_id, "message": "accepted"}
        self._first_answers[request.job_id] = answer
        return _Decision(web.json_response(answer), lambda: self._begin(batch))

    async def _give_up(self, batch: _Batch) -> None:
        await self._report_those_without_city(batch)
        await asyncio.sleep(self._behaviour.answer_delay_seconds)
        # No browser was opened that would have to close.
        self._busy_workspaces.discard(batch.request.workspace_id)

    async def _begin(self, batch: _Batch) -> None:
        await self._report_those_without_city(batch)
        if batch.fate is Fate.COMPLETE_FIRST:
            self._start_work(batch)
            await batch.all_reported.wait()
        await asyncio.sleep(self._behaviour.answer_delay_seconds)
        if batch.fate is not Fate.COMPLETE_FIRST:
            self._start_work(batch)

    async def _report_those_without_city(self, batch: _Batch) -> None:
        for order in batch.request.orders:
            if not has_city(order):
                await self._report_order(batch, OrderResult(item_id_of(order), ErrorType.VALIDATION))

    def _start_work(self, batch: _Batch) -> None:
        work = asyncio.create_task(self._work(batch))
        self._batches.add(work)

        def ended(task: asyncio.Task[None]) -> None:
            # One that failed stays, so that `stop` raises what it raised.
            if task.cancelled() or task.exception() is None:
                self._batches.discard(task)

        work.add_done_callback(ended)

    async def _work(self, batch: _Batch) -> None:
        try:
            for result in work_results(batch.request, batch.fate, self._behaviour.error_rates):
                if batch.fate is not Fate.LOGIN_FAILS:
                    await asyncio.sleep(self._behaviour.order_seconds)
                await self._report_order(batch, result)
        finally:
            batch.all_reported.set()
        await asyncio.sleep(self._behaviour.release_seconds)
        self._busy_workspaces.discard(batch.request.workspace_id)

    async def _report_order(self, batch: _Batch, result: OrderResult) -> None:
        # The batch stands still until the receiver is done with the report.
        if batch.fate is Fate.LOSE:
            return
        batch.reported.append(result)
        request = batch.request
        if self._behaviour.call_back:
            await self._callbacks.post(request, result)
        elif len(batch.reported) == len(request.orders):
            errors = sum(one.error is not None for one in batch.reported)
            counts = (len(request.orders) - errors, errors)
            await self._report(BatchCompletion(request.job_id, request.workspace_id, *counts))

    async def _record(self, http: web.Request, body: bytes, status: int | None = None) -> None:
        ids = {"jobId": "", "workspaceId": ""}
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            ids |= {name: str(value) for name, value in json.loads(body).items() if name in ids}
        call = RobotCall(datetime.now(UTC), ids["jobId"], ids["workspaceId"], http.headers.copy(), body, status)
        if self._log_fd is not None:
            line = {
                "job_id": call.job_id,
                "workspace_id": call.workspace_id,
                "received_at": call.received_at.isoformat(),
                "body_sha256": hashlib.sha256(body).hexdigest(),
                "status": status,
            }
            os.write(self._log_fd, json.dumps(line).encode() + b"\n")
        self.calls.append(call)
        async with self._arrived:
            self._arrived.notify_all()


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
        arguments.busy_attempts,
        arguments.retry_after_seconds,
        error_rates(json.loads(arguments.error_rates)),
        arguments.call_back,
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
    reports = parser.add_mutually_exclusive_group()
    reports.add_argument("--bootstrap-servers", help="the Kafka that gets the completions")
    reports.add_argument("--call-back", action="store_true", help="report each order to the callbackUrl of its batch")
    parser.add_argument("--error-rates", default="{}", help="JSON: errorType to the share of the orders that end so")
    for name in ("order-seconds", "answer-delay-seconds", "release-seconds"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--refuse-status", type=int, default=400)
    parser.add_argument("--busy-attempts", type=int, default=2, help="POSTs of a job that busy_409, limit_429 refuse")
    parser.add_argument("--retry-after-seconds", type=int, default=1, help="the Retry-After of limit_429")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
