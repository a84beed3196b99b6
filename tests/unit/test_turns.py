"""Whose transaction is next."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from streams.engine import turns as module
from streams.engine.claims import Claimant
from streams.engine.turns import AT_ONCE, LITTLE, Turns

MUCH = LITTLE + 1


class Partition:
    """A partition with so much to do. Its transactions take as long as the test wants, and leave nothing to be done."""

    def __init__(self, turns: Turns, waiting: int) -> None:
        self.rounds: Counter[int] = Counter()
        self.waiting = waiting
        self.in_turn = False
        self.ends = asyncio.Event()
        self._turns = turns
        self.task = asyncio.create_task(self._run())

    @property
    def claimant(self) -> Claimant:
        return self

    @property
    def queued(self) -> int:
        return self.waiting

    def to_do(self, slots: int) -> int:
        return self.waiting + slots

    async def _run(self) -> None:
        async with self._turns.turn(self):
            self.in_turn = True
            try:
                await self.ends.wait()
            finally:
                self.in_turn = False
                self.waiting = 0


async def settle() -> None:
    """Let everybody do what they can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def working(turns: Turns, *waiting: int) -> tuple[list[Partition], Callable[[], Awaitable[list[int]]]]:
    """Return partitions with so much to do, the first of them in its turn, and what tells which have one."""
    partitions = [Partition(turns, waiting[0])]
    await settle()
    partitions += [Partition(turns, amount) for amount in waiting[1:]]

    async def in_turn() -> list[int]:
        await settle()
        return [nth for nth, partition in enumerate(partitions) if partition.in_turn]

    return partitions, in_turn


async def test_where_one_would_carry_much_they_go_one_after_the_other_as_they_came() -> None:
    partitions, in_turn = await working(Turns(dict), 1, MUCH, 1, 2 * MUCH)
    order = []
    assert await in_turn() == [0]
    for _ in range(3):
        (now,) = await in_turn()
        order.append(now)
        partitions[now].ends.set()
    assert order == [0, 1, 2]
    assert await in_turn() == [3]


async def test_of_many_that_have_little_each_a_few_go_at_once_however_much_that_is_together() -> None:
    """One after the other they would not keep up, since none fills."""
    _, in_turn = await working(Turns(dict), *[LITTLE] * 10 * AT_ONCE)
    assert await in_turn() == list(range(AT_ONCE))


async def test_while_little_waits_a_few_go_at_once() -> None:
    partitions, in_turn = await working(Turns(dict), *[1] * (AT_ONCE + 2))
    assert await in_turn() == list(range(AT_ONCE))
    partitions[1].ends.set()
    assert await in_turn() == [0, *range(2, AT_ONCE + 1)]


async def test_who_has_nothing_to_do_has_its_turn_when_it_has() -> None:
    turns = Turns(dict)
    (partition,), in_turn = await working(turns, 0)
    assert await in_turn() == []
    partition.waiting = 1
    turns.look()
    assert await in_turn() == [0]


async def test_call_slots_that_it_may_take_are_something_to_do() -> None:
    shares: dict[Claimant, int] = {}
    turns = Turns(lambda: shares)
    (partition,), in_turn = await working(turns, 0)
    assert await in_turn() == []
    shares[partition] = 1
    turns.look()
    assert await in_turn() == [0]


async def test_who_had_nothing_to_do_has_not_waited() -> None:
    """It comes behind those who were seen waiting, though it asked for a turn before them."""
    partitions, in_turn = await working(Turns(dict), 1, 0, MUCH, MUCH)
    assert await in_turn() == [0]
    partitions[0].ends.set()
    assert await in_turn() == [2]
    partitions[1].waiting = MUCH
    partitions[2].ends.set()
    assert await in_turn() == [3]
    partitions[3].ends.set()
    assert await in_turn() == [1]


async def test_others_do_not_wait_for_a_transaction_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    _, in_turn = await working(Turns(dict), 1, MUCH)
    assert await in_turn() == [0, 1]


@pytest.mark.parametrize("victim", [0, 1], ids=["in its turn", "while it waits"])
async def test_who_is_cancelled_leaves_its_turn_to_the_others(victim: int) -> None:
    partitions, in_turn = await working(Turns(dict), 1, MUCH, MUCH)
    assert await in_turn() == [0]
    partitions[victim].task.cancel()
    partitions[0].ends.set()
    assert await in_turn() == [1 if victim == 0 else 2]
