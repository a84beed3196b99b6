"""Lines of texts in which each step costs the same, however long a line is, and however many lines there are."""

import heapq
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import Generic, TypeVar

L = TypeVar("L")
P = TypeVar("P", int, datetime)


class Lines(Generic[L]):
    """Lines by name; a text stands in one of them at most, once.

    Who stands behind whom is told by one dict for all lines, and who is the first of a line by another. So a line of
    one costs its entry there, where a deque of its own would cost 760 bytes; and who leaves from the middle is not
    looked for.
    """

    def __init__(self) -> None:
        self._first: dict[L, str] = {}
        # Of lines of several.
        self._last: dict[L, str] = {}
        self._behind: dict[str, str] = {}
        self._before: dict[str, str] = {}

    def __contains__(self, line: L) -> bool:
        return line in self._first

    def __len__(self) -> int:
        """How many lines there are."""
        return len(self._first)

    def __iter__(self) -> Iterator[L]:
        return iter(self._first)

    def first(self, line: L) -> str:
        """Return who leads a line. Raises KeyError if nobody stands there."""
        return self._first[line]

    def all_of(self, line: L) -> Iterator[str]:
        """Return who stands in a line, the first one first; it may not change meanwhile."""
        text = self._first.get(line)
        while text is not None:
            yield text
            text = self._behind.get(text)

    def append(self, line: L, text: str) -> bool:
        """Let a text stand at the end of a line; return whether it leads it."""
        if line not in self._first:
            self._first[line] = text
            return True
        self._link(self._last.get(line, self._first[line]), text)
        self._last[line] = text
        return False

    def insert(self, line: L, nth: int, text: str) -> None:
        """Let a text stand as the n-th of a line, at its end if that is shorter; it costs the way there."""
        behind = next(islice(self.all_of(line), nth, None), None)
        if behind is None:
            self.append(line, text)
            return
        before = self._before.get(behind)
        if before is None:
            self._first[line] = text
            self._last.setdefault(line, behind)
        else:
            self._link(before, text)
        self._link(text, behind)

    def remove(self, line: L, text: str) -> None:
        """Take a text out of the line in which it stands. Raises KeyError if it stands in none."""
        before, behind = self._before.pop(text, None), self._behind.pop(text, None)
        if before is not None and behind is not None:
            self._link(before, behind)
        elif behind is not None:
            del self._before[behind]
            self._first[line] = behind
        elif before is not None:
            del self._behind[before]
            self._last[line] = before
        else:
            if self._first[line] != text:
                raise KeyError(text)
            del self._first[line]
            return
        if self._first[line] == self._last[line]:
            del self._last[line]

    def _link(self, before: str, behind: str) -> None:
        self._behind[before] = behind
        self._before[behind] = before


class Ordered(Generic[P]):
    """Texts in the order of their places, in which nearly all of them come: only the others are sorted.

    `place_of` tells a place again; to keep them until the end would take ten times the room of the texts' list.
    """

    def __init__(self, place_of: Callable[[str], P]) -> None:
        self._place_of: Callable[[str], P] = place_of
        self._texts: list[str] = []
        self._last: P | None = None
        self._others: list[str] = []

    def add(self, place: P, text: str) -> None:
        """Take in a text."""
        if self._last is not None and place < self._last:
            self._others.append(text)
        else:
            self._last = place
            self._texts.append(text)

    def texts(self) -> Iterator[str]:
        """Yield the texts, the one with the lowest place first."""
        if not self._others:
            return iter(self._texts)
        return heapq.merge(self._texts, sorted(self._others, key=self._place_of), key=self._place_of)
