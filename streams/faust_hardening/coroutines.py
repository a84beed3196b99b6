"""Coroutines that mostly have nothing to wait for."""

from collections.abc import Awaitable, Coroutine, Generator
from types import coroutine
from typing import Any


def begin(work: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Run a coroutine to where it waits for something; return what is left of it, None if it has ended."""
    try:
        waits_for = work.send(None)
    except StopIteration:
        return None
    return _rest_of(work, waits_for)


async def _rest_of(work: Coroutine[Any, Any, None], waits_for: Any) -> None:
    await _go_on(work, waits_for)


@coroutine
def _go_on(work: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    try:
        while True:
            try:
                answer = yield waits_for
            except BaseException as error:  # noqa: BLE001 # whatever is thrown in, cancellation too, is for the work
                waits_for = work.throw(error)
            else:
                waits_for = work.send(answer)
    except StopIteration:
        return
