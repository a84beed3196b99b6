"""Every row of the table of patches names the test that shows it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "streams/faust_hardening/README.md").read_text()
ROWS = [line for line in TABLE.splitlines() if line.startswith("| `")]
TESTS = ROOT / "tests"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_the_test_of_a_patch_exists(row: str) -> None:
    file, test = re.fullmatch(r"`(\w+)::(\w+)`", row.split("|")[5].strip()).groups()  # type: ignore[union-attr] # fails
    (path,) = TESTS.rglob(f"{file}.py")
    assert f"def {test}(" in path.read_text()


def test_every_patch_is_in_the_table() -> None:
    files = {path.name for path in (ROOT / "streams/faust_hardening").glob("[!_]*.py")}
    assert files == {row.split("`")[1] for row in ROWS}


def test_every_test_is_in_the_table() -> None:
    tests = {
        f"{path.stem}::{name}"
        for path in (TESTS / "hardening").glob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert tests <= set(re.findall(r"test_\w+::\w+", TABLE))
