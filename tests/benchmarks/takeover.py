"""How long the jobs of a partition are not called when its worker dies or is stopped."""

import asyncio
import signal
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from streams.wire.placement import partition_of
from tests.benchmarks.report import Row, Unit, progress, several, spread
from tests.support.builders import submission
from tests.support.scene import PARTITIONS, Scene

RATE = 40.0
# What the group may take for a worker's silence; the prototype's figures are for the same.
SESSION_SECONDS = 6
WARM_UP_SECONDS = 3.0
# After the last partition is served again: long enough to see a second rebalance, if one follows.
AFTERWARDS_SECONDS = 3.0
LIMIT_SECONDS = 90.0
GAP_SECONDS = Unit("s", 1)
HOW = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM}


async def takeover(bootstrap_servers: str, folder: Path, runs: int) -> list[Row]:
    """Measure a kill and a stop, of an only worker that is started again, and of one of two."""
    rows = []
    for how, number in HOW.items():
        for workers in (1, 2):
            gaps = []
            for run in range(runs):
                progress(f"takeover after {how}, {workers} worker(s): {run + 1} of {runs}")
                gaps.append(await _longest_gap(bootstrap_servers, folder, number, workers))
            title = f"takeover after {how}, session of {SESSION_SECONDS} s"
            who = f"{workers} worker{'s' if workers > 1 else ', started again at once'}"
            rows.append(several(title, who, spread(gaps), GAP_SECONDS))
    return rows


async def _longest_gap(bootstrap_servers: str, folder: Path, number: signal.Signals, workers: int) -> float:
    """Return the longest time in which no job of some partition was called, with new ones coming all the time."""
    environment = {"ROBOT_ORCHESTRATOR_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS)}
    async with Scene(bootstrap_servers, folder, environment) as scene:
        victim, *_ = [await scene.worker() for _ in range(workers)]
        submitted: dict[str, float] = {}
        load = asyncio.create_task(_load(scene, submitted))
        await asyncio.sleep(WARM_UP_SECONDS)
        since = time.time()
        victim.signal(number)
        await victim.wait_ended()
        if workers == 1:
            # As a supervisor does it; of two, the other one is there.
            await scene.worker(ready=False)
        async with asyncio.timeout(LIMIT_SECONDS):
            while not _every_partition_served(scene, {job_id for job_id, at in submitted.items() if at > since}):
                await asyncio.sleep(0.1)
        await asyncio.sleep(AFTERWARDS_SECONDS)
        load.cancel()
        return _gap(scene, since)


async def _load(scene: Scene, submitted: dict[str, float]) -> None:
    while True:
        job_id = await scene.submit(submission())
        submitted[job_id] = time.time()
        await asyncio.sleep(1 / RATE)


def _every_partition_served(scene: Scene, new: set[str]) -> bool:
    calls = scene.robot.calls
    return len({partition_of(call.workspace_id, PARTITIONS) for call in calls if call.job_id in new}) == PARTITIONS


def _gap(scene: Scene, since: float) -> float:
    calls: dict[int, list[float]] = defaultdict(list)
    for call in scene.robot.calls:
        calls[partition_of(call.workspace_id, PARTITIONS)].append(call.received_at.timestamp())
    pairs = (pair for times in calls.values() for pair in pairwise(sorted(times)))
    return max(later - max(earlier, since) for earlier, later in pairs if later > since)
