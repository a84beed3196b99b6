"""A token from an OpenID Connect provider: the client credentials of OAuth 2.0 (RFC 6749, section 4.4)."""

import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import quote_plus

import httpx
import msgspec

from streams.login.tokens import Token, TokenError
from streams.wire.scrub import scrub

# For the whole request, and for each step of it.
ANSWER_SECONDS, STEP_SECONDS = 10.0, 5.0
ANSWER_MAX_BYTES = 65_536
ERROR_MAX_LENGTH = 200
# Of a provider that does not say it (it need not).
ASSUMED_LIFETIME_SECONDS = 300.0
_URL, _CREDENTIALS = ("oauth_token_url",), ("oauth_client_id", "oauth_client_secret", "oauth_scope")


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """Who we are at the provider. `tls` is for an https address."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None
    tls: ssl.SSLContext


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float = ASSUMED_LIFETIME_SECONDS


class _Refused(msgspec.Struct):
    error: str
    error_description: str = ""


# Some write the seconds as a text.
_granted = msgspec.json.Decoder(_Granted, strict=False)
_refused = msgspec.json.Decoder(_Refused)


def fetch_token(credentials: ClientCredentials) -> Token:
    """Return a new token. Raises TokenError, which says whether the provider was not there or has refused."""
    where = f"no token from {credentials.token_url}"
    try:
        status, body = _ask(credentials)
    except httpx.HTTPError as error:
        raise TokenError(f"{where}: {_cause(error)}", _URL) from None
    if status != httpx.codes.OK:
        raise TokenError(f"{where}: it answers {status}{_words(body, credentials)}", _CREDENTIALS)
    try:
        granted = _granted.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # The error may quote it.
        raise TokenError(f"{where}: its answer is no token", _URL) from None
    if not granted.access_token.isascii() or not granted.access_token.isprintable():
        raise TokenError(f"{where}: its answer is no token", _URL)
    return Token(granted.access_token, granted.expires_in)


def _ask(credentials: ClientCredentials) -> tuple[int, bytes]:
    form = {"grant_type": "client_credentials"}
    if credentials.scope is not None:
        form["scope"] = credentials.scope
    # As section 2.3.1 has it: encoded as a form is, and then as a login of Basic.
    login = httpx.BasicAuth(quote_plus(credentials.client_id), quote_plus(credentials.client_secret))
    headers = {"Accept": "application/json"}
    ends_at = time.monotonic() + ANSWER_SECONDS
    with (
        httpx.Client(verify=credentials.tls, trust_env=False, timeout=STEP_SECONDS) as client,
        client.stream("POST", credentials.token_url, data=form, auth=login, headers=headers) as response,
    ):
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > ANSWER_MAX_BYTES or time.monotonic() > ends_at:
                raise httpx.ReadError("its answer does not end")
        return response.status_code, bytes(body)


def _cause(error: httpx.HTTPError) -> str:
    return "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__


def _words(body: bytes, credentials: ClientCredentials) -> str:
    """Return what the provider says of its refusal, without our secret."""
    try:
        refused = _refused.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    text = ": ".join(filter(None, (refused.error, refused.error_description)))
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f": {scrub(plain, [credentials.client_secret])[:ERROR_MAX_LENGTH]}"
