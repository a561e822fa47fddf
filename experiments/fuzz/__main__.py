"""Run random scenarios, and print each finding with the command that repeats it.

`python -m experiments.fuzz --count 10000` covers every registry. `--only 17` repeats one scenario.
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable
from multiprocessing.connection import Connection

from experiments.fuzz.outcomes import Outcome, examine
from experiments.fuzz.scenarios import Drawn, draw
from fedpoison.data import Dataset, load_dataset

STDERR = 2
ENDLESS_LIMIT = 5.0
"""Longest time of a scenario that asks for a million steps or more, in seconds."""
MEMORY = 12 * 2**30
"""Address space of the process, in bytes, so that a huge allocation fails and does not slow the machine."""


def main() -> int:
    """Print the findings and a table of the outcomes. Return 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m experiments.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="number of scenarios")
    parser.add_argument("--start", type=int, default=0, help="number of the first scenario")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenarios")
    parser.add_argument("--only", type=int, help="number of the only scenario; prints its outcome")
    parser.add_argument("--limit", type=float, default=30, help="longest time per scenario, in seconds")
    parser.add_argument("--for", type=float, dest="seconds", help="stop after this time, in seconds")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    indices: Iterable[int] = range(options.start, options.start + options.count)
    if options.only is not None:
        indices = [options.only]
    began, kinds, found, last = time.monotonic(), Counter[str](), 0, options.start
    dataset = load_dataset("digits")
    for index in indices:
        if options.seconds is not None and time.monotonic() - began > options.seconds:
            break
        drawn = draw(options.seed, index, dataset)
        if options.only is not None:
            _show(drawn.command)
        faulthandler.dump_traceback_later(4 * options.limit, exit=True, file=STDERR)
        outcome = (_examine_apart if drawn.endless else examine)(drawn, dataset, limit=options.limit)
        faulthandler.cancel_dump_traceback_later()
        kinds[outcome.kind] += 1
        found += bool(outcome.findings)
        last = index
        _report(outcome, all_outcomes=options.only is not None)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    _show(
        f"scenarios up to number {last} in {time.monotonic() - began:.0f} s: {counts}; {found} with findings"
    )
    return int(found > 0)


def _examine_apart(drawn: Drawn, dataset: Dataset, *, limit: float) -> Outcome:
    """Examine a scenario in a process of its own, and kill it if it does not end.

    The time limit stops the main thread. It cannot stop a worker that trains one client for hours.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_examine_and_send, args=(sender, drawn, dataset, ENDLESS_LIMIT))
    process.start()
    outcome = receiver.recv() if receiver.poll(ENDLESS_LIMIT + limit) else Outcome(drawn, "endless")
    process.kill()
    process.join()
    return outcome


def _examine_and_send(sender: Connection, drawn: Drawn, dataset: Dataset, limit: float) -> None:
    sender.send(examine(drawn, dataset, limit=limit))


def _report(outcome: Outcome, *, all_outcomes: bool) -> None:
    if outcome.findings:
        _show(outcome.drawn.repeat)
        _show(f"  {outcome.drawn.command}")
        for finding in outcome.findings:
            _show(f"  FINDING {finding}")
    elif all_outcomes:
        _show(f"{outcome.kind}: {outcome.message}")


def _show(text: str) -> None:
    print(text, flush=True)  # a command for people


if __name__ == "__main__":
    sys.exit(main())
