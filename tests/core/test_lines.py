"""Lines beside plain lists, step by step; and that nothing is kept of who has left."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.lines import Lines, Ordered
from tests.core.builders import NOW

steps = st.lists(st.tuples(st.sampled_from(["append", "insert", "remove"]), st.integers(0, 2), st.integers(0, 5)))


@settings(max_examples=500, deadline=None)
@given(steps)
def test_lines_are_what_lists_would_be(taken: list[tuple[str, int, int]]) -> None:
    lines: Lines[int] = Lines()
    lists: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for number, (step, line, nth) in enumerate(taken):
        expected, text = lists[line], f"text-{number}"
        if step == "append":
            lines.append(line, text)
            expected.append(text)
        elif step == "insert":
            lines.insert(line, nth, text)
            expected.insert(nth, text)
        elif expected:
            gone = expected.pop(nth % len(expected))
            lines.remove(line, gone)
        assert {line: list(lines.all_of(line)) for line in lists} == lists
        assert {line: lines.first(line) for line in lines} == {line: texts[0] for line, texts in lists.items() if texts}
        assert [line in lines for line in lists] == [bool(texts) for texts in lists.values()]
        assert len(lines) == sum(map(bool, lists.values()))
    for line, texts in lists.items():
        for text in texts:
            lines.remove(line, text)
    assert not any(vars(lines).values()), "nothing is kept of an empty line"


def test_a_line_of_one_is_one_entry_of_one_dict() -> None:
    lines: Lines[str] = Lines()
    lines.append("line", "alone")
    assert [kept for kept in vars(lines).values() if kept] == [{"line": "alone"}]
    lines.append("line", "behind")
    lines.remove("line", "alone")
    assert [kept for kept in vars(lines).values() if kept] == [{"line": "behind"}]


def test_who_stands_in_no_line_takes_nobody_out_of_one() -> None:
    lines: Lines[str] = Lines()
    lines.append("w", "here")
    with pytest.raises(KeyError):
        lines.remove("w", "elsewhere")
    assert lines.first("w") == "here"


def test_nobody_leads_a_line_in_which_nobody_stands() -> None:
    with pytest.raises(KeyError):
        Lines[str]().first("line")


@given(st.lists(st.integers(0, 20)))
def test_texts_are_in_the_order_of_their_places_whatever_order_they_came_in(places: list[int]) -> None:
    ordered: Ordered[int] = Ordered(lambda text: places[int(text)])
    for number, place in enumerate(places):
        ordered.add(place, f"{number}")
    assert list(ordered.texts()) == sorted(map(str, range(len(places))), key=lambda text: places[int(text)])


def test_places_of_texts_that_come_in_their_order_are_not_asked_for_again() -> None:
    asked = []

    def place_of(text: str) -> datetime:
        asked.append(text)
        return NOW

    ordered = Ordered(place_of)
    for second, text in enumerate(("a", "b", "c")):
        ordered.add(NOW + timedelta(seconds=second // 2), text)
    assert (list(ordered.texts()), asked) == (["a", "b", "c"], [])
