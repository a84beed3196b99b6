"""A callback bridge: in this process over a publisher without Kafka, or in one of its own."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
from aiokafka.admin import NewTopic

from schemas.order_reported import OrderReported
from streams.bridge.journal import BridgeJournal
from streams.bridge.run import BridgeServer, bridge_server, bridge_socket
from streams.bridge.server import Publisher, UnavailableError
from streams.dev.loopback import HOST
from streams.kafka.admin import admin_client
from streams.names import Topic
from streams.settings import BridgeSettings
from streams.telemetry.metrics import BridgeMetrics
from streams.wire.callback import CALLBACK_PATH, JOB_ID, WORKSPACE_ID, callback_url
from tests.support.builders import CALLBACK_SECRET, NOWHERE
from tests.support.worker import WorkerProcess

PRODUCTION = ("-m", "streams.cli", "bridge")
PATH = f"{CALLBACK_PATH}/{WORKSPACE_ID}/{JOB_ID}"
HEADERS = {"X-Callback-Secret": CALLBACK_SECRET}
# Nothing here waits for longer, unless something is wrong.
TIMEOUT = httpx.Timeout(60)


def bridge_settings(bootstrap_servers: str = NOWHERE, **more: str) -> BridgeSettings:
    """Return the settings of a bridge at a free port, some variables changed."""
    return BridgeSettings(
        **cast(
            Any,
            {
                "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
                "ROBOT_CALLBACK_SECRET": CALLBACK_SECRET,
                "ROBOT_ORCHESTRATOR_BRIDGE_PORT": "0",
                **more,
            },
        )
    )


def report(item_id: str = "item-1", **more: Any) -> dict[str, Any]:
    """Return what the robot says of an order."""
    return {"itemId": item_id, "status": "success", "trackingNumber": "7300000001", **more}


async def create_topic(bootstrap_servers: str, partitions: int = 4) -> None:
    """Create the topic of the reports, if it is not there yet."""
    async with admin_client(bootstrap_servers=bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(Topic.ORDER_REPORTED, partitions, 1)])
        while Topic.ORDER_REPORTED not in await admin.list_topics():
            await asyncio.sleep(0.05)


class FakePublisher:
    """A publisher whose log is a list; see Publisher. While it is `away` it takes nothing."""

    def __init__(self, hold_seconds: float = 60.0) -> None:
        self.log: list[OrderReported] = []
        self.traceparents: list[str | None] = []
        self._hold_seconds = hold_seconds
        self._given_up: list[OrderReported] = []
        self._here = asyncio.Event()
        self._here.set()

    @property
    def ready(self) -> bool:
        return not self._given_up

    async def publish(self, report: OrderReported, traceparent: str | None = None) -> None:
        self.traceparents.append(traceparent)
        try:
            async with asyncio.timeout(self._hold_seconds):
                await self._here.wait()
        except TimeoutError:
            self._given_up.append(report)
            raise UnavailableError(f"Kafka did not take it within {self._hold_seconds:g} s") from None
        self.log.append(report)

    def go_away(self) -> None:
        self._here.clear()

    def come_back(self) -> None:
        self._here.set()
        self.log += self._given_up
        self._given_up = []


@dataclass
class Served:
    """A server of this process, and somebody who calls it."""

    url: str
    server: BridgeServer
    metrics: BridgeMetrics
    client: httpx.AsyncClient

    async def post(
        self, body: Any, workspace_id: str = "shop-5", job_id: str = "job-17", **more: Any
    ) -> httpx.Response:
        """Report as the robot does; what is no bytes is JSON."""
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        url = callback_url(self.url + PATH, workspace_id, job_id)
        return await self.client.post(url, **{"headers": HEADERS, **content, **more})

    def count(self, result: str) -> float:
        """Return how many reports ended so."""
        value = self.metrics.registry.get_sample_value("robot_orchestrator_bridge_reports_total", {"result": result})
        return value or 0.0


@contextlib.asynccontextmanager
async def served(publisher: Publisher, settings: BridgeSettings | None = None) -> AsyncIterator[Served]:
    """Serve a publisher over real HTTP."""
    settings, metrics = settings or bridge_settings(), BridgeMetrics()
    server = bridge_server(settings, publisher, BridgeJournal(metrics))
    with bridge_socket(settings) as sock:
        url = f"http://{HOST}:{sock.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            try:
                yield Served(url, server, metrics, client)
            finally:
                server.should_exit = True
                await serving


class BridgeProcess(WorkerProcess):
    """A bridge in a process of its own, as production runs it."""

    def __init__(
        self,
        bootstrap_servers: str,
        log_path: Path,
        variables: Mapping[str, str] | None = None,
        command: Sequence[str] = PRODUCTION,
        python: str = sys.executable,
    ) -> None:
        own = {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "ROBOT_CALLBACK_SECRET": CALLBACK_SECRET,
            "ROBOT_ORCHESTRATOR_LOG_FORMAT": "json",
        }
        super().__init__(
            {**own, **(variables or {})}, log_path, command, python, port_variable="ROBOT_ORCHESTRATOR_BRIDGE_PORT"
        )

    def callback(self, workspace_id: str, job_id: str) -> str:
        """Return the address to which a job's orders are reported."""
        return callback_url(f"http://{HOST}:{self.probe_port}{PATH}", workspace_id, job_id)
