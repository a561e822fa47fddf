"""What the engine `flower` leaves behind."""

import subprocess
import sys

import psutil
import pytest

from fedpoison.flower_engine import _end

WAIT = f"{sys.executable} -c 'import signal; signal.pause()'"


@pytest.mark.parametrize("leader", ["exit", "wait"], ids=["is dead", "is alive"])
def test_what_a_superlink_started_ends_with_it(leader):
    script = f"{WAIT} >/dev/null & echo $!; {leader}"
    process = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    with process.stdout as told:
        child = psutil.Process(int(told.readline()))
    if leader == "exit":
        process.wait()
    _end(process)
    assert psutil.wait_procs([child], timeout=10)[1] == []
    assert process.returncode is not None
