"""The HTTP side: pages, API and probes over the file."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp

from streams.console.actions import action_routes
from streams.console.api import api_routes
from streams.console.guard import API, STATIC, Guard, problem
from streams.console.page import Console
from streams.console.pages import Pages, login_routes, page_routes
from streams.telemetry.probes import Checks, verdict
from streams.version import version

# What the probe checks, in words for a person.
CAUGHT_UP = "what there was in Kafka at the start is in the file"
FOLLOWS = "Kafka can be read"


def build_app(console: Console) -> ASGIApp:
    """Return the application."""
    app = FastAPI(
        title="robot-orchestrator console",
        version=version(),
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    pages = Pages(console)
    for routes in (api_routes(console), page_routes(console, pages), login_routes(console, pages)):
        app.include_router(routes)
    if console.allow_actions:
        app.include_router(action_routes(console, pages))
    app.mount(STATIC, StaticFiles(packages=[("streams.console", "static")]))
    _add_probes(app, console)
    _add_errors(app, pages)
    # Around all of it, so that an error has the headers too.
    return Guard(app, console.gate)


def _add_probes(app: FastAPI, console: Console) -> None:
    # It can answer only while the event loop turns.
    live: Checks = {"event loop turns": lambda: True}
    ready: Checks = {CAUGHT_UP: lambda: console.followed.behind == 0}
    notes: Checks = {FOLLOWS: lambda: console.followed.problem is None}

    @app.get("/livez", include_in_schema=False)
    async def livez(request: Request) -> Response:
        status, text = verdict(live, {}, verbose="verbose" in request.query_params)
        return PlainTextResponse(text, status)

    @app.get("/readyz", include_in_schema=False)
    async def readyz(request: Request) -> Response:
        status, text = verdict(ready, notes, verbose="verbose" in request.query_params)
        return PlainTextResponse(text, status)


def _add_errors(app: FastAPI, pages: Pages) -> None:
    def answer(request: Request, status: int, detail: str) -> Response:
        if request.scope["path"].startswith(f"{API}/"):
            return problem(status, detail)
        return pages.page(request, "error.html", status, detail=detail)

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> Response:
        return answer(request, error.status_code, error.detail)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        # What was given is not quoted.
        names = {str(one["loc"][-1]) for one in error.errors()}
        return answer(request, 400, f"cannot be understood: {', '.join(sorted(names))}")

    @app.exception_handler(Exception)
    async def broken(request: Request, _error: Exception) -> Response:
        return answer(request, 500, "the console could not do this; its log says why")
