"""What processes use of the machine (Linux: from /proc)."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
# As the JVM names the threads that compile what runs often, cut to the kernel's 15 characters.
_COMPILERS = ("C1 Compiler", "C2 Compiler")


class JvmCpu(NamedTuple):
    """CPU time of a JVM: of its compiler threads, which warm it up, and of all others."""

    compiler: float
    rest: float


def cpu_seconds(pid: int) -> float:
    """Return what a process has used so far, in user and system mode, all threads together; in steps of 10 ms."""
    return _seconds(Path(f"/proc/{pid}/stat"))


def rss_bytes(pid: int) -> int:
    """Return the memory that a process has resident now."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def open_sockets(pid: int) -> int:
    """Return how many sockets a process has: its connections, and what it listens on."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        # It may be closed while we look.
        with contextlib.suppress(OSError):
            found += descriptor.readlink().name.startswith("socket:")
    return found


def jvm_cpu(pid: int) -> JvmCpu:
    """Return the seconds that a JVM has used so far. A compiler thread that has ended counts among the others."""
    compiler = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end while we look.
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().startswith(_COMPILERS):
                compiler += _seconds(task / "stat")
    return JvmCpu(compiler, cpu_seconds(pid) - compiler)


def _seconds(stat: Path) -> float:
    # Behind the command's name, which may hold anything, the third field comes first.
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
