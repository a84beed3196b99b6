"""The console as production runs it, on a real Kafka: what it keeps, what it survives, and what people do with it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from playwright.async_api import Page, expect

from schemas import JobFailed
from streams.dev.kafka import EmbeddedKafka
from streams.dev.loopback import HOST
from streams.dev.robot import RobotBehaviour
from streams.kafka.admin import admin_client
from streams.kafka.topics import create_topics
from streams.names import Topic, changelog_topic
from streams.settings import KafkaSettings
from streams.wire.rows import encode_row, row_key
from tests.support.browser import browser_page, running_browser
from tests.support.builders import PASSWORD, SECRETS, USERNAME, submission
from tests.support.console import ConsoleProcess, job, said
from tests.support.scene import Scene


@asynccontextmanager
async def console_of(scene: Scene, command: tuple[str, ...] = (), **variables: str) -> AsyncIterator[ConsoleProcess]:
    """Run a console of a scene's application, its file in the scene's folder."""
    own = {name: scene.variables[name] for name in ("KAFKA_BOOTSTRAP_SERVERS", "ROBOT_ORCHESTRATOR_APP_ID")}
    console = ConsoleProcess(own | variables, scene.folder, ("-m", "streams.cli", "console", *command))
    try:
        await console.wait_ready()
        yield console
    finally:
        console.close()


def has(job_id: str) -> Callable[[Any], bool]:
    return lambda answer: any(one["jobId"] == job_id for one in answer["jobs"])


async def test_a_restart_goes_on_where_it_was(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        await scene.worker()
        first = submission()
        await scene.submit(first)
        await scene.outcome(first["jobId"])
        async with console_of(scene) as console:
            await said(console, "/jobs", has(first["jobId"]))
            assert await console.stop() == 0
            assert [line["event"] for line in console.log_lines()] == [
                "console_started",
                "console_begins_anew",
                "console_caught_up",
                "console_stopped",
            ]
        # What is read again would bring it back.
        with sqlite3.connect(tmp_path / "console.sqlite3") as file:
            file.execute("DELETE FROM jobs")
        file.close()
        second = submission()
        await scene.submit(second)
        async with console_of(scene) as console:
            found = await said(console, "/jobs", has(second["jobId"]))
            assert not has(first["jobId"])(found)
            assert len(console.told("console_begins_anew")) == 1


async def test_a_file_that_was_not_followed_for_half_a_day_is_begun_anew(kafka_bootstrap: str, tmp_path: Path) -> None:
    """Kafka may have thrown away by then that a row has gone. Whether the file had ever caught up does not matter."""
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        async with console_of(scene) as console:
            assert await console.stop() == 0
        with sqlite3.connect(tmp_path / "console.sqlite3") as file:
            file.execute("INSERT INTO owners VALUES (0, 'a-worker-that-is-gone', 0, NULL)")
            for hours, rows in ((11, 1), (13, 0)):
                file.execute(f"UPDATE about SET value = value - {hours} * 3600000 WHERE name = 'followed_at'")
                file.commit()
                async with console_of(scene) as console:
                    assert await console.stop() == 0
                assert file.execute("SELECT count(*) FROM owners").fetchone() == (rows,)
        file.close()
        told = console.told("console_begins_anew")
        assert [line["reason"] for line in told] == ["it is not of these topics", "it was not followed for too long"]


async def test_a_table_that_was_made_anew_is_another_one(kafka_bootstrap: str, tmp_path: Path) -> None:
    """Its topic has the name that it had, and offsets that go on where those of the file end."""
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        changelog = changelog_topic(scene.app_id)
        for row in (job(1), job(2)):
            await scene.producer.send_and_wait(changelog, encode_row(row), key=row_key(row.key), partition=0)
            async with console_of(scene) as console:
                found = await said(console, "/jobs", has(row.job_id))
                assert [one["jobId"] for one in found["jobs"]] == [row.job_id]
                assert await console.stop() == 0
            async with admin_client(bootstrap_servers=kafka_bootstrap) as admin:
                await admin.delete_topics([changelog])
                while changelog in await admin.list_topics():
                    await asyncio.sleep(0.05)
            await create_topics(KafkaSettings(**cast(Any, scene.variables)), scene.partitions, 1)
        assert len(console.told("console_begins_anew")) == 2


async def test_pages_and_api_survive_the_brokers_restart(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path / "kafka") as broker:
        async with Scene(broker.bootstrap_servers, tmp_path) as scene:
            await scene.worker()
            first, second = submission(), submission()
            await scene.submit(first)
            async with console_of(scene) as console:
                await said(console, "/jobs", has(first["jobId"]))
                broker.kill()
                problem = await said(console, "/summary", lambda answer: answer["kafka"]["problem"])
                assert problem["kafka"]["behind"] == 0
                # By then its connections are closed, and whoever waited for an answer on one was cancelled.
                await console.wait_told("waiting_for_broker")
                assert has(first["jobId"])(await said(console, "/jobs", bool))
                assert "Kafka cannot be read now" in (await console.get("/"))[1]
                assert (await console.get("/readyz"))[0] == 200
                broker.start()
                await scene.submit(second)
                await said(console, "/jobs", has(second["jobId"]))
                await said(console, "/summary", lambda answer: answer["kafka"]["problem"] is None)
                # What there is to catch up with is measured again, however far it was before.
                assert await console.stop() == 0
                assert len(console.told("console_caught_up")) == 2


async def test_no_credential_is_in_the_file_on_a_page_or_in_the_log(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        await scene.worker()
        good = submission()
        # Where a careless producer may put them.
        bad = submission() | {"orders": PASSWORD, "credentials": {"username": [USERNAME], PASSWORD: PASSWORD}}
        await scene.submit(good)
        await scene.outcome(good["jobId"])
        where = await scene.publish(Topic.SUBMITTED, bad, bad["workspaceId"])
        letter = await scene.dead_letter(Topic.SUBMITTED, where)
        async with console_of(scene, ROBOT_ORCHESTRATOR_LOG_LEVEL="debug") as console:
            await said(console, "/jobs", has(bad["jobId"]))
            place = f"topic={letter.topic}&partition={letter.partition}&offset={letter.offset}"
            shown = (await console.get(f"/letter?{place}"))[1]
            # It is that letter, and what may be shown of it is.
            assert bad["jobId"] in shown
            assert "not shown" in shown
            ids = f"workspace={bad['workspaceId']}&job={bad['jobId']}"
            paths = ("/", "/jobs", f"/job?{ids}", f"/api/job?{ids}", f"/letter?{place}")
            texts = [(await console.get(path))[1] for path in paths]
            assert await console.stop() == 0
            texts.append(console.log_path.read_text())
        assert not [text for text in texts if holds_secret(text.encode())]
        assert not [name for name, content in files_of_console(tmp_path) if holds_secret(content)]


def files_of_console(folder: Path) -> list[tuple[str, bytes]]:
    found = [(file.name, file.read_bytes()) for file in folder.glob("console.sqlite3*")]
    assert found
    return found


def holds_secret(content: bytes) -> bool:
    return any(secret.encode() in content for secret in SECRETS)


async def confirm(page: Page, action: str, word: str) -> None:
    """Do what a page asks for: say why, type the word."""
    await page.get_by_label("Why?").fill("the portal is closed")
    await page.get_by_label("to confirm").fill(word)
    await page.get_by_role("button", name=action).click()


async def test_a_person_holds_a_workspace_releases_it_and_cancels_a_job(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with Scene(kafka_bootstrap, tmp_path, behaviour=RobotBehaviour(order_seconds=0.1)) as scene:
        await scene.worker()
        held = submission(workspace_id=f"shop-{scene.app_id}", job_id=f"job-{scene.app_id}")
        workspace, job_id = held["workspaceId"], held["jobId"]
        async with (
            console_of(scene, ("--allow-actions",)) as console,
            running_browser() as browser,
            browser_page(browser) as page,
        ):
            url = f"http://{HOST}:{console.probe_port}"
            await page.goto(f"{url}/act?action=hold&workspace={workspace}")
            await confirm(page, "Hold", "something else")
            await expect(page.get_by_role("alert")).to_contain_text("nothing was done")
            await confirm(page, "Hold", workspace)
            holds = page.get_by_role("heading", name="Holds in force").locator("..")
            await expect(holds).to_contain_text("the portal is closed")
            await scene.submit(held)
            await page.goto(f"{url}/jobs?find={job_id}")
            await page.get_by_role("rowheader").get_by_role("link", name=job_id).click()
            await expect(page.get_by_role("listitem").filter(has_text="holds its workspace")).to_be_visible()
            await page.get_by_role("link", name="Cancel this job").click()
            await confirm(page, "Cancel", job_id)
            await expect(page.locator(".lead")).to_contain_text("failed cancelled by")
            outcome = await scene.outcome(job_id)
            assert isinstance(outcome, JobFailed)
            assert outcome.control is not None
            assert (outcome.reason, outcome.control.reason) == ("cancelled", "the portal is closed")
            await page.get_by_role("link", name="Holds and audit").click()
            await page.get_by_role("link", name="Release", exact=True).click()
            await confirm(page, "Release", workspace)
            await expect(holds).to_contain_text("Nothing is held")
            await expect(page.get_by_role("row").filter(has_text="applied")).to_have_count(3)
            following = submission(workspace_id=workspace)
            await scene.submit(following)
            await scene.outcome(following["jobId"])
            await said(console, "/jobs?status=completed", has(following["jobId"]))
            # A page that is open keeps nobody from stopping it.
            assert await console.stop() == 0


async def test_a_row_of_a_newer_release_ends_it_with_the_line_of_a_worker(kafka_bootstrap: str, tmp_path: Path) -> None:
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        key = b'["shop-5","job-17"]'
        await scene.producer.send_and_wait(changelog_topic(scene.app_id), b'{"version":99}', key=key)
        names = ("KAFKA_BOOTSTRAP_SERVERS", "ROBOT_ORCHESTRATOR_APP_ID")
        console = ConsoleProcess({name: scene.variables[name] for name in names}, tmp_path)
        assert await console.wait_ended() == 78
    assert console.log_lines()[-1]["error"].startswith("a job row has version 99, this release reads 1 to ")


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"ROBOT_ORCHESTRATOR_CONSOLE_FILE": "/nowhere/console.sqlite3"}, "/nowhere/console.sqlite3: "),
        ({"ROBOT_ORCHESTRATOR_APP_ID": "nobody-made-this"}, "missing topics: nobody-made-this-jobs-changelog"),
    ],
)
async def test_what_it_lacks_is_one_line(
    kafka_bootstrap: str, tmp_path: Path, variables: dict[str, str], problem: str
) -> None:
    async with Scene(kafka_bootstrap, tmp_path):
        console = ConsoleProcess({"KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap, **variables}, tmp_path)
        assert await console.wait_ended() == 78
    last = console.log_lines()[-1]
    assert (last["event"], last["exit_code"]) == ("console_stopped", 78)
    assert last["error"].startswith(problem)
    assert "Traceback" not in console.log_path.read_text()
