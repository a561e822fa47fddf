"""Parts of a robustness card: measured numbers, attacks, flags."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from fedpoison.audits.protocol import Threat
from fedpoison.results.run_frame import estimate, format_interval

FlagKind = Literal[
    "no effect", "random rule", "probe differs", "less knowledge", "rejects all", "lost replies", "few seeds",
    "default strength", "end of range", "undefined share", "failed runs", "no learning",
]  # fmt: skip
"""Kinds of flags."""


class Part(BaseModel):
    """Frozen values of a card."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Measured(Part):
    """Mean over the seeds, and its 95 % bootstrap interval."""

    mean: float
    low: float | None = None
    high: float | None = None
    """None: a single seed."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the mean of the values of several seeds, with its interval."""
        found = estimate(values)
        return cls(mean=found.mean, low=found.low, high=found.high)

    def percent(self) -> str:
        """Return the numbers in per cent.

        >>> Measured(mean=0.5, low=0.25, high=0.75).percent()
        '50.0 [25.0, 75.0]'
        """
        return format_interval(self.mean, self.low, self.high)


class Clean(Part):
    """The strategy without an attack, configured for one malicious share."""

    partition: str
    share: float
    """Malicious share that the strategy is configured for."""
    accuracy: Measured
    worst_class_accuracy: Measured
    cost: Measured | None = None
    """Accuracy of FedAvg minus that of the strategy, paired by seed. None: not at the headline share."""
    command: str


class Attacked(Part):
    """The strategy under one attack that was tuned against it. The numbers are from the test set."""

    threat: Threat
    partition: str
    share: float
    attack: str
    """Spec of the attack with its tuned strength."""
    family: str
    schedule: str
    knowledge: str
    """Updates that the attack sees: own, colluding or omniscient."""
    knows_rule: bool
    tuned: bool
    """Whether the strength or the knowledge differs from the attack's default."""
    validation_harm: float
    """Harm on the validation set, by which the attack was chosen."""
    accuracy: Measured
    worst_class_accuracy: Measured
    lost_accuracy: Measured
    """Accuracy without attack minus this accuracy, paired over the seeds."""
    success: Measured | None
    """Success of the attack. None: the attack has no target."""
    clean_success: Measured | None
    """The same measure without attack."""
    stopped_seeds: list[int]
    """Seeds with which the attack stopped the strategy. Their accuracy counts as 0."""
    command: str
    """Command that repeats the runs."""


class Tried(Part):
    """One attack of tuning, with one strength. The numbers are from the validation set."""

    threat: Threat
    partition: str
    share: float
    attack: str
    knowledge: str
    default: bool
    """Whether strength and knowledge are the attack's defaults."""
    harm: float | None
    """1 minus the accuracy, or the success of an attack with a target. None: a run failed."""
    stopped: bool
    strongest: bool = False
    """Whether no other strength or knowledge of the attack harms more at this place."""


class ClassTreatment(Part):
    """How the strategy treats honest clients with samples of one class, on skewed data."""

    label: str
    false_rejection: float
    """Share of the class's samples on honest clients whose updates the strategy rejected, without attack."""
    under_attack: float | None
    """The same under the strongest untargeted attack. None: all of its runs stopped."""
    samples: float
    """Samples of the class on honest clients, per run."""


class Flag(Part):
    """Fact for which the audit may overrate the strategy, or for which its numbers are uncertain."""

    kind: FlagKind
    text: str


class Breakdown(Part):
    """Malicious share from which an attack costs too much accuracy, as a fit to the seeds."""

    share: float | None
    """Share at which half of the seeds break. None: none up to the largest share of the protocol."""
    low: float
    high: float | None
    """Ends of the 95 % interval over the seeds. None: above the largest share."""
    text: str
    """The share and its interval in per cent."""
    islands: list[tuple[float, float]]
    """First and last of consecutive shares at which the strategy held above one that broke it."""


def worst_of(rows: Iterable[Attacked]) -> Attacked | None:
    """Return the row with the lowest accuracy, or for attacks with a target, with the highest success."""

    def badness(row: Attacked) -> float:
        if row.threat == "untargeted" or row.success is None:
            return -row.accuracy.mean
        return row.success.mean

    return max(rows, key=badness, default=None)
