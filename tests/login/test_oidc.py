"""What a provider is asked, what it may answer, and that no secret is in what is said of it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote_plus

import pytest
import trustme
from aiohttp import BasicAuth, web

from streams.dev.loopback import HOST, free_port
from streams.login import oidc
from streams.login.oidc import ASSUMED_LIFETIME_SECONDS, ClientCredentials, fetch_token
from streams.login.tokens import Token, TokenError

CLIENT_ID, SECRET = "a client+/1", "cl1ent:s3cret+/=&% x"
Answer = Callable[[web.Request], web.Response]


class Provider:
    """An endpoint that gives what a test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.answer: Answer = lambda _: web.json_response({"access_token": "t", "expires_in": 60})

    async def respond(self, http: web.Request) -> web.Response:
        self.asked.append((http.headers, dict(await http.post())))
        return self.answer(http)

    async def fetch(self, **other: Any) -> Token:
        given = {"token_url": self.url, "client_id": CLIENT_ID, "client_secret": SECRET, "scope": "kafka"}
        credentials = ClientCredentials(**{**given, "tls": ssl.create_default_context(), **other})
        return await asyncio.to_thread(fetch_token, credentials)

    async def problem(self, **other: Any) -> str:
        with pytest.raises(TokenError) as raised:
            await self.fetch(**other)
        text = str(raised.value)
        assert SECRET not in text
        assert "\n" not in text
        assert raised.value.fields
        return text.removeprefix(f"no token from {other.get('token_url', self.url)}: ")

    url = ""


async def _served(provider: Provider, tls: ssl.SSLContext | None) -> web.AppRunner:
    app = web.Application()
    app.router.add_post("/token", provider.respond)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, HOST, port, ssl_context=tls).start()
    provider.url = f"http{'s' if tls else ''}://{HOST}:{port}/token"
    return runner


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    runner = await _served(provider, None)
    yield provider
    await runner.cleanup()


async def test_a_token_is_asked_for_with_the_clients_credentials(provider: Provider) -> None:
    """As RFC 6749 has it: each of the two encoded as a form is, before they become a login of Basic."""
    assert await provider.fetch() == Token("t", 60)
    ((headers, form),) = provider.asked
    assert form == {"grant_type": "client_credentials", "scope": "kafka"}
    login = BasicAuth.decode(headers["Authorization"])
    assert (unquote_plus(login.login), unquote_plus(login.password)) == (CLIENT_ID, SECRET)
    await provider.fetch(scope=None)
    assert provider.asked[-1][1] == {"grant_type": "client_credentials"}


async def test_a_lifetime_may_be_a_text_or_missing(provider: Provider) -> None:
    provider.answer = lambda _: web.json_response({"access_token": "t", "expires_in": "3599"})
    assert await provider.fetch() == Token("t", 3599)
    provider.answer = lambda _: web.json_response({"access_token": "t"})
    assert await provider.fetch() == Token("t", ASSUMED_LIFETIME_SECONDS)


ANSWERS: dict[str, tuple[Answer, str]] = {
    "a refusal": (
        lambda _: web.json_response({"error": "invalid_client"}, status=401),
        "it answers 401: invalid_client",
    ),
    "words that repeat the secret": (
        lambda _: web.json_response(
            {"error": "invalid_client", "error_description": f"{SECRET}\nis wrong\x1b[31m"}, status=400
        ),
        "it answers 400: invalid_client: *** is wrong [31m",
    ),
    "no end of words": (
        lambda _: web.json_response({"error": "x" * 1000}, status=400),
        f"it answers 400: {'x' * oidc.ERROR_MAX_LENGTH}",
    ),
    "a page": (lambda _: web.Response(text=f"<p>{SECRET}", status=502), "it answers 502"),
    "another address": (
        lambda _: web.Response(status=302, headers={"Location": "http://elsewhere.example/"}),
        "it answers 302",
    ),
    "no token": (lambda _: web.json_response({"token": SECRET}), "its answer is no token"),
    "no JSON": (lambda _: web.Response(text=SECRET), "its answer is no token"),
    "a token of several lines": (
        lambda _: web.json_response({"access_token": "a\x01b"}),
        "its answer is no token",
    ),
    "a body without end": (lambda _: web.Response(body=b" " * 100_000), "its answer does not end"),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_what_is_no_token_is_said_in_one_line_without_the_secret(provider: Provider, what: str) -> None:
    provider.answer, said = ANSWERS[what]
    assert await provider.problem() == said


async def test_a_provider_that_does_not_answer_is_not_waited_for(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "STEP_SECONDS", 0.05)
    # It takes connections, and says nothing.
    with socket.create_server((HOST, free_port())) as silent:
        url = f"http://{HOST}:{silent.getsockname()[1]}/token"
        assert await provider.problem(token_url=url) == "no answer in time"


async def test_the_provider_must_show_a_certificate_that_is_trusted() -> None:
    authority, provider = trustme.CA(), Provider()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(tls)
    runner = await _served(provider, tls)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    assert await provider.fetch(tls=trusting) == Token("t", 60)
    assert "certificate verify failed" in await provider.problem()
    assert len(provider.asked) == 1
    await runner.cleanup()


def test_the_secret_is_in_no_repr() -> None:
    credentials = ClientCredentials("https://id.example/token", CLIENT_ID, SECRET, None, ssl.create_default_context())
    assert SECRET not in repr(credentials)
