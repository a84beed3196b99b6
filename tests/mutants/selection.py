"""Which of the fast tests can notice a change of a module, the most likely first."""

import ast
from collections import deque
from pathlib import Path

FOLDERS = ("tests/core", "tests/unit", "tests/simulation")
# They start processes, which would run the checkout, or run the many worlds that come last here anyway.
_LEFT_OUT = {"test_logs.py", "test_simulation.py"}


def lots_for(root: Path, module: str) -> list[list[str]]:
    """Return the test files that use a module, directly or not, in two lots: those named after it, and the others.

    The others are in order of the number of imports in between; where none has its name, the nearest stand for them.
    """
    distances = {
        path.relative_to(root).as_posix(): distance
        for folder in FOLDERS
        for path in sorted((root / folder).glob("test_*.py"))
        if path.name not in _LEFT_OUT and (distance := _distance(root, path, root / module)) is not None
    }
    nearest = sorted(distances, key=lambda path: distances[path])
    name = f"test_{Path(module).stem}"
    own = [path for path in nearest if Path(path).stem == name or Path(path).stem.startswith(f"{name}_")]
    own = own or [path for path in nearest if distances[path] == distances[nearest[0]]]
    return [own, [path for path in nearest if path not in own]]


def _distance(root: Path, test: Path, module: Path) -> int | None:
    seen, queue = {test}, deque([(test, 0)])
    while queue:
        path, distance = queue.popleft()
        if path == module:
            return distance
        for imported in _imports(root, path) - seen:
            seen.add(imported)
            queue.append((imported, distance + 1))
    return None


def _imports(root: Path, path: Path) -> set[Path]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = {root / f"{name.replace('.', '/')}.py" for name in names}
    return {file for file in files if file.is_file()}
