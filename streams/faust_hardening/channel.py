"""An in-memory channel that a rebalance leaves alone."""

from typing import Any

from faust.channels import Channel
from mode.utils.queues import FlowControlEvent, ThrowableQueue


class DurableChannel(Channel[Any]):
    """A channel for claims that are already committed.

    A stock channel's queue belongs to the app's flow control: a rebalance clears it and makes its putters
    wait, and the claims in it would never be called. This one has a flow of its own that never stops.
    """

    @property
    def queue(self) -> ThrowableQueue[Any]:
        """The queue of this subscriber, without a bound: its content is bounded by the call slots."""
        if self._queue is None:
            self._queue = ThrowableQueue(flow_control=FlowControlEvent(initially_suspended=False))
        return self._queue

    def put_nowait(self, value: Any) -> None:
        """Hand a value to the one agent at once, without a chance to be cancelled in between.

        Raises RuntimeError unless there is exactly one: none would lose the claim, two would call it twice.
        """
        if len(self._subscribers) != 1:
            raise RuntimeError(f"the channel of claims has {len(self._subscribers)} readers")
        for subscriber in self._subscribers:
            subscriber.queue.put_nowait(value)
