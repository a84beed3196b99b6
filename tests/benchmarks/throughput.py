"""What a worker does with a burst of jobs and with a steady stream of them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from tests.benchmarks.application import Application, Cluster
from tests.benchmarks.children import Child, MeasuredWorker
from tests.benchmarks.report import Row, progress

BURST_DELAY_SECONDS = 0.1
PACED_DELAY_SECONDS = 1.0
PACED_RATE = 50.0
BURST_RUNS = 3
# Connections and caches are there before the measurement begins.
WARM_UP_JOBS = 50
IDLE_SECONDS = 3.0
LIMIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen of one run; times in seconds since 1970, by job id."""

    jobs: int
    submitted: Mapping[str, float]
    outcomes: Mapping[str, float]
    posts: Sequence[tuple[str, float]]
    completions: Mapping[str, float]
    failed: int
    outcome_records: int
    cpu_seconds: float
    transactions: float
    idle_cpu_share: float

    @property
    def jobs_a_second(self) -> float:
        """From the first publish to the last outcome."""
        if not self.outcomes:
            return 0.0
        return len(self.outcomes) / (max(self.outcomes.values()) - min(self.submitted.values()))

    @property
    def check(self) -> str:
        """How many jobs were POSTed and had an outcome, and how many more than once."""
        posted, seen = len({job_id for job_id, _ in self.posts}), len(self.outcomes)
        failed = f", {self.failed} failed" if self.failed else ""
        return (
            f"{self.jobs} jobs: {posted} POSTed, {len(self.posts) - posted} again; "
            f"{seen} outcomes, {self.outcome_records - seen} again{failed}"
        )


async def burst(cluster: Cluster, jobs: int) -> list[Row]:
    """Publish all jobs at once, some times over, each time with a new worker."""
    runs = []
    for number in range(BURST_RUNS):
        progress(f"burst of {jobs} jobs, {cluster.partitions} partitions: {number + 1} of {BURST_RUNS}")
        runs.append(await _run(cluster, jobs, rate=0, delay_seconds=BURST_DELAY_SECONDS))
    title = f"burst, {cluster.partitions} partitions"
    speeds = sorted(run.jobs_a_second for run in runs)
    return [
        Row(title, "jobs/s, min / median / max", " / ".join(f"{speed:.0f}" for speed in speeds)),
        Row(title, "worker CPU a job", f"{median(_cpu_ms(run) for run in runs):.2f} ms"),
        Row(title, "transactions a job", f"{median(run.transactions / run.jobs for run in runs):.3f}"),
        *(Row(title, "check", check) for check in sorted({run.check for run in runs})),
    ]


async def paced(cluster: Cluster, seconds: float) -> list[Row]:
    """Publish jobs at a steady rate."""
    progress(f"{PACED_RATE:g} jobs/s for {seconds:g} s, {cluster.partitions} partitions")
    jobs = round(PACED_RATE * seconds)
    run = await _run(cluster, jobs, rate=PACED_RATE, delay_seconds=PACED_DELAY_SECONDS)
    title = f"paced at {PACED_RATE:g}/s, {cluster.partitions} partitions"
    to_post = [at - run.submitted[job_id] for job_id, at in run.posts]
    to_outcome = [at - run.completions[job_id] for job_id, at in run.outcomes.items() if job_id in run.completions]
    return [
        Row(title, "submit to POST, p50 / p99", _percentiles(to_post)),
        Row(title, "completion to outcome, p50 / p99", _percentiles(to_outcome)),
        Row(title, "worker CPU a job, idle cost included", f"{_cpu_ms(run):.2f} ms"),
        Row(title, "worker CPU when idle", f"{run.idle_cpu_share:.1%} of a core"),
        Row(title, "transactions a job", f"{run.transactions / run.jobs:.3f}"),
        Row(title, "check", run.check),
    ]


def _cpu_ms(run: Run) -> float:
    return run.cpu_seconds * 1000 / run.jobs


def _percentiles(seconds: Sequence[float]) -> str:
    if len(seconds) < 2:
        return "-"
    cuts = quantiles(seconds, n=100, method="inclusive")
    return f"{cuts[49] * 1000:.1f} / {cuts[98] * 1000:.1f} ms"


async def _run(cluster: Cluster, jobs: int, *, rate: float, delay_seconds: float) -> Run:
    async with Application(cluster, delay_seconds) as application:
        worker = await application.start_worker()
        await _load(cluster, worker, WARM_UP_JOBS, PACED_RATE)
        idle_before = worker.cpu_seconds()
        await asyncio.sleep(IDLE_SECONDS)
        idle_cpu_share = (worker.cpu_seconds() - idle_before) / IDLE_SECONDS
        found = await _load(cluster, worker, jobs, rate)
        robot = await application.robot_calls()
    submitted = found["submitted"]
    return Run(
        **found,
        jobs=jobs,
        posts=[(job_id, at) for job_id, at in robot["posts"] if job_id in submitted],
        completions=dict(robot["completions"]),
        idle_cpu_share=idle_cpu_share,
    )


async def _load(cluster: Cluster, worker: MeasuredWorker, jobs: int, rate: float) -> dict[str, Any]:
    """Let a load run; return what it has seen, and what the worker has used meanwhile."""
    limit_seconds = LIMIT_SECONDS + (jobs / rate if rate else 0)
    arguments = {"--bootstrap-servers": cluster.bootstrap_servers, "--jobs": jobs, "--rate": rate}
    arguments["--limit-seconds"] = limit_seconds
    words = [str(word) for pair in arguments.items() for word in pair]
    async with Child("tests.benchmarks.load", *words) as load:
        await load.read()
        cpu, transactions = worker.cpu_seconds(), await _transactions(worker)
        load.go()
        found: dict[str, Any] = await load.read(limit_seconds + 30)
        cpu, transactions = worker.cpu_seconds() - cpu, await _transactions(worker) - transactions
    return {**found, "cpu_seconds": cpu, "transactions": transactions}


async def _transactions(worker: MeasuredWorker) -> float:
    return await worker.metric("transactions_total", result="committed")
