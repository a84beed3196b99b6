"""Counts what a job costs in the pure core and on the wire, without a clock, and compares that with core.json.

Instructions are those of Python's own bytecode: what compiled libraries do is not among them, and only the same version
of Python (3.11, say) has the same ones. Memory is what the job table and its strings keep. Both are the same on every
machine, however busy. `make bench-core`; --update keeps what was counted.
"""

import argparse
import gc
import json
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from rich.table import Table

from tests.benchmarks.lives import Lives
from tests.benchmarks.report import show

STORED = Path(__file__).with_name("core.json")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# By so much a figure may be more than the stored one.
TOLERANCE = 0.05
# After these Python has adapted its instructions to what they work on.
WARM_UP_JOBS = 50
COUNTED_JOBS = 50
KEPT_JOBS = 1_000
LIVES = {"not followed": False, "followed order by order": True}

Figures = dict[str, int]


def measure() -> Figures:
    """Return all figures. Belongs at the start of a process: caches that others have filled would show."""
    for followed in LIVES.values():
        for stage in Lives(WARM_UP_JOBS, followed=followed).stages.values():
            stage()
    gc.collect()
    # Others may have something to do whenever garbage is collected.
    gc.disable()
    figures: Figures = {}
    for name, followed in LIVES.items():
        figures |= _instructions(name, Lives(COUNTED_JOBS, followed=followed))
        gc.collect()
    for name, followed in LIVES.items():
        figures |= _memory(name, Lives(KEPT_JOBS, followed=followed))
        gc.collect()
    gc.enable()
    return figures


def exceeded(stored: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Return the figures that have grown past the tolerance, or are in one of both only."""
    return [
        name
        for name in {**stored, **now}
        if name not in stored or name not in now or now[name] > stored[name] * (1 + TOLERANCE)
    ]


def _instructions(name: str, lives: Lives) -> Figures:
    counts = {stage: _count(work) for stage, work in lives.stages.items()}
    assert lives.ended
    counts["whole life"] = sum(counts.values())
    return {f"{name}, {stage}: instructions": round(count / COUNTED_JOBS) for stage, count in counts.items()}


def _count(work: Callable[[], None]) -> int:
    """Return how many instructions some work takes."""
    instructions = 0

    def within(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal instructions
        instructions += event == "opcode"
        return within

    def entered(frame: FrameType, _event: str, _argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return within

    former = sys.gettrace()
    sys.settrace(entered)
    try:
        work()
    finally:
        sys.settrace(former)
    return instructions


def _memory(name: str, lives: Lives) -> Figures:
    """Return what a job that waits, and one that has ended, keeps: bytes, and blocks of Python's own allocator."""
    figures = {}
    blocks = sys.getallocatedblocks()
    tracemalloc.start()
    first, *rest = lives.stages.values()
    for state, works in {"waiting": [first], "ended": rest}.items():
        for work in works:
            work()
        gc.collect()
        figures[f"{name}, {state}: bytes"] = round(tracemalloc.get_traced_memory()[0] / KEPT_JOBS)
        figures[f"{name}, {state}: blocks"] = round((sys.getallocatedblocks() - blocks) / KEPT_JOBS)
    tracemalloc.stop()
    return figures


def _print(stored: Mapping[str, int], now: Mapping[str, int]) -> None:
    table = Table("a job", "before", "now", "change", title=f"The core and the wire, Python {PYTHON}")
    for name in {**stored, **now}:
        before, after = stored.get(name), now.get(name)
        change = f"{after / before - 1:+.1%}" if before and after is not None else ""
        table.add_row(name, "" if before is None else f"{before:,}", "" if after is None else f"{after:,}", change)
    show(table, width=120)


def main() -> None:
    """Run the comparison as a program: 1 if a figure is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.core", description=__doc__)
    parser.add_argument("--update", action="store_true", help=f"keeps what was counted in {STORED.name}")
    arguments = parser.parse_args()
    stored = json.loads(STORED.read_bytes())
    same = stored["python"] == PYTHON
    before: Figures = stored["figures"] if same else {}
    now = measure()
    _print(before, now)
    if arguments.update:
        STORED.write_text(json.dumps({"python": PYTHON, "figures": now}, indent=1) + "\n", encoding="utf-8")
    elif not same:
        sys.stdout.write(f"{STORED.name} is of Python {stored['python']}: nothing was compared\n")
    elif more := exceeded(before, now):
        sys.exit(f"over {TOLERANCE:.0%} more, or of one side only: {'; '.join(more)}. If that is meant: --update")


if __name__ == "__main__":
    main()
