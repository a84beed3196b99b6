"""What is heard of libraries, what no line tells, and that a process ends whose log nobody reads."""

import json
import logging
import subprocess
import sys

import pytest

from streams.telemetry.logging import LOGGER, OnceInAWhile

CRASH = """
from streams.faust_hardening.app import exit_now
from streams.telemetry.logging import configure_logging
from streams.settings import LogFormat, LogLevel
configure_logging(LogFormat("{format}"), LogLevel.INFO)
def fail(password):
    raise ValueError("it broke")
try:
    fail("hunter2")
except ValueError as error:
    exit_now(error)
"""

DEBUG = """
import logging
from streams.telemetry.logging import LOGGER, configure_logging
from streams.settings import LogFormat, LogLevel
configure_logging(LogFormat.JSON, LogLevel.DEBUG)
for name in (LOGGER, "aiokafka.conn", "faust.app", "mode", "httpx", "asyncio", "aiohttp.client"):
    logging.getLogger(name).debug("%s tells everything", name)
"""


# Fills the pipe that nobody reads, and then wants to say why it ends.
BLOCKED = """
import os
from streams.faust_hardening.app import exit_now
from streams.telemetry.logging import configure_logging
from streams.settings import LogFormat
configure_logging(LogFormat.JSON, "info")
os.set_blocking(1, False)
try:
    while True:
        os.write(1, b"x" * 4096)
except BlockingIOError:
    os.set_blocking(1, True)
exit_now("nobody reads this")
"""


def line(name: str, message: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, None, None)


def test_a_library_says_the_same_thing_once_and_we_say_everything() -> None:
    once = OnceInAWhile()
    said = [once.filter(line("aiokafka", text)) for text in ("no broker", "no broker", "something else")]
    assert said == [True, False, True]
    assert all(once.filter(line(LOGGER, "worker_exit")) for _ in range(2))


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_the_last_line_of_a_crash_tells_the_error_and_no_local_variable(log_format: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CRASH.format(format=log_format)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 70
    assert "ValueError: it broke" in ended.stdout
    assert "hunter2" not in ended.stdout.replace('fail("hunter2")', "")
    if log_format == "json":
        assert json.loads(ended.stdout.splitlines()[-1])["exit_code"] == 70


def test_at_debug_libraries_are_still_silent_about_their_details() -> None:
    """Aiokafka's are whole requests: a login, a submission."""
    ended = subprocess.run([sys.executable, "-c", DEBUG], capture_output=True, text=True, check=True)
    assert [json.loads(text)["event"] for text in ended.stdout.splitlines()] == [f"{LOGGER} tells everything"]


def test_a_process_whose_log_nobody_reads_ends_all_the_same() -> None:
    process = subprocess.Popen([sys.executable, "-c", BLOCKED], stdout=subprocess.PIPE)
    try:
        assert process.wait(timeout=60) == 70
    finally:
        process.kill()
        process.communicate()
