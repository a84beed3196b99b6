"""The tables of the README."""

from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text()


def table(first_cell: str) -> list[list[str]]:
    """Return the cells of the table whose head begins with a cell."""
    lines = README[README.index(f"\n| {first_cell} |") + 1 :].splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:end]]
