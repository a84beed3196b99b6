"""The console over real HTTP: who may look, what each answer carries, and what nothing may carry."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from streams.console import pages
from streams.console.access import FORM_COOKIE, SESSION_COOKIE
from streams.console.entries import Asked, Decided, Entry, Letter, Owned, Told
from streams.core.controls import Action, Control, Decision
from streams.core.effects import IgnoreReason
from streams.core.job import FailureReason, OrderResult, OrderStatus, Status
from streams.names import Topic
from streams.wire.rows import Owner
from tests.support.builders import NASTY_IDS
from tests.support.console import NOW, Served, changed, console_settings, job, served

TOKEN = "a-token-of-enough-characters"
PAGES = ("/", "/jobs", "/letters", "/people")
HOLD = Control(
    control_id="control-1",
    action=Action.HOLD,
    workspace_id="shop-5",
    job_id=None,
    actor="alice",
    reason="wrong address",
    requested_at=NOW,
)


def everything() -> list[Entry]:
    """Return an entry of each kind."""
    failed = job(
        1,
        status=Status.FAILED,
        reason=FailureReason.TIMEOUT,
        error="no report in time",
        robot_may_have_received=True,
        ended_at=NOW + timedelta(minutes=5),
        deadline=NOW + timedelta(minutes=5),
        orders=(OrderResult("item-1", OrderStatus.SUCCESS, "7300000001"), OrderResult("item-2")),
    )
    return [
        changed(job(0)),
        changed(failed),
        Told(Topic.FAILED.value, 0, 3, failed.key, NOW + timedelta(minutes=5)),
        Letter(
            topic=Topic.DLQ_ORDER_REPORTED.value,
            partition=0,
            offset=0,
            letter_id="robot.order.reported-0-4",
            reason="unknown_item",
            message="the job has no such order",
            redrives=0,
            key=failed.key,
            written_at=NOW,
        ),
        Decided(Decision(HOLD, NOW, in_force=True), 0),
        Owned(0, Owner("worker-1", NOW, robot_away_since=NOW)),
    ]


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Served]:
    """Serve a console that is open to this machine, with an entry of each kind."""
    async with served(console_settings(tmp_path), everything()) as running:
        yield running


async def test_the_summary_says_how_everything_is(console: Served) -> None:
    said = (await console.client.get("/api/summary")).json()
    counted = {(one["status"], one["reason"]): one["count"] for one in said["jobs"]}
    assert counted == {("pending", None): 1, ("failed", "timeout"): 1}
    assert said["kafka"] == {
        "problem": None,
        "behind": 0,
        "lag": {Topic.SUBMITTED: 7},
        "lookedAt": "2026-01-31T12:00:00Z",
    }
    assert [one["controlId"] for one in said["holds"]] == ["control-1"]
    assert [(one["workerId"], one["partitions"], one["alive"]) for one in said["workers"]] == [("worker-1", [0], True)]
    assert [(one["reason"], one["count"]) for one in said["letters"]] == [("unknown_item", 1)]
    assert said["oldestWaiting"]["jobId"] == "job-0"
    waits = [(wait["kind"], wait["words"]) for wait in said["oldestWaiting"]["waitingFor"]]
    assert waits[0][0] == "person"
    assert waits[0][1].startswith("alice, who holds its workspace")
    assert "robot_away" in [kind for kind, _ in waits]


async def test_a_worker_that_is_not_in_the_group_is_gone_and_unknown_while_kafka_is_away(console: Served) -> None:
    console.take(Owned(1, Owner("worker-2", NOW)))

    async def alive() -> list[bool | None]:
        return [one["alive"] for one in (await console.client.get("/api/summary")).json()["workers"]]

    assert await alive() == [True, False]
    console.followed.problem = "no connection"
    assert await alive() == [None, None]
    assert "no connection" in (await console.client.get("/")).text


async def test_a_job_has_its_history_orders_letters_and_what_people_did(console: Served) -> None:
    cancel = Control(
        control_id="control-2",
        action=Action.CANCEL,
        workspace_id="shop-5",
        job_id="job-1",
        actor="bob",
        reason="by mistake",
        requested_at=NOW + timedelta(seconds=9),
    )
    console.take(Asked(cancel, 0), Decided(Decision(cancel, NOW, IgnoreReason.ALREADY_ENDED), 0))
    said = (await console.client.get("/api/job", params={"workspace": "shop-5", "job": "job-1"})).json()
    assert [event["what"] for event in said["history"]] == [
        "submitted",
        "bob asked for cancel",
        "ended: failed (timeout)",
        "outcome published in robot.job.failed, partition 0, offset 3",
    ]
    assert [(one["itemId"], one["status"]) for one in said["orders"]] == [
        ("item-1", "success"),
        ("item-2", "unreported"),
    ]
    assert [one["letterId"] for one in said["deadLetters"]] == ["robot.order.reported-0-4"]
    assert [(one["actor"], one["refused"]) for one in said["controls"]] == [("bob", "it has ended")]
    assert said["sendAgain"]["verdict"] == "no"


async def test_a_hold_of_everything_is_one_however_many_partitions_it_is_in(console: Served) -> None:
    hold = replace(HOLD, control_id="control-3", workspace_id=None)
    console.take(*(Asked(hold, number) for number in range(3)))

    async def told() -> tuple[object, ...]:
        (one, *_) = (await console.client.get("/api/controls")).json()
        return one["controlId"], one["partitions"], one["decidedAt"] is not None, one["refused"], one["inForce"]

    assert await told() == ("control-3", [0, 1, 2], False, None, False)
    console.take(*(Decided(Decision(hold, NOW, in_force=True), number) for number in (0, 1)))
    assert await told() == ("control-3", [0, 1, 2], False, None, True)
    console.take(Decided(Decision(hold, NOW, IgnoreReason.ALREADY_HELD), 2))
    assert await told() == ("control-3", [0, 1, 2], True, None, True)


async def test_filters_choose_jobs_and_a_page_goes_on_where_the_last_one_ended(console: Served) -> None:
    console.take(*(changed(job(number, workspace_id="shop-6")) for number in range(2, 7)))

    async def found(**query: str) -> tuple[list[str], str | None]:
        said = (await console.client.get("/api/jobs", params=query)).json()
        return [one["jobId"] for one in said["jobs"]], said["next"]

    assert await found(status="failed", reason="timeout") == (["job-1"], None)
    assert await found(workspace="shop-5", oldest="true") == (["job-0", "job-1"], None)
    assert await found(find="job-6") == (["job-6"], None)
    first, cursor = await found(workspace="shop-6", limit="3")
    assert cursor is not None
    second, end = await found(workspace="shop-6", limit="3", after=cursor)
    assert (first + second, end) == ([f"job-{number}" for number in (6, 5, 4, 3, 2)], None)
    # So does a list of those whose ids begin in some way; two workspaces may have one id.
    console.take(*(changed(job(3, workspace_id=name)) for name in ("shop-7", "shop-8")))
    names, cursor = await found(find="job-", limit="2")
    while cursor is not None:
        more, cursor = await found(find="job-", limit="2", after=cursor)
        names += more
    assert names == [f"job-{number}" for number in (0, 1, 2, 3, 3, 3, 4, 5, 6)]


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/api/nowhere", 404, "Not Found"),
        ("/api/job?workspace=shop-5&job=none", 404, "no such job is known"),
        ("/api/job?workspace=shop-5", 400, "cannot be understood: job"),
        ("/api/jobs?status=hunter2", 400, "cannot be understood: status"),
        ("/api/jobs?after=hunter2", 400, "after is not what a list has given as next"),
        (f"/api/jobs?after={2**63}-1", 400, "after is not what a list has given as next"),
        ("/api/jobs?find=job&after=5-5", 400, "after is not what a list has given as next"),
        ("/api/letters/robot.job.submitted/invalid", 404, "no such topic has dead letters"),
    ],
)
async def test_an_error_of_the_api_is_a_problem_that_quotes_nothing(
    console: Served, path: str, status: int, detail: str
) -> None:
    answer = await console.client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json() == {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}


@pytest.mark.parametrize("path", ["/jobs?after={}-1", "/letter?topic=t&partition={}&offset=0"])
async def test_a_number_that_no_file_can_have_is_an_error_of_the_address(console: Served, path: str) -> None:
    assert (await console.client.get(path.format(2**63))).status_code == 400


async def test_every_answer_lets_a_browser_do_nothing_but_what_the_page_needs(console: Served) -> None:
    for path in (*PAGES, "/nowhere", "/static/console.js", "/api/summary", "/readyz"):
        headers = (await console.client.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


async def test_an_error_nobody_expected_has_the_headers_too(console: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.console.api.summary", lambda *_: 1 / 0)
    answer = await console.client.get("/api/summary")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "content-security-policy" in answer.headers


async def test_any_id_is_found_by_its_link_and_is_never_markup(tmp_path: Path) -> None:
    rows = [job(number, workspace_id=name, job_id=name) for number, name in enumerate(NASTY_IDS)]
    async with served(console_settings(tmp_path), map(changed, rows), allow_actions=True) as console:
        # Two pages of the list.
        newest, oldest = [(await console.client.get(f"/jobs?oldest={order}")).text for order in ("false", "true")]
        assert newest.count("<script") == newest.count("<script src=") == 1
        assert oldest.count("<script") == 1
        links = list(dict.fromkeys([*links_in(oldest), *reversed(links_in(newest))]))
        for link, row in zip(links, rows, strict=True):
            shown = await console.client.get(link.replace("&amp;", "&"))
            assert shown.status_code == 200
            assert "submitted, not called yet" in shown.text
            said = await console.client.get("/api/job", params={"workspace": row.workspace_id, "job": row.job_id})
            assert (said.json()["workspaceId"], said.json()["jobId"]) == row.key


def links_in(page: str) -> list[str]:
    return [part.split('"')[0] for part in page.split('class="id" href="') if part.startswith("/job?")]


async def test_a_stream_tells_of_a_change_and_goes_on_where_it_was(console: Served) -> None:
    async def first(**headers: str) -> list[str]:
        async with console.client.stream("GET", "/api/events", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            if not headers:
                # It has begun.
                assert await anext(lines) == "retry: 2000"
                console.take(changed(job(9)))
            return [line async for line in until_event(lines)]

    told = await first()
    number = console.console.changes.number
    assert told == [f"id: {number}", "event: changed", f"data: {number}"]
    # What changed while somebody was away is told at once.
    assert await first(**{"Last-Event-ID": str(number - 1)}) == told


async def until_event(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        if line.startswith(("id:", "event:", "data:")):
            yield line
        if line.startswith("data:"):
            return


async def test_a_form_that_does_not_come_is_not_waited_for(console: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "FORM_SECONDS", 0.2)
    host, port = console.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /logout HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {console.url}\r\nContent-Length: 100\r\n\r\na=b"
    writer.write(head.encode())
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example:8080"])
async def test_a_console_without_a_token_answers_only_to_this_machines_names(console: Served, host: str) -> None:
    """Else a page whose name is made to resolve to this machine could read it."""
    assert (await console.client.get("/api/summary", headers={"Host": host})).status_code == 403
    assert (await console.client.get("/", headers={"Host": "localhost:8080"})).status_code == 200


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Served]:
    """Serve a console with a token."""
    settings = console_settings(tmp_path, ROBOT_ORCHESTRATOR_CONSOLE_TOKEN=TOKEN)
    async with served(settings, everything(), allow_actions=True) as running:
        yield running


async def test_without_the_token_nothing_is_shown(guarded: Served) -> None:
    for path in (*PAGES, "/job?workspace=shop-5&job=job-1", "/act?action=hold", "/nowhere"):
        answer = await guarded.client.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?next=%2F")
    for authorization in ("", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer ñ"):
        answer = await guarded.client.get("/api/summary", headers={b"Authorization": authorization.encode()})
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert (await guarded.client.get("/readyz")).status_code == 200
    assert (await guarded.client.get("/api/summary", headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 200


def form_token(page: httpx.Response) -> str:
    return page.text.split('name="form_token" value="')[1].split('"')[0]


async def log_in(console: Served, token: str = TOKEN, target: str = "/people") -> httpx.Response:
    page = await console.client.get("/login", params={"next": target})
    fields = {"form_token": form_token(page), "name": "alice", "token": token, "next": target}
    return await console.client.post("/login", data=fields)


async def test_a_login_gives_a_session_that_no_script_sees_and_that_ends_with_the_logout(guarded: Served) -> None:
    assert (await log_in(guarded, "not-the-token-at-all")).status_code == 403
    entered = await log_in(guarded)
    assert (entered.status_code, entered.headers["location"]) == (303, "/people")
    cookie = next(value for name, value in entered.headers.multi_items() if SESSION_COOKIE in value)
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    page = await guarded.client.get("/people")
    assert page.status_code == 200
    assert "alice" in page.text
    await guarded.client.post("/logout", data={"form_token": form_token(page)})
    assert (await guarded.client.get("/people")).status_code == 303


@pytest.mark.parametrize("change", [lambda cookie: cookie[:-1], lambda cookie: "YWxpY2U=." + cookie.partition(".")[2]])
async def test_a_session_that_was_not_signed_here_is_none(guarded: Served, change: object) -> None:
    await log_in(guarded)
    assert callable(change)
    forged = change(guarded.client.cookies[SESSION_COOKIE])
    guarded.client.cookies.clear()
    answer = await guarded.client.get("/people", headers={"Cookie": f"{SESSION_COOKIE}={forged}"})
    assert answer.status_code == 303


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
async def test_a_login_leads_to_no_other_site(guarded: Served, target: str) -> None:
    assert (await log_in(guarded, target=target)).headers["location"] == "/"


async def test_a_proxy_names_the_person_and_nobody_else_may(tmp_path: Path) -> None:
    header = {"ROBOT_ORCHESTRATOR_CONSOLE_USER_HEADER": "X-Forwarded-User"}
    async with served(console_settings(tmp_path, **header), everything()) as console:
        assert (await console.client.get("/people")).status_code == 403
        page = await console.client.get("/people", headers={"X-Forwarded-User": "bob@example.com"})
        assert "bob@example.com" in page.text
    elsewhere = header | {"ROBOT_ORCHESTRATOR_CONSOLE_PROXIES": "10.0.0.0/8"}
    async with served(console_settings(tmp_path, **elsewhere), everything()) as console:
        answer = await console.client.get("/people", headers={"X-Forwarded-User": "bob@example.com"})
        assert answer.status_code == 403


async def test_nothing_can_be_done_unless_it_was_allowed(console: Served) -> None:
    assert (await console.client.get("/act?action=hold")).status_code == 404
    assert (await console.client.post("/act", data={"action": "hold"})).status_code == 404
    assert "/act" not in (await console.client.get("/job?workspace=shop-5&job=job-0")).text


@pytest.mark.parametrize(
    ("fields", "headers", "status"),
    [
        ({"form_token": ""}, {}, 409),
        ({"form_token": "0" * 64}, {}, 409),
        ({"word": "shop-6"}, {}, 409),
        ({"word": ""}, {}, 409),
        ({}, {"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, {"Sec-Fetch-Site": "same-site"}, 403),
        ({}, {"Origin": "https://evil.example"}, 403),
        ({"action": "resubmit"}, {}, 400),
        ({"action": "cancel"}, {}, 400),
        ({"job": "job-0"}, {}, 400),
    ],
)
async def test_an_action_that_is_not_asked_for_as_it_must_be_is_not_done(
    tmp_path: Path,
    fields: dict[str, str],
    headers: dict[str, str],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask(_self: object, control: Control) -> None:
        raise AssertionError(control)

    monkeypatch.setattr("streams.console.actions.Asker.ask", ask)
    async with served(console_settings(tmp_path), everything(), allow_actions=True) as console:
        page = await console.client.get("/act?action=hold&workspace=shop-5")
        assert FORM_COOKIE in console.client.cookies
        good = {"action": "hold", "workspace": "shop-5", "word": "shop-5", "reason": "why not"}
        whole = good | {"form_token": form_token(page)} | fields
        assert (await console.client.post("/act", data=whole, headers=headers)).status_code == status


async def test_the_document_of_the_api_names_every_path(console: Served) -> None:
    document = (await console.client.get("/api/openapi.json")).json()
    assert set(document["paths"]) == {
        "/api/summary",
        "/api/jobs",
        "/api/job",
        "/api/letters",
        "/api/letters/{topic}/{reason}",
        "/api/holds",
        "/api/controls",
        "/api/events",
    }
    assert "application/problem+json" in json.dumps(document)
