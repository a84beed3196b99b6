"""Tokens that Kafka's own validator takes: who signs them, and an endpoint that gives them, as a provider's."""

import base64
import json
import time
import uuid
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote_plus

from aiohttp import BasicAuth, web
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from streams.dev.loopback import HOST, free_port

# Made up, of characters that a form, a header and a log write differently.
CLIENT_SECRET = "cl1ent:s3cret+/=&% x"
SCOPE = "kafka"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


class Signer:
    """Has a key of its own; `keys` is what a broker knows it by (JWKS)."""

    def __init__(self) -> None:
        self._key = generate_private_key(65_537, 2048)
        numbers = self._key.public_key().public_numbers()
        n, e = (_base64(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
        self.keys = json.dumps({"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": n, "e": e}]})

    def token(self, subject: str, lifetime_seconds: float) -> str:
        """Return a token for somebody, good from now on."""
        now = time.time()
        claims = {"sub": subject, "iat": now, "exp": now + lifetime_seconds, "jti": uuid.uuid4().hex, "scope": SCOPE}
        parts = [_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1"}, claims)]
        return ".".join((*parts, _base64(self._key.sign(".".join(parts).encode(), PKCS1v15(), SHA256()))))


class TokenEndpoint:
    """Use as `async with`: gives tokens to whoever knows the secret, and keeps those that it has given.

    `answer` is what it gives instead, as (status, body).
    """

    def __init__(self, signer: Signer, lifetime_seconds: float = 300.0) -> None:
        self.lifetime_seconds = lifetime_seconds
        self.answer: tuple[int, dict[str, Any]] | None = None
        self.given: list[str] = []
        self.secrets = {CLIENT_SECRET}
        self._signer = signer
        self._port = free_port()
        self.url = f"http://{HOST}:{self._port}/token"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen at its address."""
        app = web.Application()
        app.router.add_post("/token", self._give)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port).start()

    async def stop(self) -> None:
        """Listen no more, as while the provider is away."""
        await self._runner.cleanup()

    async def _give(self, http: web.Request) -> web.Response:
        if self.answer is not None:
            return web.json_response(self.answer[1], status=self.answer[0])
        form = await http.post()
        assert (form["grant_type"], form["scope"]) == ("client_credentials", SCOPE)
        login = BasicAuth.decode(http.headers["Authorization"])
        client_id, secret = (unquote_plus(text) for text in (login.login, login.password))
        if secret not in self.secrets:
            refusal = {"error": "invalid_client", "error_description": f"no client has the secret {secret}"}
            return web.json_response(refusal, status=401)
        token = self._signer.token(client_id, self.lifetime_seconds)
        self.given.append(token)
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime_seconds})
