"""The pages: HTML from templates, in which nothing of a record is ever markup."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from streams.console.access import FORM_COOKIE, NAME_MAX_LENGTH, SESSION_COOKIE, SESSION_SECONDS
from streams.console.api import DUE_SHOWN, list_jobs
from streams.console.guard import LOGIN
from streams.console.page import Console
from streams.console.payloads import UnreadableError, shown_value
from streams.console.reader import INTEGER_MAX, Filter
from streams.console.views import control_views, job_detail, letter_counts, letter_view, step_by, summary
from streams.core.job import FailureReason, JobKey, Source, Status
from streams.operate.console import printable
from streams.operate.standing import clock
from streams.version import version

PAGE_JOBS = 50
PAGE_LETTERS = 100
PAGE_CONTROLS = 200
# A form's fields; more is nobody's.
FORM_MAX_BYTES = 16_000
FORM_SECONDS = 10.0
# Of a letter: its partition, its offset.
Place = Annotated[int, Query(ge=0, le=INTEGER_MAX)]
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def age(instant: datetime, now: datetime) -> str:
    """Return how far an instant is from now, in the largest unit."""
    seconds = (now - instant).total_seconds()
    name, size = next((unit for unit in _UNITS if abs(seconds) >= unit[1]), _UNITS[-1])
    amount = f"{abs(seconds) // size:.0f} {name}"
    return f"{amount} ago" if seconds >= 0 else f"in {amount}"


def printable_lines(text: str) -> str:
    """Return a text of several lines, each as `printable` has it."""
    return "\n".join(map(printable, text.split("\n")))


def link(path: str, **values: object) -> str:
    """Return an address on this server; ids go where they may have any character."""
    given = {name: str(value) for name, value in values.items() if value is not None and value is not False}
    return f"{path}?{urlencode(given)}" if given else path


class Pages:
    """Renders templates."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._templates = Environment(
            loader=PackageLoader("streams.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"printable": printable, "printable_lines": printable_lines}
        self._templates.globals |= {"link": link, "age": age, "clock": clock, "version": version()}
        self._templates.globals |= {"statuses": list(Status), "reasons": list(FailureReason)}

    def page(self, request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page; it may have a form, so the browser gets a cookie that tells its forms from others'."""
        console, cookie = self._console, request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(16)
        person = getattr(request.state, "person", None)
        text = self._templates.get_template(name).render(
            now=datetime.now(UTC),
            here=request.scope["path"],
            person=person,
            has_login=console.gate.has_login,
            may_act=console.allow_actions,
            status=status,
            kafka=console.kafka(),
            change=console.changes.number,
            form_token=console.gate.form_token(cookie),
            **values,
        )
        response = HTMLResponse(text, status)
        set_cookie(request, response, FORM_COOKIE, cookie)
        return response


def set_cookie(request: Request, response: Response, name: str, value: str, seconds: int | None = None) -> None:
    """Set a cookie that no script and no other site gets."""
    secure = request.scope["scheme"] == "https"
    response.set_cookie(name, value, seconds, httponly=True, samesite="strict", secure=secure)


async def form_of(request: Request) -> Mapping[str, str]:
    """Return the fields of a form. Raises HTTPException for what is none."""
    body = b""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > FORM_MAX_BYTES:
                    raise HTTPException(413, "the form is too large")
    except TimeoutError:
        raise HTTPException(408, "the form did not come", {"Connection": "close"}) from None
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=20))
    except ValueError:
        raise HTTPException(400, "this is no form") from None


def _local(target: str) -> str:
    """Return where to go after a login: never to another site."""
    parts = urlsplit(target)
    inside = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return target if inside else "/"


