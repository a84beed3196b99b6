"""Everything of a round that runs: Kafka, the robot, the workers and the producers, under one folder."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Self, cast

from streams.core.controls import Action
from streams.dev.loopback import HOST, free_port
from streams.dev.robot import HEALTH_PATH
from streams.dev.stack import Service
from streams.settings import WorkerSettings
from streams.wire.callback import CALLBACK_PATH, JOB_ID, WORKSPACE_ID
from tests.chaos.brokers import PARTITIONS, Brokers
from tests.chaos.load import Load, Producers, asked
from tests.chaos.plan import Plan
from tests.chaos.proxy import Proxy
from tests.chaos.workers import Fleet, Slot
from tests.support.builders import worker_variables

APP_ID = "chaos"
MAX_WORKERS = 4
BRIDGES = 2


class World:
    """Use as `async with`; the workers are not started by that."""

    def __init__(self, plan: Plan, folder: Path, *, proxied: bool, moving: bool) -> None:
        self.plan = plan
        self.folder = folder
        self.rng = Random(plan.seed + 1_000_000)
        self.kafka = Brokers(folder / "kafka", plan.brokers, proxied=proxied, moving=moving)
        self.posts_file = folder / "robot-posts.jsonl"
        self.robot = self._robot()
        self.bridges = [self._bridge(number) for number in range(BRIDGES if plan.followed else 0)]
        self.robot_links = [Proxy(self.robot.port)] if proxied else []
        self.fleet = Fleet(folder, self.rng, self._variables_of)
        self.load = Load(Random(plan.seed + 2_000_000), plan.jobs, plan.workspaces)
        self.producers = Producers(self.kafka.bootstrap_servers)
        self.settings = WorkerSettings(**cast(Any, self._variables_of(0) | self._direct()))
        # What a fault has seen that should not be.
        self.problems: list[str] = []
        # A fault that needs the broker, or the whole fleet, for itself.
        self.broker_lock = asyncio.Lock()
        self.fleet_lock = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.kafka.stop)
            await self.kafka.start()
            await self.kafka.create_topics(self.settings, compacted=self.plan.compacted)
            for bridge in self.bridges:
                stack.callback(bridge.kill)
                bridge.start()
            stack.callback(self.robot.kill)
            await self._start_robot(stack)
            await stack.enter_async_context(self.producers)
            await stack.enter_async_context(self.fleet)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stack.aclose()

    async def publish_load(self) -> None:
        """Publish the load: at once for a backlog, else spread over the round's time."""
        plan = self.plan
        pause = 0.0 if plan.backlog else plan.load_seconds / plan.jobs
        for record in self.load.records():
            self.producers.publish(record)
            await asyncio.sleep(pause)
        await self.producers.flush()

    async def hold(self, nth: int, at: float, seconds: float, *, everything: bool) -> None:
        """Be somebody who holds a workspace, or everything, for a while."""
        await asyncio.sleep(at)
        places: list[tuple[str | None, int]] = [(self.load.workspaces[nth % len(self.load.workspaces)], 0)]
        if everything:
            places = [(None, number) for number in range(PARTITIONS)]
        for action, pause in ((Action.HOLD, seconds), (Action.RELEASE, 0.0)):
            for workspace_id, number in places:
                record = asked(f"{action}-{nth}-{number}", action, workspace_id, partition=number)
                await self.producers.publish_in_turn(record)
            await asyncio.sleep(pause)

    def add_worker(self) -> Slot | None:
        """Add a worker, unless there are enough."""
        return self.fleet.add() if len(self.fleet.slots) < MAX_WORKERS else None

    async def _start_robot(self, stack: contextlib.AsyncExitStack) -> None:
        self.robot.start()
        await asyncio.to_thread(self.robot.wait_until_ready)
        for proxy in self.robot_links:
            await proxy.start()
            stack.push_async_callback(proxy.stop)

    def _robot(self) -> Service:
        port = free_port()
        where = ("--port", str(port), "--log", str(self.posts_file))
        reports = ("--call-back",) if self.plan.followed else ("--bootstrap-servers", self.kafka.bootstrap_servers)
        # Everything else about it comes from the plan.
        options = replace(self.plan.robot).arguments()
        command = ("streams.dev.robot", *where, *reports, *options)
        return Service("robot", command, port, HEALTH_PATH, self.folder / "robot.log")

    def _bridge(self, number: int) -> Service:
        port = free_port()
        variables = {
            **worker_variables(self.kafka.address(number), f"http://{HOST}"),
            "ROBOT_ORCHESTRATOR_BRIDGE_PORT": str(port),
            "ROBOT_ORCHESTRATOR_LOG_FORMAT": "json",
        }
        log_file = self.folder / f"bridge-{number}.log"
        return Service(f"bridge-{number}", ("streams.cli", "bridge"), port, "/livez", log_file, variables)

    def _callback(self, number: int) -> dict[str, str]:
        if not self.bridges:
            return {}
        bridge = self.bridges[number % len(self.bridges)]
        return {"ROBOT_ORCHESTRATOR_CALLBACK_URL": f"{bridge.url}{CALLBACK_PATH}/{WORKSPACE_ID}/{JOB_ID}"}

    def _variables_of(self, number: int) -> dict[str, str]:
        robot_port = self.robot_links[0].port if self.robot_links else self.robot.port
        return {
            **self.plan.variables(),
            **worker_variables(self.kafka.address(number), f"http://{HOST}:{robot_port}"),
            **self._callback(number),
            "ROBOT_ORCHESTRATOR_APP_ID": APP_ID,
        }

    def _direct(self) -> dict[str, str]:
        return {"KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers}
