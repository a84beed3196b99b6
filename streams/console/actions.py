"""What people may do on the pages: asked once more, with a word that is typed, it is published as a control."""

from collections.abc import Iterable, Mapping

from aiokafka.errors import KafkaError
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from schemas.control import REASON_MAX_LENGTH
from streams.console.page import Console
from streams.console.pages import Pages, form_of, link
from streams.console.views import job_detail
from streams.core.controls import NOTES, Action, Control
from streams.core.job import JobKey
from streams.kafka.access import AccessError
from streams.names import LogEvent, Topic
from streams.operate.console import printable
from streams.operate.giving import NotGivenError, control_producer, new_control, publish_control
from streams.settings import ConsoleSettings
from streams.telemetry.lines import Lines
from streams.wire.placement import partition_of

ACT = "/act"
# What is typed to hold or release everything.
EVERYTHING = "everything"

_WARNINGS = {
    Action.HOLD: "Nobody of it is called until the hold is released. What is at the robot goes on.",
    Action.RELEASE: "It is called again, as its turn comes.",
    Action.CANCEL: "The job fails as cancelled, and the robot never has it. This cannot be undone.",
    Action.GIVE_UP: (
        "The job fails as given up without waiting for its deadline. The robot may still ship it, "
        "and this cannot be undone."
    ),
}


class Asker:
    """Publishes what people ask for."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings
        self._log = Lines()

    async def ask(self, control: Control) -> None:
        """Publish a control where it belongs: in one partition, or in each. Raises NotGivenError and AccessError."""
        try:
            async with control_producer(self._settings) as producer:
                partitions = len(await producer.partitions_for(Topic.CONTROL))
                for number in _places(control, partitions):
                    await publish_control(producer, control, number)
        except KafkaError as error:
            raise NotGivenError(f"Kafka does not take it now: {error}") from error
        self._log.info(
            LogEvent.CONSOLE_ASKED,
            action=control.action.value,
            actor=control.actor,
            control_id=control.control_id,
            workspace_id=control.workspace_id,
            job_id=control.job_id,
        )


def _places(control: Control, partitions: int) -> Iterable[int]:
    return range(partitions) if control.workspace_id is None else [partition_of(control.workspace_id, partitions)]


def _wanted(fields: Mapping[str, str]) -> tuple[Action, str | None, str | None]:
    """Return what is asked for, of which workspace and job. Raises HTTPException."""
    workspace_id, job_id = fields.get("workspace") or None, fields.get("job") or None
    try:
        action = Action(fields.get("action", ""))
    except ValueError:
        raise HTTPException(400, "there is no such action") from None
    of_job = action in (Action.CANCEL, Action.GIVE_UP)
    if action in NOTES or of_job != (job_id is not None) or (of_job and workspace_id is None):
        raise HTTPException(400, "that cannot be asked for here")
    return action, workspace_id, job_id


def action_routes(console: Console, pages: Pages) -> APIRouter:
    """Return the routes by which people do something."""
    router = APIRouter(include_in_schema=False)
    asker = Asker(console.settings)

    def form(request: Request, fields: Mapping[str, str], problem: str | None = None) -> Response:
        action, workspace_id, job_id = _wanted(fields)
        detail = None
        if workspace_id is not None and job_id is not None:
            with console.store.reading() as reader:
                detail = job_detail(reader, JobKey(workspace_id, job_id), console.moment())
            if detail is None:
                raise HTTPException(404, "no such job is known")
        return pages.page(
            request,
            "act.html",
            409 if problem else 200,
            action=action,
            verb=action.replace("_", " "),
            workspace=workspace_id,
            job=detail,
            warning=_WARNINGS[action],
            word=printable(job_id or workspace_id or EVERYTHING),
            reason=fields.get("reason", ""),
            reason_max=REASON_MAX_LENGTH,
            problem=problem,
        )

    @router.get(ACT)
    def show_form(request: Request) -> Response:
        return form(request, request.query_params)

    @router.post(ACT)
    async def act(request: Request) -> Response:
        fields = await form_of(request)
        action, workspace_id, job_id = _wanted(fields)
        if not console.gate.is_own_form(request, fields):
            return form(request, fields, "The form was too old, or not made here. Look at it again.")
        if fields.get("word", "").strip() != printable(job_id or workspace_id or EVERYTHING):
            return form(request, fields, "What was typed is not what was asked for: nothing was done.")
        reason = fields.get("reason", "").strip()
        control = new_control(action, workspace_id, job_id, request.state.person.name, reason)
        try:
            await asker.ask(control)
        except (NotGivenError, AccessError) as error:
            return form(request, fields, f"{error}.")
        shown = link("/job", workspace=workspace_id, job=job_id) if job_id else link("/people")
        return RedirectResponse(shown, 303)

    return router
