"""The core imports nothing with which it could touch the world."""

import ast
import sys
from pathlib import Path

import pytest

from streams import core

FOLDER = Path(core.__file__).parent
MODULES = sorted(FOLDER.rglob("*.py"))
# Part of the standard library, but a way to the world, the clock or chance.
IMPURE = {"asyncio", "logging", "os", "time", "random", "socket", "subprocess", "threading", "pathlib", "secrets", "io"}
# Makes, changes, packs and unpacks values ten times as fast as the standard library could, and touches nothing else.
PURE_LIBRARIES = {"msgspec", "msgspec.structs"}


def imports_of(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


def is_pure(name: str) -> bool:
    top = name.split(".")[0]
    if name == "streams.core" or name.startswith("streams.core."):
        return True
    return top in sys.stdlib_module_names and top not in IMPURE


def test_the_core_has_the_modules_that_are_checked_here() -> None:
    assert {"transition.py", "admission.py", "deadlines.py", "job.py"} <= {path.name for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.name))
def test_a_core_module_imports_only_pure_parts_of_the_standard_library_and_the_core(path: Path) -> None:
    imported = imports_of(path.read_text(encoding="utf-8"))
    assert [name for name in sorted(imported - PURE_LIBRARIES) if not is_pure(name)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.name))
def test_a_core_module_asks_nobody_for_the_time_and_opens_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    }
    assert called & {"now", "utcnow", "today", "open", "print", "input", "exec", "eval", "__import__"} == set()


@pytest.mark.parametrize(
    "line",
    [
        "import faust",
        "import asyncio",
        "import logging",
        "import os",
        "from time import monotonic",
        "import random",
        "import socket",
        "from streams import rows",
        "from streams.wire.rows import row_key",
        "from streams.corelike import x",
        "from . import job",
        "def f():\n    import os.path",
        "import msgspec",
    ],
)
def test_the_check_finds_what_it_is_there_to_find(line: str) -> None:
    assert not all(is_pure(name) for name in imports_of(line))
