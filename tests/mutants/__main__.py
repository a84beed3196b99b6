"""Mutates the engine, one change at a time, and lists what the fast tests do not notice: `make mutants`."""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.equivalents import Equivalent, entry_of, known, unused
from tests.mutants.mutate import Mutant, mutants_of
from tests.mutants.runner import Fate, Result, Runner

ROOT = Path(__file__).parents[2]
# The engine above its port: what talks to Kafka and to the robot is for the tests with a real one.
MODULES = (
    *(f"streams/core/{name}.py" for name in ("admission", "deadlines", "job", "table", "transition")),
    *(
        f"streams/wire/{name}.py"
        for name in ("dead_letters", "intake", "outcomes", "placement", "robot_request", "rows")
    ),
    *(f"streams/engine/{name}.py" for name in ("barrier", "calls", "claims", "deadline_scan", "gaps", "holes")),
    *(f"streams/engine/{name}.py" for name in ("ledger", "partition", "partitions", "ports", "watchdog", "worker")),
)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--module", action="append", metavar="FILE", help="mutate only this file; may repeat")
    parser.add_argument("--where", action="append", metavar="NAME", help="only in what is named so; may repeat")
    parser.add_argument("--budget", type=int, metavar="N", help="at most so many mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of that draw")
    parser.add_argument("--quick", action="store_true", help="only the tests named after the module, and no worlds")
    parser.add_argument("--worlds", type=int, default=100, help="simulated worlds that a mutant must survive")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="at most 2")
    parser.add_argument("--known", action="store_true", help="run those of equivalent.toml too")
    parser.add_argument("--entries", action="store_true", help="print survivors as entries for equivalent.toml")
    parser.add_argument("--verbose", action="store_true", help="print also what killed the others")
    parser.add_argument("--list", action="store_true", help="print the mutants and run none")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to mutate copies of")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants; return 1 if any survives that is not in the list of known ones."""
    options = _parse(arguments)
    modules = options.module or MODULES
    mutants = [
        mutant
        for module in modules
        for mutant in mutants_of(module, (options.root / module).read_text(encoding="utf-8"))
    ]
    entries = [entry for entry in known() if entry.module in modules]
    outdated = unused(entries, mutants)
    chosen = [mutant for mutant in mutants if any(name in mutant.where for name in options.where or [""])]
    if not options.known:
        chosen = [mutant for mutant in chosen if not _is_known(entries, mutant)]
    if options.budget is not None and options.budget < len(chosen):
        chosen = random.Random(options.seed).sample(chosen, options.budget)
    if options.list:
        for mutant in chosen:
            _say(str(mutant))
        return 0
    # Ended from outside it cleans up too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="robot-mutants-") as scratch:
        processes = max(1, min(2, options.processes))
        runner = Runner(options.root.resolve(), Path(scratch), processes, options.worlds, quick=options.quick)
        results = _run(runner, chosen, entries, options)
    _report(results, entries, outdated, time.monotonic() - started)
    return int(any(result.fate is Fate.SURVIVED and not _is_known(entries, result.mutant) for result in results))


def _is_known(entries: Sequence[Equivalent], mutant: Mutant) -> bool:
    return any(entry.fits(mutant) for entry in entries)


def _run(
    runner: Runner, mutants: Sequence[Mutant], entries: Sequence[Equivalent], options: argparse.Namespace
) -> list[Result]:
    modules = list(dict.fromkeys(mutant.module for mutant in mutants))
    if modules and (problem := runner.check(modules)):
        raise SystemExit(f"nothing was mutated: the tests fail as it is, at {problem}")
    results = []
    for result in runner.run(mutants):
        results.append(result)
        if result.fate is Fate.SURVIVED and not _is_known(entries, result.mutant):
            _say(entry_of(result.mutant) if options.entries else f"survived: {result.mutant}")
        elif options.verbose:
            _say(f"{result.fate}: {result.mutant}\n    {result.by}")
    return results


def _report(
    results: Sequence[Result], entries: Sequence[Equivalent], outdated: Sequence[Equivalent], seconds: float
) -> None:
    for entry in outdated:
        _say(f"no mutant fits this entry any more: {entry.module} {entry.where}: {entry.before}  ->  {entry.after}")
    for result in results:
        if result.fate is Fate.KILLED and _is_known(entries, result.mutant):
            _say(f"known to change nothing, but killed by {result.by}: {result.mutant}")
    survived = sum(result.fate is Fate.SURVIVED for result in results)
    _say(
        f"{len(results)} mutants in {seconds:.0f} s: {len(results) - survived} killed, {survived} survived; "
        f"{len(entries)} more are known to change nothing that is promised"
    )


if __name__ == "__main__":
    sys.exit(main())
