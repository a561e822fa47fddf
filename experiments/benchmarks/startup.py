"""Start-up of the command line: `python -m experiments.benchmarks.startup` prints a Markdown table.

For each command, the table shows the median duration of several processes. Importing torch is the yardstick.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "fedpoison --help": ("-m", "fedpoison", "--help"),
    "fedpoison list attacks": ("-m", "fedpoison", "list", "attacks"),
    "fedpoison list attacks alie": ("-m", "fedpoison", "list", "attacks", "alie"),
    "completion of --attack": ("-c", "from fedpoison.cli import main; main()"),
    'python -c "import torch"': ("-c", "import torch"),
}
"""Arguments of Python for each row of the table."""
COMPLETION = {
    "_FEDPOISON_COMPLETE": "complete_bash",
    "COMP_WORDS": "fedpoison run --attack ",
    "COMP_CWORD": "3",
}
"""Variables that bash sets for a completion."""


def main() -> None:
    """Run each command several times and print the median durations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="Processes per command. Default: 7.")
    repeats = parser.parse_args().repeats
    print("| command | median, s |\n| --- | --- |")
    for name in COMMANDS:
        print(f"| `{name}` | {statistics.median(seconds(name) for _ in range(repeats)):.2f} |")


def seconds(name: str) -> float:
    """Return the duration of one process."""
    variables = COMPLETION if name.startswith("completion") else {}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *COMMANDS[name]],
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        check=not variables,  # a completion ends with an exit code of its own
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
