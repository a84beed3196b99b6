"""The pages in a real Chromium, over a file that each test fills."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from streams.console.entries import Decided, Entry, Letter, Owned
from streams.core.controls import Action, Control, Decision
from streams.core.job import FailureReason, Job, JobKey, OrderResult, OrderStatus, Status
from streams.names import Topic
from streams.wire.rows import Owner
from tests.support.browser import PHONE, browser_page, running_browser
from tests.support.console import changed, console_settings, job, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<script>alert('job')</script><img src=x onerror=alert(1)>"
PAGES = ("/", "/jobs", "/letters?topic=dlq.robot.job.submitted&reason=invalid", "/people")
TOKEN = "a-token-of-enough-characters"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Run one browser for all of them."""
    async with running_browser() as running:
        yield running


def busy() -> list[Job]:
    """Return a workspace whose first job is at the robot, and whose others wait behind it, and jobs that have ended."""
    now = datetime.now(UTC)
    at_robot = {"claimed_at": now, "accepted_at": now, "deadline": now + timedelta(minutes=6), "claimed_by": "worker-1"}
    orders = (OrderResult("item-1", OrderStatus.SUCCESS), OrderResult("item-2"))
    ended = {"ended_at": now, "deadline": now}
    lost = {"status": Status.FAILED, "reason": FailureReason.TIMEOUT, "error": "nothing came"}
    return [
        job(0, status=Status.PROCESSING, **at_robot, orders=orders),
        job(1),
        job(2),
        job(3, workspace_id="shop-7", status=Status.COMPLETED, success_count=2, error_count=0, **ended),
        job(4, workspace_id="shop-8", **lost, **ended),
    ]


def hostile() -> list[Entry]:
    """Return entries in which each text that others choose is markup."""
    now = datetime.now(UTC)
    hold = Control(
        control_id=HOSTILE,
        action=Action.HOLD,
        workspace_id=HOSTILE,
        job_id=None,
        actor=HOSTILE,
        reason=HOSTILE,
        requested_at=now,
        detail=HOSTILE,
    )
    order = OrderResult(HOSTILE, OrderStatus.ERROR, HOSTILE, HOSTILE, HOSTILE)
    fields = {"workspace_id": HOSTILE, "error": HOSTILE, "claimed_by": HOSTILE, "orders": (order,)}
    failed = job(1, **fields, job_id=HOSTILE, status=Status.FAILED, reason=FailureReason.TIMEOUT, ended_at=now)
    letter = Letter(
        topic=Topic.DLQ_SUBMITTED.value,
        partition=0,
        offset=0,
        letter_id=HOSTILE,
        reason="invalid",
        message=HOSTILE,
        redrives=0,
        key=JobKey(HOSTILE, HOSTILE),
        written_at=now,
    )
    waiting = job(2, workspace_id=HOSTILE)
    return [
        *map(changed, (failed, waiting)),
        Decided(Decision(hold, now, in_force=True), 0),
        letter,
        Owned(0, Owner(HOSTILE, now, now)),
    ]


async def test_a_stuck_job_is_found_and_says_what_it_waits_for(browser: Browser, tmp_path: Path) -> None:
    async with served(console_settings(tmp_path), map(changed, busy())) as console, browser_page(browser) as page:
        await page.goto(console.url)
        waiting = page.get_by_role("heading", name="Waiting longest").locator("..")
        await expect(waiting).to_contain_text("first behind job-0, which is at the robot")
        await waiting.get_by_role("link", name="job-1").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("job-1")
        # By its id, from anywhere, without a mouse; once the page's script listens to keys.
        await page.wait_for_load_state()
        await page.keyboard.press("/")
        await page.keyboard.type("job-2")
        await page.keyboard.press("Enter")
        await page.get_by_role("row").get_by_role("link", name="job-2").click()
        await expect(page.get_by_role("listitem").filter(has_text="behind job-0")).to_contain_text("second")


async def test_a_list_updates_itself_and_leaves_the_keyboard_where_it_was(browser: Browser, tmp_path: Path) -> None:
    async with served(console_settings(tmp_path), map(changed, busy())) as console, browser_page(browser) as page:
        await page.goto(f"{console.url}/jobs?status=pending&oldest=true")
        await expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
        first = page.get_by_role("link", name="job-1", exact=True)
        await first.focus()
        console.take(changed(job(9)))
        await expect(page.get_by_role("link", name="job-9")).to_be_visible()
        await expect(first).to_be_focused()
        await page.keyboard.press("ArrowDown")
        await expect(page.get_by_role("link", name="job-2")).to_be_focused()
        # Its filter is in the address: what is no more like that goes.
        console.take(changed(job(9, status=Status.PROCESSING)))
        await expect(page.get_by_role("link", name="job-9")).to_have_count(0)
        await page.get_by_role("button", name="Pause").click()
        console.take(changed(job(10)))
        await expect(page.get_by_role("button", name="Go on")).to_have_attribute("aria-pressed", "true")
        await expect(page.get_by_role("link", name="job-10")).to_have_count(0)
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_role("link", name="job-10")).to_be_visible()


