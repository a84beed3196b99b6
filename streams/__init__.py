"""The worker side of robot-orchestrator; worker.py says how its parts meet."""

import sys
from importlib.util import find_spec
from pathlib import Path

# `faust -A` and `python -m` look first in the folder in which they are started.
_found = find_spec("schemas")
_file = _found.origin if _found is not None else None
if _file is None or Path(_file).parents[1] != Path(__file__).parents[1]:
    sys.exit(
        f"robot-orchestrator: its package `schemas` is hidden by another one ({_file}): "
        "start the program as `robot-orchestrator`, or in another folder"
    )
