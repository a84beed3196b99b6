"""Every row of the table of patches names its test, and the stock parts are those that were seen to fail."""

import re
from importlib import metadata
from pathlib import Path

import pytest

from streams.faust_hardening.versions import TESTED

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "streams/faust_hardening/README.md").read_text()
ROWS = [line for line in TABLE.splitlines() if line.startswith("| `")]
TESTS = ROOT / "tests"
# The versions with which `make hardening` was last seen green: with these the stock parts fail as the table says.
STOCK_SEEN_FAILING = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}


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


def test_the_stock_parts_were_seen_to_fail_in_the_versions_that_are_installed() -> None:
    installed = {name: metadata.version(name) for name in TESTED}
    assert installed == STOCK_SEEN_FAILING, (
        "another version: run `make hardening`, which also shows what the stock parts do wrong. If a stock half passes "
        "no more, upstream has mended that, and its patch can go. When it is green, write the versions down here."
    )
