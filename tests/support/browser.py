"""A real browser: the system's Chromium, driven by Playwright, which brings none along."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Response, async_playwright, expect

# As root, and in a container, Chromium has no sandbox of its own.
ARGUMENTS = ("--no-sandbox",)
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


def chromium() -> str:
    """Return where Chromium is; without one the test is passed over, but never in CI."""
    found = shutil.which("chromium")
    if found is not None:
        return found
    missing = "no chromium here: apt-get install chromium"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def _complaint(said: ConsoleMessage) -> list[str]:
    # Also of a page that says what was wrong with a form.
    status = said.text.startswith("Failed to load resource")
    return [said.text] if said.type in ("error", "warning") and not status else []


def _missing(response: Response) -> list[str]:
    part = response.request.resource_type != "document" and response.status >= 400
    return [f"{response.status} {response.url}"] if part else []


@contextlib.asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Run a browser for the length of the block."""
    # A busy machine takes its time.
    expect.set_options(timeout=30_000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def browser_page(browser: Browser, viewport: dict[str, int] | None = None, **options: Any) -> AsyncIterator[Page]:
    """Yield a page that shares nothing with others; what it complains of fails the test."""
    complaints: list[str] = []
    context = await browser.new_context(viewport=viewport or WIDE, **options)  # type: ignore[arg-type] # a size
    page = await context.new_page()
    page.on("console", lambda said: complaints.extend(_complaint(said)))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
    page.on("response", lambda response: complaints.extend(_missing(response)))
    try:
        yield page
        if folder := os.environ.get("CONSOLE_SCREENSHOTS"):
            name = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].partition(" ")[0]
            await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
    finally:
        await context.close()
    assert complaints == []
