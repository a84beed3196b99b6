"""How long the jobs of a partition are not called when its worker dies, is stopped, or gets company."""

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import count, pairwise
from pathlib import Path

from streams.core.job import Status
from streams.dev.batches import Fate
from streams.names import LogEvent
from streams.wire.placement import partition_of
from tests.benchmarks.jobs import make_submissions
from tests.benchmarks.load import publish
from tests.benchmarks.report import SECONDS, Row, progress, several, spread
from tests.support.builders import new_id, submission
from tests.support.scene import Scene
from tests.support.worker import WorkerProcess

PARTITIONS = 8
# Jobs a second, one partition after the other: what lies between two of a partition is a part of every gap.
RATE = 40.0
RATE_OF_MOVES = 100.0
# What the group may take for a worker's silence; the prototype's figures are for the same.
SESSION_SECONDS = 6
WARM_UP_SECONDS = 3.0
# After the last partition is served again: long enough to see a second rebalance, if one follows.
AFTERWARDS_SECONDS = 3.0
LIMIT_SECONDS = 90.0
BUSY_WORKSPACES = [new_id() for _ in range(50)]
RUNS_WITH_MANY = 3
TAKEN_IN_SECONDS = 300.0
# By then what is being taken in has begun to be, and goes on to be for longer.
TAKING_IN_SECONDS = 0.3
HOW = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM}


async def takeover(bootstrap_servers: str, folder: Path, runs: int, waiting: int) -> list[Row]:
    """Measure a kill and a stop, of an only worker that is started again, and of one of two; and one that joins.

    And a kill where there are `waiting` jobs, in the midst of the transactions that take in more.
    """
    rows = []
    for how, number in HOW.items():
        for workers in (1, 2):
            gaps = []
            for run in range(runs):
                progress(f"takeover after {how}, {workers} worker(s): {run + 1} of {runs}")
                gaps.append(await _longest_gap(bootstrap_servers, folder, number, workers))
            title = f"takeover after {how}, session of {SESSION_SECONDS} s"
            who = f"{workers} worker{'s' if workers > 1 else ', started again at once'}"
            rows.append(several(title, who, spread(gaps), SECONDS))
    progress(f"takeover after kill -9, with {waiting} waiting jobs")
    gaps = [
        await _longest_gap(bootstrap_servers, folder, signal.SIGKILL, 2, waiting)
        for _ in range(min(runs, RUNS_WITH_MANY))
    ]
    title = f"takeover after kill -9, session of {SESSION_SECONDS} s"
    rows.append(several(title, f"2 workers, {waiting} waiting jobs, amid transactions", spread(gaps), SECONDS))
    return rows + await _moves(bootstrap_servers, folder, runs)


async def _moves(bootstrap_servers: str, folder: Path, runs: int) -> list[Row]:
    """Measure what the partitions that stay, and those that move, notice of a second worker that comes or goes."""
    found: dict[str, list[tuple[float, float]]] = {"joins": [], "leaves": []}
    for run in range(runs):
        progress(f"a second worker joins and leaves: {run + 1} of {runs}")
        environment = {"ROBOT_ORCHESTRATOR_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS)}
        async with Scene(bootstrap_servers, folder, environment, partitions=PARTITIONS) as scene:
            first = await scene.worker()
            load = asyncio.create_task(_load(scene, {}, RATE_OF_MOVES))
            await asyncio.sleep(WARM_UP_SECONDS)
            joined_at = time.time()
            second = await scene.worker()
            await asyncio.sleep(AFTERWARDS_SECONDS)
            stays = _partitions_of(first)
            left_at = time.time()
            second.signal(signal.SIGTERM)
            await second.wait_ended()
            await asyncio.sleep(AFTERWARDS_SECONDS)
            load.cancel()
            calls = _calls(scene)
            for how, since, until in (("joins", joined_at, left_at), ("leaves", left_at, time.time())):
                gaps = {number: _gap(times, since, until) for number, times in calls.items()}
                moved = max(gap for number, gap in gaps.items() if number not in stays)
                found[how].append((max(gaps[number] for number in stays), moved))
    return [
        several(
            f"a second worker {how}, {RATE_OF_MOVES:.0f} jobs/s on {PARTITIONS} partitions",
            f"longest gap in a partition that {what}",
            spread([pair[nth] for pair in pairs]),
            SECONDS,
        )
        for how, pairs in found.items()
        for nth, what in enumerate(("stays", "moves"))
    ]


def _partitions_of(worker: WorkerProcess) -> Collection[int]:
    partitions: list[int] = worker.told(LogEvent.REBALANCE_COMPLETED)[-1]["partitions"]
    return partitions


async def _longest_gap(
    bootstrap_servers: str, folder: Path, number: signal.Signals, workers: int, waiting: int = 0
) -> float:
    """Return the longest time in which no job of some partition was called, with new ones coming all the time."""
    environment = {"ROBOT_ORCHESTRATOR_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS)}
    async with Scene(bootstrap_servers, folder, environment, partitions=PARTITIONS) as scene:
        victim, *others = [await scene.worker() for _ in range(workers)]
        if waiting:
            await _let_wait(scene, [victim, *others], waiting)
        submitted: dict[str, float] = {}
        load = asyncio.create_task(_load(scene, submitted, RATE))
        await asyncio.sleep(WARM_UP_SECONDS)
        taking_in = asyncio.create_task(publish(scene.producer, make_submissions(waiting // 20, BUSY_WORKSPACES)))
        if waiting:
            await asyncio.sleep(TAKING_IN_SECONDS)
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
        await taking_in
        return max(_gap(times, since, time.time()) for times in _calls(scene).values())


async def _let_wait(scene: Scene, workers: Sequence[WorkerProcess], jobs: int) -> None:
    """Let as many jobs wait, behind batches of which nothing is ever heard."""
    first = make_submissions(len(BUSY_WORKSPACES), BUSY_WORKSPACES)
    scene.fates |= {one.job_id: Fate.LOSE for one in first}
    await publish(scene.producer, first + make_submissions(jobs, BUSY_WORKSPACES))
    async with asyncio.timeout(TAKEN_IN_SECONDS):
        while sum([await worker.metric("jobs", state=Status.PENDING) for worker in workers]) < jobs:
            await asyncio.sleep(0.5)


async def _load(scene: Scene, submitted: dict[str, float], rate: float) -> None:
    """Submit jobs, each of a workspace of its own, to all partitions in turn."""
    started = time.monotonic()
    for number in count():
        await asyncio.sleep(started + number / rate - time.monotonic())
        job_id = await scene.submit(submission(workspace_id=_workspace_in(number % PARTITIONS)))
        submitted[job_id] = time.time()


def _workspace_in(partition: int) -> str:
    return next(name for name in iter(new_id, None) if partition_of(name, PARTITIONS) == partition)


def _every_partition_served(scene: Scene, new: set[str]) -> bool:
    calls = scene.robot.calls
    return len({partition_of(call.workspace_id, PARTITIONS) for call in calls if call.job_id in new}) == PARTITIONS


def _calls(scene: Scene) -> dict[int, list[float]]:
    """Return when there was a call of each partition, in order."""
    calls: dict[int, list[float]] = defaultdict(list)
    for call in scene.robot.calls:
        calls[partition_of(call.workspace_id, PARTITIONS)].append(call.received_at.timestamp())
    return {number: sorted(times) for number, times in calls.items()}


def _gap(times: Sequence[float], since: float, until: float) -> float:
    """Return the longest time without a call, of what lies in a stretch of time."""
    return max(min(later, until) - max(earlier, since) for earlier, later in pairwise([*times, until]) if later > since)
