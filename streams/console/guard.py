"""What stands before every page: who asks is known, and what is answered can do no harm in a browser."""

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.console.access import Gate, Refused, sent_from_elsewhere

API = "/api"
LOGIN = "/login"
PROBLEM_TYPE = "application/problem+json"
# Whoever asks.
_FOR_ALL = (LOGIN, "/livez", "/readyz")
STATIC = "/static"
_HEADERS = {
    # Nothing but what this server sends, and no script or style within a page.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def problem(status: int, detail: str) -> JSONResponse:
    """Return an error of the API, as RFC 9457 has it."""
    body: dict[str, Any] = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, media_type=PROBLEM_TYPE)


class Guard:
    """Asks the gate about each request; who asks is `request.state.person` then. Adds the headers to each answer."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        answer = self._refusal(scope) or self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        # Not the path of `request.url`, which is made with the host that the request names.
        request, path = HTTPConnection(scope), scope["path"]
        if scope["method"] not in ("GET", "HEAD") and sent_from_elsewhere(request):
            return _refuse(request, Refused.ELSEWHERE)
        if path in _FOR_ALL or path.startswith(f"{STATIC}/"):
            return None
        person = self._gate.person(request)
        if isinstance(person, Refused):
            return _refuse(request, person)
        scope.setdefault("state", {})["person"] = person
        return None


def _refuse(request: HTTPConnection, refused: Refused) -> Response:
    status = 401 if refused is Refused.LOGIN else 403
    if request.scope["path"].startswith(f"{API}/"):
        return problem(status, refused.value)
    if refused is Refused.LOGIN:
        query = request.scope["query_string"].decode("latin-1")
        target = request.scope["path"] + (f"?{query}" if query else "")
        return RedirectResponse(f"{LOGIN}?next={quote(target, safe='')}", 303)
    return PlainTextResponse(f"{refused.value}\n", status)
