"""What is begun at once and has nothing to wait for needs no task; what has goes on like any other coroutine."""

import asyncio
from collections.abc import Awaitable

import pytest

from streams.faust_hardening.coroutines import begin


async def test_what_waits_for_nothing_has_ended_when_it_has_begun() -> None:
    done = []

    async def work() -> None:
        done.append(True)

    assert begin(work()) is None
    assert done


def test_an_error_on_the_way_is_raised_where_it_is_begun() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        begin(work())


class Work:
    """Waits twice, for a future and for a turn of the event loop, and notes how far it is and how it ended."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.get_running_loop().create_future()
        self.steps: list[str] = []

    async def run(self) -> None:
        try:
            self.steps.append(await self.may_go_on)
            await asyncio.sleep(0)
            self.steps.append("end")
        except BaseException as error:
            self.steps.append(type(error).__name__)
            raise


def begun(work: Work) -> Awaitable[None]:
    rest = begin(work.run())
    assert rest is not None
    return rest


async def test_what_waits_goes_on_when_that_has_come() -> None:
    work = Work()
    rest = begun(work)
    work.may_go_on.set_result("went on")
    await rest
    assert work.steps == ["went on", "end"]


async def test_what_it_waits_for_may_fail() -> None:
    work = Work()
    rest = begun(work)
    work.may_go_on.set_exception(LookupError())
    with pytest.raises(LookupError):
        await rest
    assert work.steps == ["LookupError"]


async def test_what_waits_can_be_cancelled() -> None:
    work = Work()
    rest = asyncio.ensure_future(begun(work))
    await asyncio.sleep(0)
    rest.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rest
    assert work.may_go_on.cancelled()
    assert work.steps == ["CancelledError"]
