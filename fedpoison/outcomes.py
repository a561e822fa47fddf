"""What came of many runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from fedpoison.errors import RunError
from fedpoison.history import History
from fedpoison.rounds import Failure
from fedpoison.scenario import Scenario

Outcome = History | Failure


@dataclass(frozen=True, eq=False)
class Batch:
    """What came of many runs, by the scenarios that were asked for."""

    histories: dict[Scenario, History] = field(default_factory=dict)
    """The runs that came to their end."""
    failures: dict[Scenario, Failure] = field(default_factory=dict)
    """Why the others did not."""

    @classmethod
    def of(cls, outcomes: Mapping[Scenario, Outcome]) -> Self:
        """Return these outcomes, told apart."""
        batch = cls()
        for scenario, outcome in outcomes.items():
            if isinstance(outcome, Failure):
                batch.failures[scenario] = outcome
            else:
                batch.histories[scenario] = outcome
        return batch

    def check(self, *, but: Sequence[Scenario] = ()) -> None:
        """Raise RunError, with each reason once, unless every run came to its end.

        Args:
            but: runs that need not have.
        """
        by_reason: dict[str, list[Scenario]] = {}
        for scenario, failure in self.failures.items():
            if scenario not in but:
                by_reason.setdefault(failure.reason, []).append(scenario)
        if by_reason:
            failed, runs = sum(map(len, by_reason.values())), len(self.failures) + len(self.histories)
            parts = [f"{_named(scenarios)}: {reason}" for reason, scenarios in by_reason.items()]
            raise RunError(f"{failed} of {runs} runs had to stop. " + " ".join(parts))

    @property
    def refused(self) -> list[Scenario]:
        """The runs that stopped because their strategy had no answer to the updates of a round."""
        return [scenario for scenario, failure in self.failures.items() if failure.aggregation_failed]


def _named(scenarios: Sequence[Scenario]) -> str:
    first, others = scenarios[0], len(scenarios) - 1
    name = f"{first.strategy} under {first.attack}, seed {first.seed}"
    return f"{name}, and {others} more" if others else name
