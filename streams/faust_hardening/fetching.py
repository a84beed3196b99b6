"""aiokafka's fetcher, where it asks again and again for little."""

import asyncio
from collections.abc import Callable
from typing import Any

# While so many messages are here and not done, it does not matter when the next ones come.
ENOUGH_MESSAGES = 64
# A fetch names every partition that may have something, which takes some 10 us each, of the request and of its answer.
REST_SECONDS_A_PARTITION = 0.0001


def rest_between_fetches(fetcher: Any, waiting: Callable[[], int]) -> None:
    """Let a fetcher that has sent a fetch rest before the next one, as long as `waiting` says that enough is here."""
    actions = fetcher._get_actions_per_node
    rested_at = 0.0

    def after_a_rest(assignment: Any) -> tuple[Any, ...]:
        nonlocal rested_at
        now = asyncio.get_running_loop().time()
        if now < rested_at and waiting() >= ENOUGH_MESSAGES:
            # Nothing to send, and when to ask again.
            return [], {}, rested_at - now, False, []
        found: tuple[Any, ...] = actions(assignment)
        if found[0]:
            rested_at = now + REST_SECONDS_A_PARTITION * len(assignment.tps)
        return found

    fetcher._get_actions_per_node = after_a_rest
