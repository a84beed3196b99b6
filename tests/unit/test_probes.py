"""Where the probes can be asked."""

import asyncio
from typing import Any, cast

import pytest

from streams.settings import WorkerSettings
from streams.telemetry.metrics import Metrics
from streams.telemetry.probes import Probes
from tests.support.builders import worker_variables


async def test_by_default_only_this_machine_can_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOT_ORCHESTRATOR_PROBE_HOST", raising=False)
    host = WorkerSettings(**cast(Any, worker_variables())).probe_host
    probes = Probes(host, 0, Metrics())
    await probes.start()
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", probes.port)
        writer.close()
        # Another address of this machine: answered by what listens everywhere.
        with pytest.raises(OSError, match=r"Connect call failed|unreachable|assign"):
            await asyncio.open_connection("127.0.0.2", probes.port)
    finally:
        await probes.stop()
