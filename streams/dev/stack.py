"""The services of a whole environment on one machine: Kafka, topics, simulated robot, bridge, console and workers.

Each is a child process with a log file of its own, and ends with this process. Only what was started here is
ended here, by its process id.
"""

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from streams.dev.batches import Fate
from streams.dev.child import spawn
from streams.dev.kafka import EmbeddedKafka
from streams.dev.kafka_jars import kafka_jars
from streams.dev.loopback import HOST, free_port, is_free
from streams.dev.robot import HEALTH_PATH
from streams.kafka.topics import create_topics
from streams.names import TOPIC_PREFIX_VARIABLE
from streams.settings import ConsoleSettings, WorkerSettings, load_settings
from streams.wire.callback import CALLBACK_PATH, JOB_ID, WORKSPACE_ID

PARTITIONS = 4
READY_SECONDS = 60.0
POLL_SECONDS = 0.05
LOG_TAIL_LINES = 8
# Nothing answers there, and nobody asks: the robot reports to the bridge.
APP_URL = f"http://{HOST}:3000"

Environment = Mapping[str, str]


class StackError(Exception):
    """The environment cannot come up; where a service does not, the text ends with what that said last."""


@contextlib.contextmanager
def environment(changes: Environment, without: tuple[str, ...] = ()) -> Iterator[None]:
    """Have these variables in this process for a while, and none that begin with `without`; children inherit them.

    The topics' prefix stays: it is this process's for good.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith(without) and name != TOPIC_PREFIX_VARIABLE:
            del os.environ[name]
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class Service:
    """A child process with an HTTP address that tells when it is ready."""

    name: str
    command: Sequence[str]
    port: int
    ready_path: str
    log_file: Path
    variables: Environment = field(default_factory=dict, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The address of its HTTP server."""
        return f"http://{HOST}:{self.port}"

    @property
    def exit_code(self) -> int | None:
        """What it ended with, None while it runs or when it was never started or has been stopped."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the process without waiting for it."""
        with environment(self.variables):
            self._process = spawn([sys.executable, "-m", *self.command], self.log_file)

    def wait_until_ready(self, within_seconds: float = READY_SECONDS) -> None:
        """Return when it says that it is ready. Raises StackError if it ends first, or takes too long."""
        give_up = time.monotonic() + within_seconds
        while not self._is_ready():
            if self.exit_code is not None:
                raise StackError(f"{self.name} ended with exit code {self.exit_code}{self._log_tail()}")
            if time.monotonic() > give_up:
                raise StackError(f"{self.name} was not ready within {within_seconds:.0f} s{self._log_tail()}")
            time.sleep(POLL_SECONDS)

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, within_seconds: float = 20) -> None:
        """End it in good order, or by force when that takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _is_ready(self) -> bool:
        with contextlib.closing(http.client.HTTPConnection(HOST, self.port, timeout=1)) as connection:
            try:
                connection.request("GET", self.ready_path)
                return connection.getresponse().status == http.client.OK
            except (OSError, http.client.HTTPException):
                return False

    def _log_tail(self) -> str:
        lines = self.log_file.read_text("utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"; from the end of {self.log_file}:", *lines])


@dataclass(frozen=True)
class RobotOptions:
    """How the simulated robot works: seconds, the status it refuses with, and its table of fates."""

    order_seconds: float = 0.0
    answer_delay_seconds: float = 0.0
    release_seconds: float = 0.0
    refuse_status: int = 409
    busy_attempts: int = 2
    fates: Mapping[str, Fate | Mapping[str, int]] = field(default_factory=dict)

    def arguments(self) -> list[str]:
        """Return the command line of `python -m streams.dev.robot`."""
        values = {
            "--order-seconds": self.order_seconds,
            "--answer-delay-seconds": self.answer_delay_seconds,
            "--release-seconds": self.release_seconds,
            "--refuse-status": self.refuse_status,
            "--busy-attempts": self.busy_attempts,
            "--fates": json.dumps(self.fates),
        }
        return [text for name, value in values.items() for text in (name, str(value))]


@dataclass(frozen=True)
class Plan:
    """What an environment has beside its Kafka; `variables` are settings of the workers.

    `console`: with a console, at its own port or, where that is taken, at any.
    """

    robot: RobotOptions
    workers: int
    variables: Environment
    console: bool = False


class Stack:
    """The environment, from `__enter__` to `__exit__`; `folder` gets its data and logs.

    `bootstrap_servers` is a Kafka that is already there; without one an embedded Kafka is started, at `port` or at any
    free one: at the default port, workers that belong elsewhere would come to it. `tell` hears of each step. Raises
    StackError or EmbeddedKafkaError.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        tell: Callable[[str], None],
        *,
        bootstrap_servers: str | None = None,
        port: int | None = None,
    ) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.posts_file = folder / "robot-posts.jsonl"
        self._wanted_workers = plan.workers
        self._tell = tell
        self._broker: EmbeddedKafka | None = None
        if bootstrap_servers is None:
            self._broker = EmbeddedKafka(folder / "kafka", port=port, log_file=self.logs / "kafka.log")
        self.bootstrap_servers = self._broker.bootstrap_servers if self._broker else bootstrap_servers or ""
        self.robot = self._robot(plan.robot)
        self.bridge = self._bridge(plan.variables)
        self.console = self._console(plan.variables) if plan.console else None
        self.workers: list[Service] = []
        # What a worker must have set to belong here.
        self.variables = dict(plan.variables) | {
            "ROBOT_COORDINADORA_URL": self.robot.url,
            "NEXT_PUBLIC_APP_URL": APP_URL,
            "ROBOT_ORCHESTRATOR_CALLBACK_URL": f"{self.bridge.url}{CALLBACK_PATH}/{WORKSPACE_ID}/{JOB_ID}",
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
        }

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:  # also an interrupt: `__exit__` is not called when this raises
            self.stop()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def settings(self) -> WorkerSettings:
        """Return the settings of the workers, apart from their probe ports."""
        with environment(self.variables):
            return load_settings(WorkerSettings)

    @property
    def services(self) -> list[Service]:
        """What runs beside Kafka."""
        console = [] if self.console is None else [self.console]
        return [self.robot, self.bridge, *console, *self.workers]

    def add_worker(self) -> Service:
        """Start one more worker without waiting for it."""
        port = free_port()
        name = f"worker-{len(self.workers) + 1}"
        variables = self.variables | {
            "ROBOT_ORCHESTRATOR_PROBE_PORT": str(port),
            "ROBOT_ORCHESTRATOR_LOG_FORMAT": "json",
        }
        worker = Service(name, ("streams.cli", "worker"), port, "/readyz", self.logs / f"{name}.log", variables)
        self.workers.append(worker)
        worker.start()
        return worker

    def stop_workers(self) -> None:
        """End the workers in good order, all at once."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.stop()

    def stop(self) -> None:
        """End everything that was started here."""
        self.stop_workers()
        for service in (self.robot, self.bridge, self.console):
            if service is not None:
                service.stop()
        if self._broker is not None:
            self._broker.stop()

    def _start(self) -> None:
        if self._broker is not None:
            kafka_jars(progress=self._tell)
            self._tell("starting Kafka")
            self._broker.start()
        self._tell("creating topics, starting the robot, the bridge and the workers")
        replication_factor = 1 if self._broker else -1  # as many as are of use on the cluster
        asyncio.run(create_topics(self.settings(), PARTITIONS, replication_factor))
        for service in self.services:
            service.start()
        for _ in range(self._wanted_workers):
            self.add_worker()
        for service in self.services:
            service.wait_until_ready()

    def _robot(self, options: RobotOptions) -> Service:
        port = free_port()
        where = ("--port", str(port), "--log", str(self.posts_file), "--call-back")
        command = ("streams.dev.robot", *where, *options.arguments())
        return Service("robot", command, port, HEALTH_PATH, self.logs / "robot.log")

    def _bridge(self, variables: Environment) -> Service:
        port = free_port()
        own = dict(variables) | {
            "ROBOT_ORCHESTRATOR_BRIDGE_PORT": str(port),
            "ROBOT_ORCHESTRATOR_LOG_FORMAT": "json",
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
        }
        return Service("bridge", ("streams.cli", "bridge"), port, "/readyz", self.logs / "bridge.log", own)

    def _console(self, variables: Environment) -> Service:
        with environment(variables):
            wanted = load_settings(ConsoleSettings).console_port
        port = wanted if is_free(wanted) else free_port()
        own = dict(variables) | {
            "ROBOT_ORCHESTRATOR_CONSOLE_HOST": HOST,
            "ROBOT_ORCHESTRATOR_CONSOLE_PORT": str(port),
            "ROBOT_ORCHESTRATOR_CONSOLE_FILE": str(self.folder / "console.sqlite3"),
            "ROBOT_ORCHESTRATOR_LOG_FORMAT": "json",
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
        }
        command = ("streams.cli", "console", "--allow-actions")
        return Service("console", command, port, "/readyz", self.logs / "console.log", own)
