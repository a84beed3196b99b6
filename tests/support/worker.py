"""A worker in a process of its own, as production runs it."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from streams.dev.loopback import free_port

PRODUCTION = ("-m", "streams.cli", "worker")
READY_SECONDS = 60.0
POLL_SECONDS = 0.05


def freeze(pid: int) -> None:
    """Let a child process stand still; when this returns, no thread of it runs any more."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had resident (Linux: from /proc)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


class WorkerProcess:
    """A worker process with a log file; ended by pid, never by name."""

    def __init__(
        self,
        environment: Mapping[str, str],
        log_path: Path,
        command: Sequence[str] = PRODUCTION,
        python: str = sys.executable,
    ) -> None:
        self.log_path = log_path
        self.probe_port = free_port()
        self._log = log_path.open("ab")
        self._process = subprocess.Popen(
            [python, *command],
            env={**os.environ, **environment, "ROBOT_ORCHESTRATOR_PROBE_PORT": str(self.probe_port)},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this very process."""
        self._process.send_signal(number)

    def freeze(self) -> None:
        """Let it stand still until a SIGCONT."""
        freeze(self._process.pid)

    async def wait_ready(self) -> None:
        """Return when /readyz says so."""
        async with aiohttp.ClientSession() as session, asyncio.timeout(READY_SECONDS):
            while True:
                assert self.running, f"the worker ended:\n{self.log_tail()}"
                try:
                    async with session.get(f"http://127.0.0.1:{self.probe_port}/readyz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(POLL_SECONDS)

    async def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a path of the probe listener."""
        url = f"http://127.0.0.1:{self.probe_port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()

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
        self._log.close()

    def peak_bytes(self) -> int:
        """Return the most memory that it has had resident."""
        return peak_bytes(self._process.pid)

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the log lines that it has written."""
        return [json.loads(line) for line in self.log_path.read_bytes().splitlines() if line.startswith(b"{")]

    def log_tail(self) -> str:
        """Return the end of the log."""
        return "\n".join(self.log_path.read_text().splitlines()[-15:])
