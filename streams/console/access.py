"""Who may look and act: a session, a token, a proxy's word, or whoever is on this machine."""

import base64
import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import HTTPConnection

from streams.operate.person import os_user
from streams.settings import ConsoleSettings

SESSION_COOKIE = "robot_orchestrator_session"
FORM_COOKIE = "robot_orchestrator_form"
SESSION_SECONDS = 12 * 3600
NAME_MAX_LENGTH = 100
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Refused(StrEnum):
    """Why a request is not answered."""

    LOGIN = "nobody is logged in"
    PROXY = "it did not come through the proxy that names people"
    HOST = "it is for another host"
    ELSEWHERE = "it was sent from another page"


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks."""

    name: str


class Gate:
    """Decides about requests. What it signs holds until the process ends."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings
        self._key = secrets.token_bytes(32)
        token = settings.console_token
        self._token = None if token is None else token.get_secret_value().encode()

    @property
    def has_login(self) -> bool:
        """Whether there is a token by which a person can log in."""
        return self._token is not None

    def is_token(self, given: str) -> bool:
        """Whether this is the token."""
        return self._token is not None and hmac.compare_digest(given.encode(), self._token)

    def person(self, request: HTTPConnection) -> Person | Refused:
        """Return who asks, or why that is not known."""
        if self._settings.console_is_open:
            return Person(os_user()) if self._is_for_us(request) else Refused.HOST
        if (name := self._named_by_proxy(request)) is not None:
            return Person(name)
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.is_token(given):
            return Person("api")
        name = self._opened(request.cookies.get(SESSION_COOKIE, ""))
        if name is not None and self.has_login:
            return Person(name)
        return Refused.LOGIN if self.has_login else Refused.PROXY

    def _is_for_us(self, request: HTTPConnection) -> bool:
        # Else a page from elsewhere, whose name was made to resolve to this machine, could read all of this.
        host = request.headers.get("host", "")
        return host.rpartition(":")[0] in _LOOPBACK_NAMES or host in _LOOPBACK_NAMES

    def _named_by_proxy(self, request: HTTPConnection) -> str | None:
        header = self._settings.console_user_header
        if header is None or request.client is None:
            return None
        address = ipaddress.ip_address(request.client.host)
        if isinstance(address, ipaddress.IPv6Address):
            # A socket of both kinds gives IPv4 addresses so.
            address = address.ipv4_mapped or address
        if not any(address in network for network in self._settings.proxy_networks):
            return None
        return request.headers.get(header, "").strip()[:NAME_MAX_LENGTH] or None

    def session(self, name: str) -> str:
        """Return the cookie of somebody who has logged in."""
        return self._sealed(f"{int(time.time()) + SESSION_SECONDS}:{name[:NAME_MAX_LENGTH]}")

    def _sealed(self, text: str) -> str:
        raw = text.encode()
        return f"{base64.urlsafe_b64encode(raw).decode().rstrip('=')}.{self._mac(b'session', raw)}"

    def _opened(self, cookie: str) -> str | None:
        encoded, _, mac = cookie.partition(".")
        try:
            raw = base64.urlsafe_b64decode(encoded + "==")
        except ValueError:
            return None
        if not hmac.compare_digest(mac.encode(), self._mac(b"session", raw).encode()):
            return None
        until, _, name = raw.decode().partition(":")
        return name if time.time() < int(until) else None

    def form_token(self, cookie: str) -> str:
        """Return what a form must carry that was made for the bearer of a cookie."""
        return self._mac(b"form", cookie.encode())

    def is_own_form(self, request: HTTPConnection, fields: Mapping[str, str]) -> bool:
        """Whether a form was made here, for the very browser that sends it."""
        cookie, given = request.cookies.get(FORM_COOKIE, ""), fields.get("form_token", "")
        return bool(cookie) and hmac.compare_digest(given.encode(), self.form_token(cookie).encode())

    def _mac(self, purpose: bytes, raw: bytes) -> str:
        return hmac.new(self._key, purpose + b":" + raw, hashlib.sha256).hexdigest()


def sent_from_elsewhere(request: HTTPConnection) -> bool:
    """Whether a browser says that a page of somebody else's has sent this."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")
