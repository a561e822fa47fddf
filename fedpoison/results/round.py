"""The record of one round as plain values, written as one line of JSON, and the reason of a failed run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from clients.attacks.base import AttackGoal
from fedpoison.errors import AggregationError, FedPoisonError
from fedpoison.results import metrics as measures
from fedpoison.results.metrics import Counts


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one model does on the test set."""

    confusion: Counts
    loss: float
    """Mean cross-entropy."""
    triggered: Counts | None = None
    """The confusion matrix of the triggered test samples, under an attack with a trigger."""


@dataclass(frozen=True, kw_only=True)
class GroupRecord:
    """What one group of attackers did in one round."""

    attack: str
    nodes: list[int]
    """Its nodes that were asked to train."""
    acted: bool
    """Whether it attacked; False where it was dormant, and its nodes honest."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What happened between the nodes and the server in one round."""

    sampled: list[int] = field(default_factory=list)
    """The nodes that were asked to train."""
    malicious: list[int] = field(default_factory=list)
    """Those of them that are malicious, whether they attack in this round or not."""
    groups: list[GroupRecord] = field(default_factory=list)
    """The groups of attackers, in the order of the scenario."""
    dropped: dict[int, str] = field(default_factory=dict)
    """Nodes whose reply could not be used, with the reason."""
    trust: dict[int, float] | None = None
    """The weight that each node's update got; None where the strategy does not tell."""
    update_norms: dict[int, float] = field(default_factory=dict)
    """The Euclidean norm of each node's update."""
    distances: dict[int, float] = field(default_factory=dict)
    """The Euclidean distance of each node's update from the mean of the honest ones."""
    cosines: dict[int, float] = field(default_factory=dict)
    """The cosine of each node's update with that mean; left out where one of the two is zero."""
    train_loss: float | None = None
    """Mean local loss over the nodes, as they report it."""
    bytes_down: int = 0
    """Weights sent to the nodes, in bytes."""
    bytes_up: int = 0
    """Weights sent back."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock time by phase, of all rounds since the last record."""

    @property
    def acting(self) -> list[int]:
        """The nodes that were asked to train and attacked."""
        return sorted(client_id for group in self.groups if group.acted for client_id in group.nodes)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round: how it was trained, and what the global model then does, class by class.

    Round 0 is the initial model. Rounds that are not evaluated have no record.
    """

    round: int
    confusion: list[list[int]]
    """(k, k) on the clean test set: row = true class, column = predicted class."""
    loss: float | None
    """Mean cross-entropy; None where it is not finite."""
    triggered: list[list[int]] | None = None
    """(k, k) on the triggered test samples, under an attack with a trigger."""
    attack_success_rate: float | None = None
    """Share of triggered samples of other classes that is taken for the target."""
    source_to_target_rate: float | None = None
    """Share of the source class that is taken for the target, under an attack from class to class."""
    training: Training = field(default_factory=Training)

    @classmethod
    def from_evaluation(
        cls, number: int, evaluation: Evaluation, goal: AttackGoal | None, training: Training
    ) -> Self:
        """Return the record of a round from its evaluation."""
        success = confused = None
        if goal is not None and evaluation.triggered is not None:
            success = measures.attack_success_rate(evaluation.triggered, goal.target)
        if goal is not None and goal.source is not None:
            confused = measures.source_to_target_rate(evaluation.confusion, goal.source, goal.target)
        return cls(
            round=number,
            confusion=evaluation.confusion.tolist(),
            loss=evaluation.loss if math.isfinite(evaluation.loss) else None,
            triggered=None if evaluation.triggered is None else evaluation.triggered.tolist(),
            attack_success_rate=success,
            source_to_target_rate=confused,
            training=training,
        )

    @property
    def counts(self) -> Counts:
        return np.array(self.confusion, dtype=np.int64)

    @property
    def accuracy(self) -> float:
        return measures.accuracy(self.counts)

    @property
    def worst_class_accuracy(self) -> float:
        return measures.worst_class_accuracy(self.counts)

    @property
    def per_class_accuracy(self) -> list[float]:
        return [float(value) for value in measures.per_class_accuracy(self.counts)]

    @property
    def success(self) -> float | None:
        """The rate at which a targeted attack gets what it wants; None for an attack without a target."""
        return self.source_to_target_rate if self.attack_success_rate is None else self.attack_success_rate

    def to_json(self) -> str:
        """Return the record as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Return the record that `to_json` wrote."""
        values: dict[str, Any] = json.loads(line)
        training = values.pop("training")
        training["groups"] = [GroupRecord(**group) for group in training["groups"]]
        for name in ("dropped", "trust", "update_norms", "distances", "cosines"):
            if training[name] is not None:
                training[name] = {int(client_id): value for client_id, value in training[name].items()}
        return cls(**values, training=Training(**training))


OnRound = Callable[[Round], None]
"""Function that a run calls with the record of each evaluated round."""


@dataclass(frozen=True)
class Failure:
    """Why a run did not finish."""

    reason: str
    """One line."""
    aggregation_failed: bool = False
    """Whether the strategy could not aggregate a round. Under an attack, the attack caused that."""

    @classmethod
    def from_error(cls, error: Exception) -> Self:
        """Return the failure that an error describes. Errors of Ray tasks count as their cause."""
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, FedPoisonError):
            return cls(" ".join(str(cause).split()), isinstance(cause, AggregationError))
        words = str(cause).strip()
        return cls(f"{type(cause).__name__}: {words.splitlines()[0] if words else ''}")
