"""One token for every client, renewed before it ends, whatever thread and event loop asks for it."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from aiokafka.errors import KafkaError

from streams.login import tokens
from streams.login.tokens import LEFT_SECONDS, Token, TokenError, Tokens

HOUR = 3600.0


class Provider:
    """Gives numbered tokens, when it is `open` and does not refuse."""

    def __init__(self, lifetime_seconds: float = HOUR) -> None:
        self.lifetime_seconds = lifetime_seconds
        self.asked = 0
        self.refusal: Exception | None = None
        self.open = threading.Event()
        self.open.set()

    def __call__(self) -> Token:
        self.asked += 1
        number = self.asked
        self.open.wait()
        if self.refusal is not None:
            raise self.refusal
        return Token(f"token-{number}", self.lifetime_seconds)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_token_is_given_to_everybody_until_it_is_about_to_end() -> None:
    clock, provider = Clock(), Provider()
    given = Tokens(provider, clock)
    assert [await given.token() for _ in range(3)] == ["token-1"] * 3
    clock.now = HOUR - LEFT_SECONDS - 1
    assert await given.token() == "token-1"
    clock.now = HOUR - LEFT_SECONDS
    assert await given.token() == "token-2"


async def test_who_asks_at_once_waits_for_the_same_token_whichever_loop_it_is_of() -> None:
    provider = Provider()
    provider.open.clear()
    given = Tokens(provider)
    here = [asyncio.create_task(given.token()) for _ in range(3)]
    elsewhere = [asyncio.create_task(asyncio.to_thread(asyncio.run, given.token())) for _ in range(3)]
    impatient = asyncio.create_task(given.token())
    await asyncio.sleep(0)
    impatient.cancel()
    provider.open.set()
    assert set(await asyncio.gather(*here, *elsewhere)) == {"token-1"}
    assert provider.asked == 1


async def test_a_token_is_renewed_before_it_ends_though_nobody_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LEAST_SECONDS", 0.01)
    clock, provider = Clock(), Provider(lifetime_seconds=0.02)
    assert await Tokens(provider, clock).token() == "token-1"
    await _until(lambda: provider.asked >= 3)


async def test_a_renewal_that_fails_is_tried_again_while_the_token_is_still_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "LEAST_SECONDS", 0.01)
    monkeypatch.setattr(tokens, "RETRY_SECONDS", 0.01)
    clock, provider = Clock(), Provider(lifetime_seconds=0.02)
    given = Tokens(provider, clock)
    await given.token()
    provider.refusal = TokenError("away", ())
    seen = provider.asked
    await _until(lambda: provider.asked >= seen + 3)
    # The clock stands still.
    assert (await given.token()).startswith("token-")


@pytest.mark.parametrize("refusal", [TokenError("refused", ("oauth_client_id",)), RuntimeError("broken")])
async def test_what_is_wrong_is_told_to_whoever_asks_and_the_next_one_tries_again(refusal: Exception) -> None:
    provider = Provider()
    provider.refusal = refusal
    given = Tokens(provider)
    for _ in range(2):
        with pytest.raises(type(refusal), match=f"^{refusal}$"):
            await given.token()
    provider.refusal = None
    assert await given.token() == "token-3"


async def test_nobody_waits_for_ever_and_that_is_an_error_of_kafkas(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a broker that is away, so that clients try again."""
    monkeypatch.setattr(tokens, "WAIT_SECONDS", 0.01)
    provider = Provider()
    provider.open.clear()
    with pytest.raises(KafkaError, match=r"^nobody gives a token in time$"):
        await Tokens(provider).token()
    provider.open.set()


def test_a_token_is_in_no_repr() -> None:
    assert "s3cret" not in repr(Token("s3cret", HOUR))


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)
