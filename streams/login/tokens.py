"""The token that all Kafka clients of a process log in with, renewed before it ends."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

# The part of its life after which it is renewed.
RENEWED_AFTER = 0.7
# What is left of it when it is handed over for the last time, so that it outlasts the handshake; of a short one a part.
LEFT_SECONDS, LEFT_OF_SHORT = 10.0, 0.25
RETRY_SECONDS = 5.0
# A token that is said to last no time at all is not asked for in a loop.
LEAST_SECONDS = 1.0
# Whoever gives it is bounded itself; this is for what cannot be, as a look-up of a name.
WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Token:
    """A token and for how long it is good from when it was asked for."""

    text: str = field(repr=False)
    lifetime_seconds: float


class TokenError(KafkaError):  # type: ignore[misc] # aiokafka has no types
    """There is no token; the text is one line without secrets, `fields` the settings to look at.

    It is an error of Kafka's, so that clients try again as they do when a broker is away.
    """

    def __init__(self, text: str, fields: tuple[str, ...]) -> None:
        super().__init__(text)
        self.text = text
        self.fields = fields

    def __str__(self) -> str:
        return self.text


class Tokens(AbstractTokenProvider):  # type: ignore[misc] # aiokafka has no types
    """Has one token for all clients, whatever thread or event loop asks.

    `fetch` takes its time, returns a new token or raises TokenError; it is called in a thread, and never twice at once.
    """

    def __init__(self, fetch: Callable[[], Token], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._good_until = 0.0
        self._fetching: Future[Token] | None = None
        self._timer: threading.Timer | None = None

    async def token(self) -> str:
        """Return a token that is good now. Raises TokenError."""
        if self._token is not None and self._clock() < self._good_until:
            return self._token.text
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return (await asyncio.wrap_future(self._renew())).text
        except TimeoutError:
            raise TokenError("nobody gives a token in time", ()) from None

    def _renew(self) -> Future[Token]:
        """Fetch one, unless that is going on; return where it will be."""
        with self._lock:
            if self._fetching is None or self._fetching.done():
                self._fetching = Future()
                # Whoever waits for it may stop waiting; the others go on.
                self._fetching.set_running_or_notify_cancel()
                _start(threading.Thread(target=self._fetch_into, args=(self._fetching,)))
            return self._fetching

    def _fetch_into(self, fetching: "Future[Token]") -> None:
        asked_at = self._clock()
        try:
            token = self._fetch()
        except BaseException as error:  # noqa: BLE001 # somebody waits for it, who must not wait for ever
            if self._token is not None:
                self._renew_in(RETRY_SECONDS)
            fetching.set_exception(error)
            return
        left = min(LEFT_SECONDS, LEFT_OF_SHORT * token.lifetime_seconds)
        self._good_until = asked_at + token.lifetime_seconds - left
        self._token = token
        self._renew_in(max(LEAST_SECONDS, RENEWED_AFTER * token.lifetime_seconds))
        fetching.set_result(token)

    def _renew_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._renew)
        _start(self._timer)


def _start(thread: threading.Thread) -> None:
    # The process may end whatever it waits for.
    thread.daemon = True
    thread.name = "kafka-token"
    thread.start()
