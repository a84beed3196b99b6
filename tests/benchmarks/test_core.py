"""What a job costs in the pure core does not grow unseen."""

import json
import os
import subprocess
import sys
from functools import cache

import pytest

from tests.benchmarks.core import PYTHON, STORED, TOLERANCE, Figures, exceeded

MEASURE = "import json; from tests.benchmarks.core import measure; print(json.dumps(measure()))"


@cache
def measured(hash_seed: int) -> Figures:
    """Measure in a new process, in which no other test has left anything."""
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    ran = subprocess.run([sys.executable, "-c", MEASURE], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    figures: Figures = json.loads(ran.stdout)
    return figures


def test_a_job_takes_no_more_instructions_and_memory_than_was_kept() -> None:
    """Who makes it dearer on purpose says so with `python -m tests.benchmarks.core --update`."""
    stored = json.loads(STORED.read_bytes())
    if stored["python"] != PYTHON:
        pytest.skip(f"{STORED.name} is of Python {stored['python']}, and each has instructions of its own")
    assert exceeded(stored["figures"], measured(1)) == []


def test_instructions_are_the_same_however_ids_are_hashed() -> None:
    first, second = measured(1), measured(2)
    names = [name for name in first if name.endswith("instructions")]
    assert names
    assert {name: first[name] for name in names} == {name: second[name] for name in names}


def test_a_figure_is_exceeded_past_the_tolerance_only() -> None:
    most = int(1000 * (1 + TOLERANCE))
    assert exceeded({"a": 1000, "b": 1000, "c": 1000}, {"a": most, "b": most + 1, "c": 1}) == ["b"]


def test_a_figure_of_one_side_only_is_told() -> None:
    assert exceeded({"gone": 1}, {"new": 1}) == ["gone", "new"]
