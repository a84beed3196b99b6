"""The program that mutates: which mutants it makes, and that it tells those that are noticed from the others."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.equivalents import known
from tests.mutants.mutate import mutants_of


@pytest.mark.parametrize(
    ("statement", "changed"),
    [
        ("x = a < b", {"x = a <= b", "x = a >= b"}),
        ("x = a == b", {"x = a != b"}),
        ("x = a and b", {"x = a or b", "x = a", "x = b"}),
        ("x = a is None or b < c", {"x = a is None and b < c", "x = a is None", "x = a is None or (b <= c)"}),
        ("x = not a", {"x = a"}),
        ("x = (a + b) * c", {"x = (a + b) / c", "x = ((a - b)) * c"}),
        ("x = 3", {"x = 4"}),
        ("x = True", {"x = False"}),
        ("x = min(a)", {"x = max(a)"}),
        ("x = 'text'", set()),
        ("x: int = f(a)[0]", set()),
        ("a.f(b)", {"pass"}),
        ("if a: b()", {"if not (a): b()", "if a: pass"}),
        ("def f(): a.b = c", {"def f(): pass"}),
        ("def f(): a = 'b'; return a", {"def f(): return; return a", "def f(): a = 'b'; return None"}),
        ("x = [a for a in b if a]", {"x = [a for a in b if not (a)]"}),
    ],
)
def test_a_statement_is_changed_in_these_ways(statement: str, changed: set[str]) -> None:
    made = {mutant.source.strip() for mutant in mutants_of("m.py", f"{statement}\n")}
    assert made == changed


def test_every_entry_of_the_list_has_a_reason() -> None:
    assert [entry for entry in known() if not entry.reason] == []


TOY = """def larger(a, b):
    return a if a > b else b


def unnoticed(a):
    return a + 1
"""
TOY_TEST = """from streams.toy import larger, unnoticed


def test_the_larger_one():
    assert larger(1, 2) == larger(2, 1) == 2
    assert unnoticed(1)
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    for folder in ("streams", "tests/unit"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "streams" / "toy.py").write_text(TOY, encoding="utf-8")
    (tmp_path / "tests" / "unit" / "test_toy.py").write_text(TOY_TEST, encoding="utf-8")
    return tmp_path


def test_what_no_test_notices_is_listed_and_the_tree_stays_as_it_was(toy: Path) -> None:
    command = [sys.executable, "-m", "tests.mutants", "--root", str(toy), "--module", "streams/toy.py", "--worlds", "0"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    assert "survived: streams/toy.py:2 larger" in run.stdout
    assert "+ return a if (a >= b) else b" in run.stdout
    assert "+ return a if (a <= b) else b" not in run.stdout
    assert "+ return a + 2" in run.stdout
    assert (toy / "streams" / "toy.py").read_text(encoding="utf-8") == TOY
