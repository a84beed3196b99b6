"""How `jobs list` shows jobs: ids are copied from it."""

import io
import uuid

import pytest
from rich.console import Console

from streams.commands.jobs import Line, as_table

IDS = [str(uuid.UUID(int=number)) for number in range(4)]
WHAT = "put off 3 times since 12:00:00 UTC: the robot was busy (409); waits for the robot, which refused its workspace"


def shown(width: int, *ids: str) -> list[str]:
    lines = [Line(*pair, "12:00:00 UTC", WHAT, "no") for pair in zip(ids[::2], ids[1::2], strict=True)]
    console = Console(file=io.StringIO(), width=width)
    console.print(as_table(lines, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_ids_stay_in_one_piece_and_nothing_is_left_out(width: int) -> None:
    lines = shown(width, *IDS)
    assert all(any(one in line for line in lines) for one in IDS)
    assert max(map(len, lines)) <= width
    words = " ".join(" ".join(lines).split())
    assert words.count("12:00:00 UTC") >= 2
    assert "again?" in words


def test_where_there_is_room_it_is_a_table() -> None:
    assert "submitted" in "".join(shown(140, *IDS))
    assert "submitted" in "".join(shown(80, "job-1", "shop-5"))
    assert "submitted" not in "".join(shown(80, *IDS))
