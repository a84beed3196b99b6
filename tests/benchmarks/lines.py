"""What a child of the benchmarks tells its parent (see children.py): lines of JSON."""

import json
import sys


def say(value: object) -> None:
    """Tell it at once."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
