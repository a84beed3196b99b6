"""One run: workers or the limit, jobs published at once or at a rate, and what was seen of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.application import Application, Cluster, Pace, Program
from tests.benchmarks.children import Child, Measured
from tests.benchmarks.usage import JvmCpu, cpu_seconds, jvm_cpu

# Connections and caches are there before the measurement begins.
WARM_UP_JOBS = 50
WARM_UP_RATE = 50.0
LIMIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen of one run; times in seconds since 1970, by job id; `broker`: None where it is no process of ours.

    What the broker used is in milliseconds a job, with its work for the robot and for the load.
    """

    jobs: int
    submitted: Mapping[str, float]
    outcomes: Mapping[str, float]
    posts: Sequence[tuple[str, float]]
    completions: Mapping[str, float]
    failed: int
    outcome_records: int
    cpu_ms: float
    broker: JvmCpu | None
    transactions: float

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


async def run(cluster: Cluster, programs: Sequence[Program], jobs: int, *, rate: float, pace: Pace) -> Run:
    """Publish jobs, `rate` a second or, for 0, at once, to new workers or the limit, and read their outcomes."""
    async with Application(cluster, pace) as application:
        measured = [await application.start(program) for program in programs]
        await _load(cluster, measured, WARM_UP_JOBS, WARM_UP_RATE)
        found = await _load(cluster, measured, jobs, rate)
        seen = await application.robot_calls()
    submitted = found["submitted"]
    return Run(
        **found,
        jobs=jobs,
        posts=[(job_id, at) for job_id, at in seen["posts"] if job_id in submitted],
        completions=dict(seen["completions"]),
    )


async def _load(cluster: Cluster, measured: Sequence[Measured], jobs: int, rate: float) -> dict[str, Any]:
    """Let a load run; return what it has seen, and what the measured processes and the broker have used meanwhile."""
    limit_seconds = LIMIT_SECONDS + (jobs / rate if rate else 0)
    arguments = {"--bootstrap-servers": cluster.bootstrap_servers, "--jobs": jobs, "--rate": rate}
    arguments["--limit-seconds"] = limit_seconds
    words = [str(word) for pair in arguments.items() for word in pair]
    async with Child("tests.benchmarks.load", *words) as load:
        await load.read()
        broker, cpu, transactions = _broker(cluster), _cpu(measured), await _transactions(measured)
        load.go()
        found: dict[str, Any] = await load.read(limit_seconds + 30)
        broker_now = _broker(cluster)
        cpu, transactions = _cpu(measured) - cpu, await _transactions(measured) - transactions
    used = None
    if broker is not None and broker_now is not None:
        used = JvmCpu(*(1000 * (now - was) / jobs for was, now in zip(broker, broker_now, strict=True)))
    return {**found, "cpu_ms": cpu * 1000 / jobs, "broker": used, "transactions": transactions}


def _cpu(measured: Sequence[Measured]) -> float:
    return sum(cpu_seconds(each.pid) for each in measured)


async def _transactions(measured: Sequence[Measured]) -> float:
    return sum([await each.transactions() for each in measured])


def _broker(cluster: Cluster) -> JvmCpu | None:
    return None if cluster.broker_pid is None else jvm_cpu(cluster.broker_pid)
