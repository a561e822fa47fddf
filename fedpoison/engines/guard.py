"""Guard of a SuperLink: a process that stops Flower's processes if the process of the run is killed.

`python -m fedpoison.engines.guard PID` reads its standard input, a pipe from the process of the run. The
system closes the pipe when that process ends, however it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

import psutil

PATIENCE = 2.0
"""Seconds that a process has to end by itself."""


def start_guard(leader: int) -> subprocess.Popen[bytes]:
    """Start the guard of the process `leader`. Close its standard input to make it stop the leader."""
    command = [sys.executable, "-m", "fedpoison.engines.guard", str(leader)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def stop_processes(leader: int) -> None:
    """Stop a process, its process group, and its descendants, which may be in other groups."""
    left = []
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(leader)
        left = [process, *process.children(recursive=True)]
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(leader, how)
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(how)
        _, left = psutil.wait_procs(left, timeout=PATIENCE)


if __name__ == "__main__":
    sys.stdin.read()
    stop_processes(int(sys.argv[1]))
