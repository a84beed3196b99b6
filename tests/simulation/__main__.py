"""Run the world of a seed, or of every seed of a range: `python -m tests.simulation FIRST [LAST]`."""

import sys
import time

from tests.simulation.world import problems_of


def main() -> None:
    """Run the worlds and print what is wrong with them."""
    first = int(sys.argv[1])
    last = int(sys.argv[2]) if len(sys.argv) > 2 else first
    started, broken = time.monotonic(), 0
    for seed in range(first, last + 1):
        for problem in problems_of(seed):
            broken += 1
            sys.stdout.write(f"seed {seed}: {problem}\n")
    seconds = time.monotonic() - started
    sys.stdout.write(f"{last - first + 1} worlds in {seconds:.1f} s, {broken} violations\n")
    sys.exit(broken > 0)


if __name__ == "__main__":
    main()
