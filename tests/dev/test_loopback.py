"""Two processes on one machine, as two halves of a test run are, never get the same port."""

import subprocess
import sys

from streams.dev.loopback import SHARE, free_port

TAKE = f"""
from streams.dev.loopback import free_port
print(*(free_port() for _ in range({SHARE})), flush=True)
input()
"""


def test_a_port_that_is_not_listened_at_yet_is_given_to_no_other_process() -> None:
    mine = {free_port() for _ in range(SHARE)}
    others: list[set[int]] = []
    processes = []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        others.append({int(word) for word in process.stdout.readline().split()})
    for process in processes:
        process.communicate(b"\n")
    taken = [mine, *others]
    assert all(len(ports) > SHARE / 2 for ports in taken)
    assert len(set().union(*taken)) == sum(map(len, taken))


def test_the_ports_of_a_process_take_turns() -> None:
    """A server that is down for a moment finds its port free when it comes back."""
    first = free_port()
    assert first not in {free_port() for _ in range(SHARE // 2)}