async def test_what_others_choose_is_text_and_never_markup(browser: Browser, tmp_path: Path) -> None:
    async with (
        served(console_settings(tmp_path), hostile(), allow_actions=True) as console,
        browser_page(browser) as page,
    ):
        for path in PAGES:
            await page.goto(console.url + path)
            assert await page.locator("img, main script").count() == 0
        await page.goto(f"{console.url}/jobs")
        await page.get_by_role("rowheader", name="<script>").get_by_role("link").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        await page.goto(f"{console.url}/people")
        await page.get_by_role("link", name="Release", exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(f"Release workspace {HOSTILE}?")
        assert await page.locator("img, main script").count() == 0


async def test_without_the_token_there_is_a_login_and_with_it_the_page_that_was_asked_for(
    browser: Browser, tmp_path: Path
) -> None:
    settings = console_settings(tmp_path, ROBOT_ORCHESTRATOR_CONSOLE_TOKEN=TOKEN)
    async with served(settings, map(changed, busy())) as console, browser_page(browser) as page:
        await page.goto(f"{console.url}/jobs?status=failed")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
        await expect(page.get_by_text("job-4")).to_have_count(0)
        await page.get_by_label("Your name").fill("alice")
        await page.get_by_label("Token").fill(TOKEN)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("link", name="job-4")).to_be_visible()
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


def luminance(color: str) -> float:
    """Return how light a colour of a style is, from 0 to 1, as WCAG has it."""
    parts = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# Of each text its colour, and that of what is behind it.
COLOURS = """() => [...document.querySelectorAll("a, p, td, th, h1, h2, dd, dt, li, label, .badge, button")]
  .filter((one) => one.textContent.trim() && one.getClientRects().length)
  .map((one) => {
    let behind = one;
    while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
    return [getComputedStyle(one).color, getComputedStyle(behind).backgroundColor, one.textContent.trim().slice(0, 40)];
  })"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_can_be_read_by_day_and_by_night(browser: Browser, tmp_path: Path, scheme: str) -> None:
    """Contrast of at least 4.5 to 1 (WCAG AA)."""
    entries = [*map(changed, busy()), *hostile()]
    async with (
        served(console_settings(tmp_path), entries, allow_actions=True) as console,
        browser_page(browser, color_scheme=scheme) as page,
    ):
        for path in (*PAGES, "/job?workspace=shop-5&job=job-0", "/act?action=hold"):
            await page.goto(console.url + path)
            background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (luminance(background) < 0.1) == (scheme == "dark")
            for text, behind, what in await page.evaluate(COLOURS):
                light, dark = sorted((luminance(text), luminance(behind)), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (path, what, text, behind)


async def test_on_a_phone_nothing_is_cut_off_and_a_table_still_is_one(browser: Browser, tmp_path: Path) -> None:
    entries = [*map(changed, busy()), *hostile()]
    async with (
        served(console_settings(tmp_path), entries, allow_actions=True) as console,
        browser_page(browser, PHONE) as page,
    ):
        for path in (*PAGES, "/job?workspace=shop-5&job=job-0", "/act?action=hold"):
            await page.goto(console.url + path)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        await page.goto(f"{console.url}/jobs?workspace=shop-5")
        # What a screen reader is told: blocks would have no rows.
        row = page.get_by_role("table", name="Jobs").get_by_role("row").filter(has_text="job-0")
        await expect(row.get_by_role("rowheader")).to_have_text("job-0")


async def test_every_page_can_be_used_from_the_keyboard_and_named_by_a_screen_reader(
    browser: Browser, tmp_path: Path
) -> None:
    async with (
        served(console_settings(tmp_path), map(changed, busy()), allow_actions=True) as console,
        browser_page(browser) as page,
    ):
        for path in (*PAGES, "/job?workspace=shop-5&job=job-1", "/act?action=cancel&workspace=shop-5&job=job-1"):
            await page.goto(console.url + path)
            assert await page.get_by_role("heading", level=1).count() == 1
            assert await page.get_by_role("main").count() == 1
            unnamed = page.locator("input:not([type=hidden]), select, textarea")
            for field in await unnamed.all():
                assert await field.evaluate("(one) => one.labels.length"), path
            await page.keyboard.press("Tab")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("main")).to_be_focused()
