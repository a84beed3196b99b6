"""A worker in a process of its own, as production runs it."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from streams.dev.child import spawn
from streams.dev.loopback import HOST, free_port
from streams.dev.stack import environment
from streams.names import LogEvent

PRODUCTION = ("-m", "streams.cli", "worker")
READY_SECONDS = 60.0
POLL_SECONDS = 0.05
# One that stands still takes a connection and never answers.
ANSWER_TIMEOUT = aiohttp.ClientTimeout(10)


def freeze(pid: int) -> None:
    """Let a child process stand still; when this returns, no thread of it runs any more."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


class WorkerProcess:
    """A worker process with a log file, which ends with this process; ended by pid, never by name."""

    def __init__(
        self,
        variables: Mapping[str, str],
        log_path: Path,
        command: Sequence[str] = PRODUCTION,
        python: str = sys.executable,
        *,
        port_variable: str = "ROBOT_ORCHESTRATOR_PROBE_PORT",
    ) -> None:
        self.log_path = log_path
        self.probe_port = free_port()
        with environment({**variables, port_variable: str(self.probe_port)}):
            self._process = spawn([python, *command], log_path)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with, None while it runs."""
        return self._process.poll()

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.exit_code is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this very process."""
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Let it stand still until a SIGCONT."""
        freeze(self.pid)

    def is_frozen(self) -> bool:
        """Whether it stands still after a SIGSTOP, its own or another's (Linux: from /proc)."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].startswith("T")
        return False

    async def is_ready(self) -> bool:
        """Whether /readyz says so now."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            return (await self.get("/readyz"))[0] == 200
        return False

    async def wait_ready(self) -> None:
        """Return when /readyz says so."""
        async with asyncio.timeout(READY_SECONDS):
            while not await self.is_ready():
                assert self.running, f"the worker ended:\n{self.log_tail()}"
                await asyncio.sleep(POLL_SECONDS)

    async def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a path of the probe listener."""
        url = f"http://{HOST}:{self.probe_port}{path}"
        async with aiohttp.ClientSession(timeout=ANSWER_TIMEOUT) as session, session.get(url) as response:
            return response.status, await response.text()

    async def metric(self, name: str, **labels: str) -> float:
        """Return the value of a sample of its /metrics, which has it from the start."""
        assert self.running, f"it ended:\n{self.log_tail()}"
        _, text = await self.get("/metrics")
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        (value, *_) = (
            sample.value
            for sample in samples
            if sample.name == f"robot_orchestrator_{name}" and labels.items() <= sample.labels.items()
        )
        return value

    async def wait_ended(self, within_seconds: float = 60) -> int:
        """Return the exit code when the process has ended."""
        async with asyncio.timeout(within_seconds):
            while self.running:
                await asyncio.sleep(POLL_SECONDS)
        return self._process.wait()

    async def stop(self) -> int:
        """Stop it cleanly and return the exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait_ended()

    async def kill(self) -> None:
        """End it as a crash of its machine would."""
        self.signal(signal.SIGKILL)
        await self.wait_ended()

    def close(self) -> None:
        """Leave nothing behind."""
        if self.running:
            self.signal(signal.SIGKILL)
        self._process.wait()

    def peak_bytes(self) -> int:
        """Return the most memory that it has had resident (Linux: from /proc)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the log lines that it has written."""
        # The last one may be half written.
        *lines, _ = self.log_path.read_bytes().split(b"\n")
        return [json.loads(line) for line in lines if line.startswith(b"{")]

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of an event."""
        return [line for line in self.log_lines() if line["event"] == event]

    async def wait_told(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """Return the log lines of an event when there are so many."""
        async with asyncio.timeout(READY_SECONDS):
            while len(lines := self.told(event)) < times:
                assert self.running, f"the worker ended:\n{self.log_tail()}"
                await asyncio.sleep(POLL_SECONDS)
        return lines

    def log_tail(self) -> str:
        """Return the end of the log."""
        return "\n".join(self.log_path.read_text().splitlines()[-15:])

    def last_words(self) -> str:
        """Return the error of the line with which it exited; without one, the event of the last line of all."""
        lines = self.log_lines()
        for line in reversed(lines):
            if line["event"] == LogEvent.WORKER_EXIT:
                return str(line.get("error", ""))
        return str(lines[-1]["event"]) if lines else ""
