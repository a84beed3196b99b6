"""Measures a worker on a real Kafka and prints one table; asserts nothing. `make bench` runs all of it."""

import argparse
import asyncio
import json
import logging
import tempfile
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from tests.benchmarks.application import Cluster, existing_partitions
from tests.benchmarks.chart import draw
from tests.benchmarks.console import console
from tests.benchmarks.document import document, in_words, surroundings
from tests.benchmarks.memory import memory
from tests.benchmarks.report import Row, print_table
from tests.benchmarks.scale import scale
from tests.benchmarks.showing import showing
from tests.benchmarks.table import table
from tests.benchmarks.takeover import takeover
from tests.benchmarks.throughput import burst, idle, paced
from tests.benchmarks.ticks import ticks
from tests.support.kafka import Kafka, Source, running_kafka, source

# What the table compares; a given Kafka has the count that it has.
PARTITIONS = (8, 2, 64)


class Benchmark(StrEnum):
    """What can be run alone."""

    BURST = "burst"
    PACED = "paced"
    IDLE = "idle"
    MEMORY = "memory"
    CONSOLE = "console"
    TICK = "tick"
    TABLE = "table"
    TAKEOVER = "takeover"
    SCALE = "scale"
    SHOW = "show"


# For each count of partitions.
COMPARED = {Benchmark.BURST, Benchmark.PACED, Benchmark.IDLE}
# Jobs that wait, or are looked at, cost the same however many partitions they lie in; workers have enough of the first.
ONCE = {Benchmark.MEMORY, Benchmark.CONSOLE, Benchmark.SCALE}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    burst_jobs: int
    burst_rounds: int
    paced_seconds: float
    idle_seconds: float
    waiting_jobs: int
    console_jobs: int
    takeovers: int
    taken_over_jobs: int
    scale_rounds: int
    shown_jobs: int
    table_rows: int


FULL = Sizes(
    burst_jobs=2_000,
    burst_rounds=5,
    paced_seconds=20,
    idle_seconds=20,
    waiting_jobs=5_000,
    console_jobs=1_000_000,
    takeovers=5,
    taken_over_jobs=100_000,
    scale_rounds=3,
    shown_jobs=100_000,
    table_rows=100_000,
)
QUICK = Sizes(
    burst_jobs=400,
    burst_rounds=3,
    paced_seconds=5,
    idle_seconds=5,
    waiting_jobs=1_000,
    console_jobs=50_000,
    takeovers=1,
    taken_over_jobs=5_000,
    scale_rounds=1,
    shown_jobs=10_000,
    table_rows=20_000,
)
# What a worker is to hold.
LARGE_TABLE = 1_000_000


def main() -> None:
    """Run the benchmarks."""
    arguments = _arguments()
    # Of a broker that is just up it says at length that this and that is not there yet.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    around = surroundings()
    sizes = QUICK if arguments.quick else FULL
    wanted = set(arguments.only or Benchmark)
    sizes = replace(sizes, table_rows=LARGE_TABLE) if arguments.large else sizes
    rows = measure(wanted, arguments.partitions, sizes)
    print_table(rows, in_words(around))
    given = {"partitions": arguments.partitions, "only": arguments.only, "sizes": asdict(sizes)}
    whole = document(around, given, rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.svg:
        arguments.svg.write_text(draw(whole["figures"]), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs: a first impression")
    parser.add_argument("--large", action="store_true", help=f"tables of {LARGE_TABLE:,} rows")
    names = ", ".join(Benchmark)
    parser.add_argument("--only", type=Benchmark, choices=list(Benchmark), nargs="+", metavar="NAME", help=names)
    counts = "counts of partitions to compare; what is measured once has the first"
    parser.add_argument("--partitions", type=int, nargs="+", default=list(PARTITIONS), metavar="COUNT", help=counts)
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes all figures there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draws the burst there")
    return parser.parse_args()


def measure(wanted: Collection[Benchmark], counts: Sequence[int], sizes: Sizes) -> list[Row]:
    """Run what is wanted, each count of partitions with a broker of its own, since a topic's count is for good."""
    rows: dict[Benchmark, list[Row]] = {benchmark: [] for benchmark in Benchmark}
    for nth, partitions in enumerate(counts[:1] if source() is Source.GIVEN else counts):
        if here := (COMPARED if nth else COMPARED | ONCE) & set(wanted):
            with tempfile.TemporaryDirectory() as folder, running_kafka(Path(folder)) as kafka:
                cluster = asyncio.run(_cluster(kafka, partitions, Path(folder)))
                found = asyncio.run(_compare(cluster, here, sizes, first=not nth))
            for benchmark, some in found.items():
                rows[benchmark] += some
    if Benchmark.TICK in wanted:
        rows[Benchmark.TICK] = ticks()
    if Benchmark.TABLE in wanted:
        rows[Benchmark.TABLE] = table(sizes.table_rows)
    if Benchmark.TAKEOVER in wanted:
        with tempfile.TemporaryDirectory() as folder, running_kafka(Path(folder)) as kafka:
            figures = takeover(kafka.bootstrap_servers, Path(folder), sizes.takeovers, sizes.taken_over_jobs)
            rows[Benchmark.TAKEOVER] = asyncio.run(figures)
    if Benchmark.SHOW in wanted:
        with tempfile.TemporaryDirectory() as folder, running_kafka(Path(folder)) as kafka:
            rows[Benchmark.SHOW] = asyncio.run(showing(kafka.bootstrap_servers, sizes.shown_jobs))
    return [row for benchmark in Benchmark for row in rows[benchmark]]


async def _cluster(kafka: Kafka, partitions: int, folder: Path) -> Cluster:
    """Return what is measured on; a given Kafka has the topics that it has."""
    existing = await existing_partitions(kafka.bootstrap_servers)
    pid = kafka.broker.pid if kafka.broker else None
    return Cluster(kafka.bootstrap_servers, existing or partitions, folder, pid)


async def _compare(
    cluster: Cluster, wanted: Collection[Benchmark], sizes: Sizes, *, first: bool
) -> dict[Benchmark, list[Row]]:
    """Run benchmarks in one Kafka; in the `first` one the limit has a steady stream too."""
    runs: dict[Benchmark, Callable[[], Awaitable[list[Row]]]] = {
        Benchmark.BURST: lambda: burst(cluster, sizes.burst_jobs, sizes.burst_rounds),
        Benchmark.PACED: lambda: paced(cluster, sizes.paced_seconds, with_limit=first),
        Benchmark.IDLE: lambda: idle(cluster, sizes.idle_seconds),
        Benchmark.MEMORY: lambda: memory(cluster, sizes.waiting_jobs),
        Benchmark.CONSOLE: lambda: console(cluster, sizes.console_jobs),
        Benchmark.SCALE: lambda: scale(cluster, sizes.burst_jobs, sizes.scale_rounds),
    }
    return {benchmark: await start() for benchmark, start in runs.items() if benchmark in wanted}


if __name__ == "__main__":
    main()
