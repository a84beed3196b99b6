"""Keeps mixing faults: `python -m tests.chaos --minutes 30`, or one round again: `--seed 17 --rounds 1`."""

import argparse
import asyncio
import logging
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.chaos.faults import ALL, CLUSTER, SINGLE
from tests.chaos.plan import draw, five_kills
from tests.chaos.report import five_kills_line, table
from tests.chaos.round import Round, run_round


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Run rounds until the time is up; exit with 1 if any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="begin no round after this time")
    parser.add_argument("--rounds", type=int, default=10_000, help="at most so many rounds")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of the first round")
    parser.add_argument("--only", choices=list(ALL), metavar="FAULT", help="this fault alone: see faults.py")
    parser.add_argument("--five-kills", action="store_true", help="500 jobs, their worker killed five times")
    parser.add_argument("--outage-seconds", type=float, help="how long brokers_gone lasts; about a minute by default")
    parser.add_argument("--folder", type=Path, help="where data and logs go; a temporary folder by default")
    parser.add_argument("--keep", action="store_true", help="keep data and logs of clean rounds too")
    arguments = parser.parse_args()
    # Clients tell of every attempt to reach a broker that we have killed.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder: Path = arguments.folder or Path(tempfile.mkdtemp(prefix="robot-chaos-"))
    rounds: list[Round] = []
    end = time.monotonic() + arguments.minutes * 60
    while len(rounds) < arguments.rounds and time.monotonic() < end:
        seed = arguments.seed + len(rounds)
        plan = five_kills(seed) if arguments.five_kills else draw(seed, SINGLE, CLUSTER)
        if arguments.only:
            plan = replace(plan, faults=((2.0, arguments.only),))
        if arguments.outage_seconds:
            plan = replace(plan, outage_seconds=arguments.outage_seconds)
        place = folder / f"seed-{plan.seed}"
        one = asyncio.run(run_round(plan, place))
        rounds.append(one)
        _say(str(one))
        for violation in one.verdict.violations:
            _say(f"    VIOLATION {violation}")
        if one.verdict.violations:
            _say(f"    data and logs: {place}; again: --seed {plan.seed} --rounds 1")
        elif not arguments.keep:
            shutil.rmtree(place)
    if arguments.five_kills:
        _say(f"\n{five_kills_line(rounds)}")
    else:
        _say(f"\n{table(rounds)}")
    sys.exit(any(one.verdict.violations for one in rounds))


if __name__ == "__main__":
    main()