def page_routes(console: Console, pages: Pages) -> APIRouter:
    """Return the routes of the pages that only show."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @router.get("/")
    def show_summary(request: Request) -> Response:
        with console.store.reading() as reader:
            view = summary(reader, console.kafka(), console.moment(), DUE_SHOWN)
        return pages.page(request, "summary.html", summary=view)

    @router.get("/jobs")
    def show_jobs(
        request: Request,
        status: Annotated[Status | None, Query()] = None,
        reason: Annotated[FailureReason | None, Query()] = None,
        workspace: str | None = None,
        find: str | None = None,
        oldest: bool = False,
        after: str | None = None,
    ) -> Response:
        wanted = Filter(status=status, reason=reason, workspace_id=workspace or None, oldest=oldest)
        try:
            found = list_jobs(console, wanted, find, after, PAGE_JOBS)
        except ValueError:
            raise HTTPException(400, "there is no such page of the list") from None
        filters = {
            "status": status,
            "reason": reason,
            "workspace": workspace or None,
            "find": find or None,
            "oldest": oldest,
        }
        return pages.page(request, "jobs.html", found=found, filters=filters, after=after)

    @router.get("/job")
    def show_job(request: Request, workspace: str, job: str) -> Response:
        with console.store.reading() as reader:
            detail = job_detail(reader, JobKey(workspace, job), console.moment())
        if detail is None:
            raise HTTPException(404, "no such job is known: it was never submitted, or has left the table")
        return pages.page(request, "job.html", job=detail)

    @router.get("/letters")
    def show_letters(request: Request, topic: str | None = None, reason: str | None = None) -> Response:
        with console.store.reading() as reader:
            counts = letter_counts(reader)
            letters = [] if topic is None or reason is None else reader.letters(topic, reason, PAGE_LETTERS)
        shown = list(map(letter_view, letters))
        return pages.page(request, "letters.html", counts=counts, letters=shown, topic=topic, reason=reason)

    @router.get("/letter")
    async def show_letter(request: Request, topic: str, partition: Place, offset: Place) -> Response:
        with console.store.reading() as reader:
            letter = reader.letter(topic, partition, offset)
            redrives = [] if letter is None else reader.redrives_of(letter.letter_id)
        if letter is None:
            raise HTTPException(404, "no such letter is known: it may have expired")
        value, problem = None, None
        try:
            value = await shown_value(console.settings, Source(topic, partition, offset))
        except UnreadableError as error:
            problem = str(error)
        return pages.page(
            request,
            "letter.html",
            letter=letter_view(letter),
            step=step_by(letter.reason),
            value=json.dumps(value, indent=2, ensure_ascii=False),
            problem=problem,
            redrives=control_views(redrives),
        )

    @router.get("/people")
    def show_people(request: Request) -> Response:
        with console.store.reading() as reader:
            holds, controls = reader.holds(), reader.controls(PAGE_CONTROLS)
        return pages.page(request, "people.html", holds=control_views(holds), controls=control_views(controls))

    return router


def login_routes(console: Console, pages: Pages) -> APIRouter:
    """Return the routes by which a person shows the token and says who they are."""
    router = APIRouter(include_in_schema=False)

    @router.get(LOGIN)
    def show_login(request: Request, next: str = "/") -> Response:  # noqa: A002 # the name in the address
        return pages.page(request, "login.html", target=_local(next), problem=None)

    @router.post(LOGIN)
    async def log_in(request: Request) -> Response:
        fields = await form_of(request)
        target, name = _local(fields.get("next", "/")), fields.get("name", "").strip()
        if not console.gate.is_own_form(request, fields):
            return pages.page(request, "login.html", 403, target=target, problem="The form was too old: once more.")
        if not 0 < len(name) <= NAME_MAX_LENGTH or not console.gate.is_token(fields.get("token", "")):
            return pages.page(request, "login.html", 403, target=target, problem="That is not the token.")
        response = RedirectResponse(target, 303)
        set_cookie(request, response, SESSION_COOKIE, console.gate.session(name), SESSION_SECONDS)
        return response

    @router.post("/logout")
    async def log_out(request: Request) -> Response:
        if not console.gate.is_own_form(request, await form_of(request)):
            raise HTTPException(403, "the form was not made here")
        response = RedirectResponse(LOGIN, 303)
        response.delete_cookie(SESSION_COOKIE)
        return response

    return router
