"""Child processes that end with the process that started them."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

# The child asks to be killed with its parent, then becomes the command: PR_SET_PDEATHSIG (1) outlives execv.
# Unlike a preexec_fn this runs no Python between fork and exec, which is not safe in a process with threads.
# If the parent has died before the call there is nothing to start. Only Linux has the call: elsewhere a child
# can outlive a kill -9 of its parent.
BECOME = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def spawn(command: Sequence[str], log_file: Path, *, keep_open: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start `command`, whose first part is a path, appending what it prints to `log_file`.

    The child is in a group of its own: a Ctrl-C in the terminal reaches us only, and we end our children in
    order. The file descriptors of `keep_open` are open in the child too.
    """
    child: Future[subprocess.Popen[bytes]] = Future()
    become = [sys.executable, "-ISc", BECOME, str(os.getpid()), *command]

    def start_and_outlive() -> None:
        # The kernel sends the death signal when the *thread* that started the child ends, so this one stays.
        try:
            with log_file.open("ab") as log:
                process = subprocess.Popen(  # noqa: S603 # no shell, and every part of the command is ours
                    become,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=keep_open,
                    process_group=0,
                )
        except OSError as error:
            child.set_exception(error)
            return
        child.set_result(process)
        process.wait()

    threading.Thread(target=start_and_outlive, name=f"outlives {Path(command[0]).name}", daemon=True).start()
    return child.result()
