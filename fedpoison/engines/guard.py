"""Guards: processes that stop the processes of an engine if the process of the run is killed.

A guard reads its standard input, a pipe from the process of the run. The system closes the pipe when that
process ends, however it ends. A guard starts before the processes that it stops.

`python -m fedpoison.engines.guard program COMMAND` runs a program, and stops it with all its descendants.
`python -m fedpoison.engines.guard ray PID` stops the processes of Ray sessions that the process PID started.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psutil

POLL = 0.1
"""Seconds between two checks whether processes have ended."""
PATIENCE = 10.0
"""Longest time until killed processes have ended, in seconds."""
_SET_CHILD_SUBREAPER = 36
"""Number of the option of Linux's prctl."""


@contextmanager
def guarded_program(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the context is open, and yield its guard, which ends when the program ends.

    Args:
        command: the program, and its arguments.
        options: options of `Popen`, such as `env`, for the guard and the program.
    """
    with _guard("program", *command, **options) as process:
        yield process


@contextmanager
def guarded_ray() -> Iterator[None]:
    """Guard the Ray sessions that this process starts while the context is open."""
    with _guard("ray", str(os.getpid())):
        yield


@contextmanager
def _guard(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "fedpoison.engines.guard", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, start_new_session=True, **{"env": environment, **options}
    )
    try:
        yield process
    finally:
        process.communicate()  # closes the pipe


def run_program(command: Sequence[str]) -> None:
    """Run a program until it ends or standard input is closed. Then stop it and all its descendants."""
    _adopt_orphans()
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while program.poll() is None and not select.select([sys.stdin], [], [], POLL)[0]:
        pass
    stop_processes(lambda: psutil.Process().children(recursive=True))


def watch_ray(driver: int) -> None:
    """Wait until standard input is closed. Then stop the Ray processes that the process `driver` started."""
    sys.stdin.read()
    stop_processes(lambda: list(_ray_processes(driver)))


def stop_processes(find: Callable[[], Sequence[psutil.Process]]) -> None:
    """Kill the processes that `find` returns, until it returns none.

    No process has to end by itself: the run store is complete on disk after each round.
    """
    deadline = time.monotonic() + PATIENCE
    while (found := find()) and time.monotonic() < deadline:
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(
            found, timeout=POLL
        )  # not longer: the guard adopts some, and has to find them again


def _ray_processes(driver: int) -> Iterator[psutil.Process]:
    """Yield the processes that write logs of a Ray session of the driver.

    The name of a session ends with the process id of its driver. The titles and the environments of Ray's
    processes are not a mark, because Ray overwrites them.
    """
    logs = re.compile(rf"/session_[-_\d]+_{driver}/logs/")
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != driver and any(logs.search(file.path) for file in process.open_files()):
                yield process


def _adopt_orphans() -> None:
    """Make this process the parent of descendants whose parent ends. Only Linux has this setting."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)


if __name__ == "__main__":
    if sys.argv[1] == "ray":
        watch_ray(int(sys.argv[2]))
    else:
        run_program(sys.argv[2:])
