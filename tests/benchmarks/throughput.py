"""What a worker does with a burst of jobs, with a steady stream of them and with none; beside it, the limit."""

import asyncio
from collections.abc import Sequence

from tests.benchmarks.application import Application, Cluster, Pace, Program
from tests.benchmarks.report import (
    JOBS_A_SECOND,
    LATENCY_MS,
    MIB,
    MS,
    RATIO,
    Row,
    Unit,
    percentiles,
    progress,
    several,
    single,
    spread,
)
from tests.benchmarks.runs import Run, run
from tests.benchmarks.usage import cpu_seconds, open_sockets, rss_bytes

BURST_DELAY_SECONDS = 0.1
PACED_DELAY_SECONDS = 1.0
RATES = (10.0, 50.0)
# The limit's waits are measured at one setting.
LIMIT_RATE = 50.0
SETTLE_SECONDS = 3.0
SHARE = Unit("% of a core", 1)
TRANSACTIONS = Unit("", 3)
COUNT = Unit("")


async def burst(cluster: Cluster, jobs: int, rounds: int) -> list[Row]:
    """Publish all jobs at once, some times over, each time to a new worker, and then to the limit.

    One round before them warms the broker up, and does not count.
    """
    found: dict[Program, list[Run]] = {program: [] for program in Program}
    for number in range(rounds + 1):
        for program in Program:
            nth = f"{number} of {rounds}" if number else "warm-up"
            progress(f"burst of {jobs} jobs, {cluster.partitions} partitions, {program}: {nth}")
            one = await run(cluster, [program], jobs, rate=0, pace=Pace(BURST_DELAY_SECONDS))
            if number:
                found[program].append(one)
    rows = [row for program in Program for row in _burst_rows(cluster.partitions, program, found[program])]
    return rows + _ratios(cluster.partitions, found[Program.WORKER], found[Program.LIMIT])


def _burst_rows(partitions: int, program: Program, runs: Sequence[Run]) -> list[Row]:
    title = f"burst, {partitions} partitions, {program}"
    figures = {
        ("speed", JOBS_A_SECOND): [run.jobs_a_second for run in runs],
        ("CPU a job", MS): [run.cpu_ms for run in runs],
        ("broker CPU a job", MS): [run.broker.rest for run in runs if run.broker],
        ("broker's compiler, CPU a job", MS): [run.broker.compiler for run in runs if run.broker],
        ("transactions a job", TRANSACTIONS): [run.transactions / run.jobs for run in runs],
    }
    return [
        *(
            several(title, name, spread(values), unit, partitions=partitions, program=program)
            for (name, unit), values in figures.items()
            if values
        ),
        *(Row(title, "check", check) for check in sorted({run.check for run in runs})),
    ]


def _ratios(partitions: int, ours: Sequence[Run], limits: Sequence[Run]) -> list[Row]:
    """Compare each worker with the limit that came right after it. What took no tick of CPU has no ratio."""
    title = f"burst, {partitions} partitions, worker / limit"
    pairs = list(zip(ours, limits, strict=True))
    ratios = {
        "speed": [our.jobs_a_second / limit.jobs_a_second for our, limit in pairs if limit.jobs_a_second],
        "CPU a job": [our.cpu_ms / limit.cpu_ms for our, limit in pairs if limit.cpu_ms],
        "broker CPU a job": [
            our.broker.rest / limit.broker.rest
            for our, limit in pairs
            if our.broker and limit.broker and limit.broker.rest
        ],
    }
    return [
        several(title, name, spread(values), RATIO, partitions=partitions) for name, values in ratios.items() if values
    ]


async def paced(cluster: Cluster, seconds: float, *, with_limit: bool) -> list[Row]:
    """Publish jobs at a steady rate to a worker; to the limit too, at one rate."""
    rows = []
    for rate in RATES:
        rows += await _paced(cluster, Program.WORKER, rate, seconds)
    if with_limit:
        rows += await _paced(cluster, Program.LIMIT, LIMIT_RATE, seconds)
    return rows


async def _paced(cluster: Cluster, program: Program, rate: float, seconds: float) -> list[Row]:
    progress(f"{rate:g} jobs/s for {seconds:g} s, {cluster.partitions} partitions, {program}")
    one = await run(cluster, [program], round(rate * seconds), rate=rate, pace=Pace(PACED_DELAY_SECONDS))
    title = f"paced at {rate:g}/s, {cluster.partitions} partitions, {program}"
    labels: dict[str, str | int] = {"partitions": cluster.partitions, "program": program, "rate": int(rate)}
    to_post = [(at - one.submitted[job_id]) * 1000 for job_id, at in one.posts]
    to_outcome = [(at - one.completions[job]) * 1000 for job, at in one.outcomes.items() if job in one.completions]
    return [
        several(title, "submit to POST", percentiles(to_post), LATENCY_MS, **labels),
        several(title, "completion to outcome", percentiles(to_outcome), LATENCY_MS, **labels),
        single(title, "CPU a job, idle cost included", one.cpu_ms, MS, **labels),
        single(title, "transactions a job", one.transactions / one.jobs, TRANSACTIONS, **labels),
        Row(title, "check", one.check),
    ]


async def idle(cluster: Cluster, seconds: float) -> list[Row]:
    """Let a worker do nothing."""
    progress(f"no jobs for {seconds:g} s, {cluster.partitions} partitions")
    async with Application(cluster, Pace(None)) as application:
        worker = await application.start_worker()
        await asyncio.sleep(SETTLE_SECONDS)
        before = cpu_seconds(worker.pid)
        await asyncio.sleep(seconds)
        share = (cpu_seconds(worker.pid) - before) / seconds
        memory, sockets = rss_bytes(worker.pid), open_sockets(worker.pid)
    title = f"no jobs, {cluster.partitions} partitions"
    return [
        single(title, "worker CPU", share * 100, SHARE, partitions=cluster.partitions),
        single(title, "worker memory", memory / 2**20, MIB, partitions=cluster.partitions),
        single(title, "worker's open sockets", sockets, COUNT, partitions=cluster.partitions),
    ]
