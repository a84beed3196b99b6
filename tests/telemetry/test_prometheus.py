"""A Prometheus that scrapes a worker and a bridge: the dashboard shows something, and the alerts mean something."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from schemas import JobCompleted
from streams.dev.child import spawn
from streams.dev.loopback import HOST, free_port
from tests.support.bridge import BridgeProcess
from tests.support.builders import submission
from tests.support.scene import Scene
from tests.support.tools import tool
from tests.telemetry.deployed import ALERTS, PROMETHEUS, queries

INTERVAL = "200ms"
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 60.0


class Prometheus:
    """A server on loopback, and somebody who asks it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def is_ready(self) -> bool:
        """Whether it can be asked."""
        with contextlib.suppress(httpx.ConnectError):
            return (await self._client.get("/-/ready")).is_success
        return False

    async def _ask(self, path: str, **parameters: str) -> Any:
        return (await self._client.get(f"/api/v1/{path}", params=parameters)).raise_for_status().json()["data"]

    async def unanswered(self) -> list[str]:
        """Return the queries of the dashboard that give nothing."""
        answers = {query: await self._ask("query", query=query) for query in queries()}
        return [query for query, data in answers.items() if not data["result"]]

    async def alerts(self) -> dict[str, str]:
        """Return in what state each alert is, or what is wrong with it."""
        data = await self._ask("rules")
        rules = [rule for group in data["groups"] for rule in group["rules"]]
        return {rule["name"]: rule["state"] if rule["health"] == "ok" else rule["health"] for rule in rules}


@contextlib.asynccontextmanager
async def prometheus(program: str, folder: Path, ports: dict[str, int]) -> AsyncIterator[Prometheus]:
    """Run the configuration that is deployed, in a hurry, with jobs at some ports."""
    config = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL}
    config["rule_files"] = [str(ALERTS)]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"{HOST}:{ports.pop(job['job_name'])}"]}]
    assert not ports
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"{HOST}:{free_port()}"
    options = (
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    )
    process = spawn([program, *options], folder / "prometheus.log")
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            server = Prometheus(client)
            await until(server.is_ready, bool)
            yield server
    finally:
        process.terminate()
        process.wait()


async def until(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> None:
    """Ask again until the answer is as wanted."""
    seen = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not wanted(seen := await look()):
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(seen) from None


async def test_every_panel_shows_something_and_an_alert_fires_for_the_first_report_that_is_refused(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    program = tool("prometheus", "prometheus")
    async with contextlib.AsyncExitStack() as stack:
        scene = await stack.enter_async_context(Scene(kafka_bootstrap, tmp_path))
        worker = await scene.worker()
        bridge = BridgeProcess(kafka_bootstrap, tmp_path / "bridge.log")
        stack.callback(bridge.close)
        await bridge.wait_ready()
        assert isinstance(await scene.outcome(await scene.submit(submission())), JobCompleted)
        ports = {"robot-orchestrator-worker": worker.probe_port, "robot-orchestrator-bridge": bridge.probe_port}
        server = await stack.enter_async_context(prometheus(program, tmp_path, ports))

        await until(server.unanswered, lambda queries: queries == [])
        await until(server.alerts, lambda states: set(states.values()) == {"inactive"})

        async with httpx.AsyncClient(trust_env=False) as client:
            refused = await client.post(bridge.callback("shop-5", "job-17"), headers={"X-Callback-Secret": "wrong"})
        assert refused.status_code == 401
        await until(server.alerts, lambda states: states["RobotOrchestratorReportsLost"] == "firing")
        states = await server.alerts()
        assert [name for name, state in states.items() if state != "inactive"] == ["RobotOrchestratorReportsLost"]
