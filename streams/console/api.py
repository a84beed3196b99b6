"""The JSON API: the same as the pages, for programs. It only reads."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from streams.console.guard import API, PROBLEM_TYPE
from streams.console.models import ControlView, JobDetail, JobView, LetterCountView, LetterView, Summary, View
from streams.console.page import Console
from streams.console.reader import Filter, cursor_of_name
from streams.console.views import control_views, job_detail, job_views, letter_counts, letter_view, summary
from streams.core.job import FailureReason, JobKey, Status
from streams.names import DLQ_OF, Topic

DUE_SHOWN = 10
LIST_MAX = 500
# What changes more often is told once in this time.
QUIET_SECONDS = 1.0
# So that whoever is gone is missed, and no proxy takes the stream for dead.
BEAT_SECONDS = 15.0

Limit = Annotated[int, Query(ge=1, le=LIST_MAX)]


class JobPage(View):
    """Jobs of a list."""

    jobs: list[JobView]
    next: str | None
    """What `after` has to be for the next ones; null behind the last one."""


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    title: str
    status: int
    detail: str


def list_jobs(console: Console, wanted: Filter, find: str | None, after: str | None, limit: int) -> JobPage:
    """Return a page of jobs: those that are wanted, or those whose ids begin as `find`. Raises ValueError."""
    with console.store.reading() as reader:
        found = reader.jobs_named(find, after, limit + 1) if find else reader.jobs(wanted, after, limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    following = None if last is None else cursor_of_name(last.job.key) if find else last.cursor
    return JobPage(jobs=job_views(found[:limit], console.moment().now), next=following)


def api_routes(console: Console) -> APIRouter:
    """Return the routes of the API."""
    router = APIRouter(prefix=API, responses={"4XX": {"content": {PROBLEM_TYPE: {}}, "model": Problem}})

    @router.get("/summary")
    def get_summary() -> Summary:
        """Return how everything is: jobs by state, what has waited longest and why, workers, lag, holds, letters."""
        with console.store.reading() as reader:
            return summary(reader, console.kafka(), console.moment(), DUE_SHOWN)

    @router.get("/jobs")
    def get_jobs(
        status: Status | None = None,
        reason: FailureReason | None = None,
        workspace: str | None = None,
        find: Annotated[str | None, Query(description="How the job id begins; the other filters do not count.")] = None,
        oldest: Annotated[bool, Query(description="Those first that were submitted first.")] = False,
        after: str | None = None,
        limit: Limit = 100,
    ) -> JobPage:
        """List jobs, those first that were submitted last."""
        wanted = Filter(status=status, reason=reason, workspace_id=workspace, oldest=oldest)
        try:
            return list_jobs(console, wanted, find, after, limit)
        except ValueError:
            raise HTTPException(400, "after is not what a list has given as next") from None

    @router.get("/job")
    def get_job(workspace: str, job: str) -> JobDetail:
        """Return all that is known of a job."""
        with console.store.reading() as reader:
            found = job_detail(reader, JobKey(workspace, job), console.moment())
        if found is None:
            raise HTTPException(404, "no such job is known")
        return found

    @router.get("/letters")
    def get_letters() -> list[LetterCountView]:
        """Count the dead letters, each kind with what can be done about it."""
        with console.store.reading() as reader:
            return letter_counts(reader)

    @router.get("/letters/{topic}/{reason}")
    def get_letters_of(topic: Topic, reason: str, limit: Limit = 100) -> list[LetterView]:
        """List the newest dead letters of a topic and reason."""
        if topic not in DLQ_OF.values():
            raise HTTPException(404, "no such topic has dead letters")
        with console.store.reading() as reader:
            return list(map(letter_view, reader.letters(topic.value, reason, limit)))

    @router.get("/holds")
    def get_holds() -> list[ControlView]:
        """List the holds in force."""
        with console.store.reading() as reader:
            return control_views(reader.holds())

    @router.get("/controls")
    def get_controls(limit: Limit = 100) -> list[ControlView]:
        """List what people did, the last first."""
        with console.store.reading() as reader:
            return control_views(reader.controls(limit))

    @router.get("/events", response_class=StreamingResponse)
    async def get_events(request: Request, after: int | None = None) -> StreamingResponse:
        """Stream server-sent events: `changed` when something has, with a number by which a stream goes on."""
        given = request.headers.get("last-event-id", "")
        number = int(given) if given.isdecimal() else after

        async def events() -> AsyncIterator[str]:
            last = console.changes.number if number is None else number
            yield "retry: 2000\n\n"
            while not console.changes.closed:
                now = await console.changes.after(last, BEAT_SECONDS)
                yield ": nothing new\n\n" if now == last else f"id: {now}\nevent: changed\ndata: {now}\n\n"
                if now != last:
                    await console.changes.quiet(QUIET_SECONDS)
                last = now

        return StreamingResponse(events(), media_type="text/event-stream")

    return router
