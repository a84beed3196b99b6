"""A console: in this process over a file that a test has filled, or in one of its own."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import aiohttp
import httpx

from streams.console.access import Gate
from streams.console.changes import Changes
from streams.console.entries import Entry, JobChanged
from streams.console.follower import Cluster
from streams.console.page import Console
from streams.console.run import ConsoleServer, console_socket
from streams.console.store import Store
from streams.core.job import Job, Source, Status
from streams.dev.loopback import HOST
from streams.names import Topic
from streams.settings import ConsoleSettings
from streams.wire.records import TopicPartition
from streams.wire.rows import encode_row
from tests.support.builders import NOWHERE
from tests.support.worker import WorkerProcess

PRODUCTION = ("-m", "streams.cli", "console")
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
TIMEOUT = httpx.Timeout(60)
WAIT_SECONDS = 60.0


def console_settings(folder: Path, **variables: str) -> ConsoleSettings:
    """Return the settings of a console at a free port, with its file in a folder."""
    own = {
        "KAFKA_BOOTSTRAP_SERVERS": NOWHERE,
        "ROBOT_ORCHESTRATOR_CONSOLE_PORT": "0",
        "ROBOT_ORCHESTRATOR_CONSOLE_FILE": str(folder / "console.sqlite3"),
    }
    return ConsoleSettings(**cast(Any, own | variables))


def job(number: int = 0, **fields: Any) -> Job:
    """Return a job that waits, some fields changed; each number's was submitted a second after the one before."""
    at = NOW + timedelta(seconds=number)
    source = Source(Topic.SUBMITTED.value, 0, number)
    given = {"workspace_id": "shop-5", "job_id": f"job-{number}", "status": Status.PENDING, "submitted_at": at}
    return Job(**cast(Any, given | {"source": source, "fingerprint": "f", "order_count": 2} | fields))


def changed(row: Job, partition: int = 0) -> JobChanged:
    """Return the entry of a job's row."""
    return JobChanged(row, partition, encode_row(row))


@dataclass
class Followed:
    """What a follower knows, as a test has it; see Followed of the console."""

    problem: str | None = None
    behind: int | None = 0
    cluster: Cluster | None = field(
        default_factory=lambda: Cluster(NOW, frozenset({"worker-1"}), {Topic.SUBMITTED.value: 7})
    )


@dataclass
class Served:
    """A console of this process, and somebody who asks it."""

    url: str
    console: Console
    followed: Followed
    client: httpx.AsyncClient

    def take(self, *entries: Entry) -> None:
        """Write entries to the file, as a follower would, and tell of it."""
        self.console.store.apply(entries, {})
        self.console.changes.happened()


@contextlib.asynccontextmanager
async def served(
    settings: ConsoleSettings, entries: Iterable[Entry] = (), *, allow_actions: bool = False
) -> AsyncIterator[Served]:
    """Serve a file with entries over real HTTP."""
    followed, changes = Followed(), Changes()
    with Store(settings.console_file) as store, console_socket(settings) as sock:
        store.apply(entries, {TopicPartition("a-topic", 0): 1})
        console = Console(settings, store, followed, changes, Gate(settings), allow_actions)
        server = ConsoleServer(console)
        url = f"http://{HOST}:{sock.getsockname()[1]}"
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, trust_env=False) as client:
            try:
                yield Served(url, console, followed, client)
            finally:
                server.should_exit = True
                await serving


class ConsoleProcess(WorkerProcess):
    """A console in a process of its own, as production runs it."""

    def __init__(
        self,
        variables: Mapping[str, str],
        folder: Path,
        command: Sequence[str] = PRODUCTION,
        python: str = sys.executable,
    ) -> None:
        own = {
            "ROBOT_ORCHESTRATOR_LOG_FORMAT": "json",
            "ROBOT_ORCHESTRATOR_CONSOLE_FILE": str(folder / "console.sqlite3"),
        }
        super().__init__(
            {**own, **variables},
            folder / "console.log",
            command,
            python,
            port_variable="ROBOT_ORCHESTRATOR_CONSOLE_PORT",
        )


async def said(console: ConsoleProcess, path: str, holds: Callable[[Any], bool]) -> Any:
    """Return what the API says at a path as soon as it is as wanted."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                _, text = await console.get(f"/api{path}")
                if holds(answer := json.loads(text)):
                    return answer
            assert console.running, console.log_tail()
            await asyncio.sleep(0.1)
