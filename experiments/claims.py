"""Measure the claims of the README: `python -m experiments.claims` prints the table and checks every bound.

MNIST, 100 clients IID, the default CNN, one local epoch at batch size 32, ten rounds, 20 % of the clients
malicious. Complete runs are loaded from the store. The runs take about 8 minutes on two cores.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from fedpoison.results.history import History
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate

BASE = Scenario(dataset="mnist", clients=100, rounds=10, malicious=0.2)
ASCENT = "scaled-update(factor=-10)"
FLIP = "label-flip(mode=targeted, source=1, target=7)"
SOURCE = 1
OTHERS_STAY = 0.93
"""Lowest accuracy of every class except the source class under a targeted flip."""


@dataclass(frozen=True)
class Claim:
    """Row of the table: a scenario, and the bounds on its final accuracy."""

    scenario: Scenario
    low: float = 0.0
    high: float = 1.0
    success: float = 0.0
    """Lowest success of a targeted attack."""

    def holds(self, history: History) -> bool:
        """Return whether the run is within the bounds."""
        last = history.last
        return self.low <= last.accuracy <= self.high and (last.success or 0.0) >= self.success


CLAIMS = (
    Claim(BASE, low=0.965),
    Claim(BASE.replace(attack=ASCENT), high=0.30),
    Claim(BASE.replace(attack=ASCENT, strategy="krum"), low=0.93),
    Claim(BASE.replace(attack=ASCENT, strategy="median"), low=0.93),
    Claim(BASE.replace(attack=ASCENT, strategy="trimmed-mean"), low=0.93),
    Claim(BASE.replace(attack=FLIP, malicious=0.4), low=0.90, success=0.05),
    Claim(BASE.replace(attack="backdoor"), low=0.95, success=0.90),
)


def main() -> None:
    """Run the missing scenarios, print the table, and exit with 1 if a run violates a bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"), help="run store")
    out = parser.parse_args().out
    print("| attack | malicious | strategy | accuracy | worst class | attack success | holds |")
    print("|---|---|---|---|---|---|---|")
    broken = 0
    for claim in CLAIMS:
        history = load_or_run(claim.scenario, out)
        scenario, last = history.scenario, history.last
        holds = claim.holds(history)
        if scenario.attack == FLIP:
            others = [rate for label, rate in enumerate(last.per_class_accuracy) if label != SOURCE]
            holds = holds and min(others) >= OTHERS_STAY
        broken += not holds
        success = "-" if last.success is None else f"{last.success:.1%}"
        print(
            f"| {scenario.attack} | {scenario.malicious:.0%} | {scenario.strategy} | {last.accuracy:.1%} "
            f"| {last.worst_class_accuracy:.1%} | {success} | {'yes' if holds else 'NO'} |",
            flush=True,
        )
    raise SystemExit(1 if broken else 0)


def load_or_run(scenario: Scenario, out: Path) -> History:
    """Return the run of `scenario`, from the store if it is complete there."""
    folder = StoredRun(out / scenario.run_id)
    return folder.history if folder.complete else simulate(scenario, out=out)


if __name__ == "__main__":
    main()
