"""What more workers bring: where the robot's time is the bound, and where the machine is."""

from tests.benchmarks.application import Cluster, Pace, Program
from tests.benchmarks.report import JOBS_A_SECOND, MS, RATIO, Row, progress, several, spread
from tests.benchmarks.runs import Run, run

WORKERS = (1, 2, 4)
# A worker calls 32 times a second at most.
SLOW = Pace(delay_seconds=0.1, answer_seconds=0.25, calls=8)
FAST = Pace(delay_seconds=0.1)
SLOW_JOBS_A_WORKER = 320


async def scale(cluster: Cluster, jobs: int, rounds: int) -> list[Row]:
    """Let one, two and four workers do a burst, in turn: of a robot that takes its time, and of one that does not."""
    rows = []
    for title, pace, jobs_a_worker in (
        (f"{SLOW.calls} calls a worker, answered in {SLOW.answer_seconds:g} s", SLOW, SLOW_JOBS_A_WORKER),
        ("answered at once", FAST, None),
    ):
        found: dict[int, list[Run]] = {workers: [] for workers in WORKERS}
        for nth in range(rounds):
            for workers in WORKERS:
                progress(f"scale-out, {title}, {workers} worker(s): {nth + 1} of {rounds}")
                count = workers * jobs_a_worker if jobs_a_worker else jobs
                found[workers].append(await run(cluster, workers * [Program.WORKER], count, rate=0, pace=pace))
        rows += _rows(f"scale-out, {cluster.partitions} partitions, {title}", found)
    return rows


def _rows(title: str, found: dict[int, list[Run]]) -> list[Row]:
    rows = []
    for workers, runs in found.items():
        who = f"{workers} worker{'s' if workers > 1 else ''}"
        speeds = spread([one.jobs_a_second for one in runs])
        more = [one.jobs_a_second / alone.jobs_a_second for one, alone in zip(runs, found[WORKERS[0]], strict=True)]
        rows += [
            several(title, f"{who}, speed", speeds, JOBS_A_SECOND, workers=workers),
            several(title, f"{who}, of one worker's speed", spread(more), RATIO, workers=workers),
            several(title, f"{who}, CPU a job of all", spread([one.cpu_ms for one in runs]), MS, workers=workers),
            *(Row(title, f"{who}, check", check) for check in sorted({one.check for one in runs})),
        ]
    return rows
