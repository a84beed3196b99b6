"""Measures a worker on a real Kafka and prints one table; asserts nothing. `make bench` runs all of it."""

import argparse
import asyncio
import logging
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.benchmarks.application import Cluster, existing_partitions
from tests.benchmarks.memory import memory
from tests.benchmarks.report import Row, describe_machine, print_table
from tests.benchmarks.showing import showing
from tests.benchmarks.takeover import takeover
from tests.benchmarks.throughput import burst, paced
from tests.benchmarks.ticks import ticks
from tests.support.kafka import Source, running_kafka, source

# What the table compares; a given Kafka has the count that it has.
PARTITIONS = (8, 2)


class Benchmark(StrEnum):
    """What can be run alone."""

    BURST = "burst"
    PACED = "paced"
    MEMORY = "memory"
    TICK = "tick"
    TAKEOVER = "takeover"
    SHOW = "show"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    burst_jobs: int
    paced_seconds: float
    waiting_jobs: int
    takeovers: int
    shown_jobs: int


FULL = Sizes(burst_jobs=2_000, paced_seconds=20, waiting_jobs=5_000, takeovers=5, shown_jobs=100_000)
QUICK = Sizes(burst_jobs=400, paced_seconds=5, waiting_jobs=1_000, takeovers=1, shown_jobs=10_000)


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer jobs: a first impression")
    parser.add_argument("--only", type=Benchmark, choices=list(Benchmark), metavar="NAME", help=", ".join(Benchmark))
    arguments = parser.parse_args()
    # Of a broker that is just up it says at length that this and that is not there yet.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    machine = describe_machine()
    sizes = QUICK if arguments.quick else FULL
    wanted = {arguments.only} if arguments.only else set(Benchmark)
    rows: dict[Benchmark, list[Row]] = {benchmark: [] for benchmark in Benchmark}
    if wanted - {Benchmark.TICK, Benchmark.TAKEOVER, Benchmark.SHOW}:
        # A topic's partition count is for good, so each count gets a broker of its own.
        for partitions in PARTITIONS[:1] if source() is Source.GIVEN or wanted == {Benchmark.MEMORY} else PARTITIONS:
            with tempfile.TemporaryDirectory() as folder, running_kafka(Path(folder)) as kafka:
                measured = measure(kafka.bootstrap_servers, partitions, Path(folder), wanted, sizes)
                for benchmark, found in asyncio.run(measured).items():
                    rows[benchmark] += found
    if Benchmark.TICK in wanted:
        rows[Benchmark.TICK] = ticks()
    if Benchmark.TAKEOVER in wanted:
        with tempfile.TemporaryDirectory() as folder, running_kafka(Path(folder)) as kafka:
            figures = takeover(kafka.bootstrap_servers, Path(folder), sizes.takeovers)
            rows[Benchmark.TAKEOVER] = asyncio.run(figures)
    if Benchmark.SHOW in wanted:
        with tempfile.TemporaryDirectory() as folder, running_kafka(Path(folder)) as kafka:
            rows[Benchmark.SHOW] = asyncio.run(showing(kafka.bootstrap_servers, sizes.shown_jobs))
    print_table([row for benchmark in Benchmark for row in rows[benchmark]], f"{machine}, {source()}")


async def measure(
    bootstrap_servers: str, partitions: int, folder: Path, wanted: Collection[Benchmark], sizes: Sizes
) -> dict[Benchmark, list[Row]]:
    """Run the benchmarks that need a Kafka."""
    cluster = Cluster(bootstrap_servers, await existing_partitions(bootstrap_servers) or partitions, folder)
    rows = {}
    if Benchmark.BURST in wanted:
        rows[Benchmark.BURST] = await burst(cluster, sizes.burst_jobs)
    if Benchmark.PACED in wanted:
        rows[Benchmark.PACED] = await paced(cluster, sizes.paced_seconds)
    # Waiting jobs cost the same however many partitions they lie in.
    if Benchmark.MEMORY in wanted and partitions == PARTITIONS[0]:
        rows[Benchmark.MEMORY] = await memory(cluster, sizes.waiting_jobs)
    return rows


if __name__ == "__main__":
    main()
