"""What people see: a line on what is being measured, and the table at the end."""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the table."""

    benchmark: str
    figure: str
    value: str


def progress(text: str) -> None:
    """Say on standard error what is being done."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def describe_machine() -> str:
    """Return what the figures depend on; asked for before our own load is part of it."""
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return f"{cores} cores (load {load:.1f} before), Python {platform.python_version()}, {platform.machine()}"


def print_table(rows: Sequence[Row], caption: str) -> None:
    """Print the figures, with what they were measured on below."""
    table = Table("benchmark", "figure", "value", title="One worker, jobs of two orders", caption=caption)
    previous = None
    for row in rows:
        if previous not in (None, row.benchmark):
            table.add_section()
        table.add_row("" if row.benchmark == previous else row.benchmark, row.figure, row.value)
        previous = row.benchmark
    # In a file the lines are as long as they need to be.
    console = Console() if sys.stdout.isatty() else Console(width=140)
    console.print(table)
