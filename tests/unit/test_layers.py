"""The folders show the architecture: imports go one way, from a floor to those below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

STREAMS = Path(__file__).parents[2] / "streams"

# Bottom first. Rooms of one floor know nothing of each other.
FLOORS = (
    {"names", "version"},
    {"core"},
    {"wire"},
    {"login"},
    {"settings"},
    {"telemetry", "serving"},
    {"engine", "faust_hardening"},
    {"kafka", "robot"},
    {"operate"},
    {"dev"},
    {"worker", "bridge", "console"},
    {"app"},
    {"terminal"},
    {"commands"},
    {"cli"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def rooms() -> list[str]:
    return sorted(
        {path.relative_to(STREAMS).parts[0].removesuffix(".py") for path in STREAMS.rglob("*.py")} - {"__init__"}
    )


def modules_of(room: str) -> list[Path]:
    return [STREAMS / f"{room}.py"] if (STREAMS / f"{room}.py").is_file() else sorted((STREAMS / room).rglob("*.py"))


def rooms_imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            _, *inside = node.module.split(".")
            if node.module == "streams":
                yield from (alias.name for alias in node.names)
            elif node.module.startswith("streams."):
                yield inside[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("streams."))


def test_every_room_has_a_floor() -> None:
    assert rooms() == sorted(FLOOR_OF)


@pytest.mark.parametrize("room", sorted(FLOOR_OF))
def test_a_room_imports_only_from_the_floors_below_it(room: str) -> None:
    imported = {other for path in modules_of(room) for other in rooms_imported(path.read_text(encoding="utf-8"))}
    assert {other for other in imported - {room} if FLOOR_OF[other] >= FLOOR_OF[room]} == set()


def test_the_check_finds_every_way_to_import() -> None:
    source = "from streams import app\nfrom streams.kafka.reader import x\nimport streams.dev.stack\nimport os\n"
    assert list(rooms_imported(source)) == ["app", "kafka", "dev"]


def sources() -> list[Path]:
    return sorted(STREAMS.rglob("*.py"))


def test_constructors_take_at_most_five_arguments() -> None:
    """What belongs together is a value of its own; a dataclass is one."""
    long = [
        f"{path.name}: {len(arguments)}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        if len(arguments := [*node.args.args, *node.args.kwonlyargs]) > 1 + 5
    ]
    assert long == []


# The libraries have no public way to them. What is patched in Faust is its own business, in one folder.
# `_replace` is a named tuple's own, which has no other way to keep its fields' names free. The last two are what a
# consumer has to end, in programs without Faust too: see streams/kafka/consumer.py.
LIBRARIES_PRIVATE = {"_exit", "_send_request", "_replace", "_fetch_task", "_pending_tasks"}


def test_nobody_reaches_into_what_is_private_to_another() -> None:
    reached = [
        f"{path.name}:{node.lineno} {ast.unparse(node)}"
        for path in sources()
        if path.parent.name != "faust_hardening"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if node.attr not in LIBRARIES_PRIVATE and ast.unparse(node.value) not in ("self", "cls")
    ]
    assert reached == []
