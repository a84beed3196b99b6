"""The end of a process in doubt: with its last line where somebody reads it, and without one where nobody does."""

import subprocess
import sys

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


def test_a_process_whose_log_nobody_reads_ends_all_the_same() -> None:
    process = subprocess.Popen([sys.executable, "-c", BLOCKED], stdout=subprocess.PIPE)
    try:
        assert process.wait(timeout=60) == 70
    finally:
        process.kill()
        process.communicate()
