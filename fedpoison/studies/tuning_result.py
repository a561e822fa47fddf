"""Result of the choice of a strategy's parameters: the settings, and the test of the chosen one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from fedpoison.results.display import Displayed
from fedpoison.results.metrics import json_number
from fedpoison.results.run_frame import Estimate, estimate, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fedpoison.studies.comparison import Comparison

NO_ATTACK = "none"


@dataclass(frozen=True)
class Candidate:
    """One setting of a strategy, on the validation set."""

    strategy: str
    scores: Mapping[str, float]
    """Mean over the seeds by attack. -inf: the attack stopped the strategy with a seed."""
    stopped: str | None = None
    """Reason of the first stop. None: no attack stopped the strategy."""

    @property
    def under(self) -> str:
        """The worst attack, the first of several."""
        return min(self.scores, key=lambda attack: self.scores[attack])

    @property
    def score(self) -> float:
        """Score under the worst attack."""
        return self.scores[self.under]


@dataclass(frozen=True)
class WorstCase:
    """Worst attack on a strategy on the test set: the one with the lowest mean over the seeds."""

    under: str
    value: Estimate
    """Measure under that attack. The mean is NaN if the attack stopped the strategy."""


@dataclass(frozen=True, eq=False, repr=False)
class Tuning(Displayed):
    """Settings of a strategy in order, and the runs that test the chosen and the given one."""

    candidates: Sequence[Candidate]
    """Settings that were tried, the given strategy first."""
    measure: str
    """Column of `Comparison.to_frame` that the choice maximizes."""
    attacks: Sequence[str]
    seeds: Sequence[int]
    """Seeds of the choice."""
    validation_samples: int
    possible: int
    """Number of settings in the whole grid."""
    test: Comparison
    """Runs of the chosen and of the given strategy on the test set with other seeds, also without attack."""

    @property
    def given(self) -> Candidate:
        """The strategy as it was given."""
        return self.candidates[0]

    @property
    def best(self) -> Candidate:
        """The chosen setting: the first of the highest score."""
        return max(self.candidates, key=lambda each: each.score)

    @property
    def strategy(self) -> str:
        """Spec of the chosen strategy."""
        return self.best.strategy

    def worst_case(self, strategy: str) -> WorstCase:
        """Return the worst attack on the chosen or the given strategy, on the test set."""
        found = {
            attack: estimate(self.test.values(self.measure, attack, strategy)) for attack in self.attacks
        }
        stopping = [attack for attack in self.attacks if self.test.stopped_seeds(attack, strategy)]
        under = stopping[0] if stopping else min(found, key=lambda attack: found[attack].mean)
        return WorstCase(under, found[under])

    def clean(self, strategy: str) -> Estimate:
        """Return the measure of the chosen or the given strategy without attack, on the test set."""
        return estimate(self.test.values(self.measure, NO_ATTACK, strategy))

    @property
    def clean_gain(self) -> Estimate:
        """Measure without attack of the chosen strategy minus that of the given one, paired by seed."""
        best, given = (
            self.test.values(self.measure, NO_ATTACK, each.strategy) for each in (self.best, self.given)
        )
        return estimate([mine - theirs for mine, theirs in zip(best, given, strict=True)])

    @property
    def headline(self) -> str:
        """The choice and its result."""
        worst = self.worst_case(self.strategy)
        return (
            f"{self.strategy}: best of {len(self.candidates)} settings on {self.validation_samples} "
            f"validation samples with {_seeds(self.seeds)}; on the test set with {_seeds(self.test.seeds)}: "
            f"{percent(json_number(worst.value.mean))} % under {worst.under}, "
            f"{percent(json_number(self.clean(self.strategy).mean))} % without attack"
        )

    @property
    def remarks(self) -> list[str]:
        """Limits of the choice, and defects of the runs on the test set."""
        lines = [f"{each.strategy}: stopped: {each.stopped}" for each in self.candidates if each.stopped]
        if self.possible > len(self.candidates):
            lines.insert(0, f"{len(self.candidates)} of {self.possible} settings were tried, drawn at random")
        return [*lines, *self.test.remarks]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per setting, best first: `strategy`, `score`, `under`, and a column per attack.

        The values are those on the validation set. A stopped setting has NaN.
        """
        ordered = sorted(self.candidates, key=lambda each: -each.score)
        rows = [
            {"strategy": each.strategy, "score": each.score, "under": each.under, **each.scores}
            for each in ordered
        ]
        return pd.DataFrame(rows).replace(-float("inf"), float("nan"))

    def plot(self) -> Figure:
        """Draw the score of each setting on the validation set."""
        from fedpoison.studies.figures import score_by_setting  # noqa: PLC0415  # matplotlib takes a second to import

        return score_by_setting(self.to_frame(), self.measure)

    def as_json(self) -> dict[str, object]:
        """Return the result as plain values, with None for missing numbers."""
        return {
            "strategy": self.strategy,
            "given": self.given.strategy,
            "measure": self.measure,
            "attacks": list(self.attacks),
            "validation_samples": self.validation_samples,
            "seeds": list(self.seeds),
            "test_seeds": list(self.test.seeds),
            "settings": len(self.candidates),
            "possible_settings": self.possible,
            "test": {"chosen": self._tested(self.strategy), "given": self._tested(self.given.strategy)},
            "clean_gain": _plain(self.clean_gain),
            "candidates": [
                {
                    "strategy": each.strategy,
                    "score": _finite(each.score),
                    "under": each.under,
                    "scores": {attack: _finite(score) for attack, score in each.scores.items()},
                    "stopped": each.stopped,
                }
                for each in self.candidates
            ],
            "notes": self.remarks,
        }

    def _tested(self, strategy: str) -> dict[str, object]:
        worst = self.worst_case(strategy)
        return {"worst": _plain(worst.value), "under": worst.under, "clean": _plain(self.clean(strategy))}


def _plain(found: Estimate) -> dict[str, float | None]:
    return {name: json_number(value) for name, value in vars(found).items()}


def _finite(score: float) -> float | None:
    return None if score == -float("inf") else score


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
