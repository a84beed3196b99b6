"""aiokafka's fetcher, where it asks again and again for little, or for nothing."""

import asyncio
from collections.abc import Callable
from typing import Any

# While so many messages are here and not done, it does not matter when the next ones come.
ENOUGH_MESSAGES = 64
# A fetch names every partition that may have something, which takes some 10 us each, of the request and of its answer.
REST_SECONDS_A_PARTITION = 0.0001
# A fetch that names all partitions is answered as soon as one of them has something. Until then nothing else can be
# asked of its broker: what a rebalance has just brought, too, waits for so long.
WHOLE_FETCH_WAIT_MS = 200


def rest_between_fetches(fetcher: Any, waiting: Callable[[], int]) -> None:
    """Let a fetcher that has sent a fetch rest before the next one, as long as `waiting` says that enough is here.

    And let a fetch that leaves out no partition wait longer at the broker: with nothing to do that is all there is.
    """
    actions = fetcher._get_actions_per_node
    rested_at = 0.0

    def after_a_rest(assignment: Any) -> tuple[Any, ...]:
        nonlocal rested_at
        now = asyncio.get_running_loop().time()
        if now < rested_at and waiting() >= ENOUGH_MESSAGES:
            # Nothing to send, and when to ask again.
            return [], {}, rested_at - now, False, []
        found: tuple[Any, ...] = actions(assignment)
        fetches, awaiting_offsets, _, leaders_unknown, paused = found
        if fetches:
            rested_at = now + REST_SECONDS_A_PARTITION * len(assignment.tps)
        if not (fetcher._records or awaiting_offsets or leaders_unknown or paused):
            for _, fetch in fetches:
                fetch._max_wait_ms = WHOLE_FETCH_WAIT_MS
        return found

    fetcher._get_actions_per_node = after_a_rest
