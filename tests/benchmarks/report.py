"""What people see: a line on what is being measured, and the table at the end. Its rows are figures with units."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `numbers` are of the `unit`; `labels` say of what: a count of partitions, a program."""

    benchmark: str
    figure: str
    value: str
    unit: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unit:
    """What numbers are in, and with how many digits behind the point people read them."""

    name: str
    digits: int = 0

    def text(self, numbers: Sequence[float]) -> str:
        """Return numbers as people read them; of none, a dash."""
        if not numbers:
            return "-"
        return " / ".join(f"{number:,.{self.digits}f}" for number in numbers) + f" {self.name}".rstrip()


JOBS_A_SECOND = Unit("jobs/s")
ROWS_A_SECOND = Unit("rows/s")
MS = Unit("ms", 2)
MICROSECONDS = Unit("µs", 2)
LATENCY_MS = Unit("ms", 1)
SECONDS = Unit("s", 2)
BYTES = Unit("bytes")
MIB = Unit("MiB")
RATIO = Unit("", 2)


def single(benchmark: str, figure: str, number: float, unit: Unit, **labels: str | int) -> Row:
    """Return a figure that is one number."""
    return Row(benchmark, figure, unit.text([number]), unit.name, {"value": number}, labels)


def several(benchmark: str, figure: str, numbers: Mapping[str, float], unit: Unit, **labels: str | int) -> Row:
    """Return a figure that is several numbers, each with its name."""
    named = f"{figure}: {' / '.join(numbers)}"
    return Row(benchmark, named, unit.text([*numbers.values()]), unit.name, numbers, labels)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the least, the middle and the most of what was measured several times."""
    return {"min": min(values), "median": median(values), "max": max(values)}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return below what half of the values lie, and 99 of a hundred; of fewer than two, nothing."""
    if len(values) < 2:
        return {}
    cuts = quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98]}


def progress(text: str) -> None:
    """Say on standard error what is being done."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def print_table(rows: Sequence[Row], caption: str) -> None:
    """Print the figures, with what they were measured on below."""
    table = Table("benchmark", "figure", "value", title="One worker, jobs of two orders", caption=caption)
    previous = None
    for row in rows:
        if previous not in (None, row.benchmark):
            table.add_section()
        table.add_row("" if row.benchmark == previous else row.benchmark, row.figure, row.value)
        previous = row.benchmark
    show(table, width=140)


def show(table: Table, width: int) -> None:
    """Print a table; in a file its lines are as long as they need to be, up to a width in characters."""
    console = Console() if sys.stdout.isatty() else Console(width=width)
    console.print(table)
