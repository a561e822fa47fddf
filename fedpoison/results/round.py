"""Record of one round as plain values, which is one line of JSON; and failure of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np

from clients.attacks.base import AttackGoal
from fedpoison.errors import AggregationError, FedPoisonError, ScenarioError
from fedpoison.results import metrics as measures
from fedpoison.results.effects import Effects
from fedpoison.results.metrics import Counts
from fedpoison.results.strict_json import to_json

Split = Literal["test", "validation"]
"""Samples that a model is evaluated on. Validation samples are for choosing parameters."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Result of one model on the samples of one split, such as the test set."""

    confusion: Counts
    loss: float
    """Mean cross-entropy."""
    triggered: Counts | None = None
    """Confusion matrix of the triggered samples, under an attack with a trigger."""


@dataclass(frozen=True, kw_only=True)
class GroupRecord:
    """Activity of one group of attackers in one round."""

    attack: str
    nodes: list[int]
    """Sampled clients of the group."""
    acted: bool
    """Whether the group attacked. False: the group was dormant, so its clients were honest."""
    effects: Effects | None = None
    """Effects of the attack since the last record. None: unknown, as in records of earlier versions."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Training of one round: clients, their updates and the messages."""

    sampled: list[int] = field(default_factory=list)
    """Sampled clients."""
    malicious: list[int] = field(default_factory=list)
    """Sampled clients that are malicious, even if they do not attack in this round."""
    groups: list[GroupRecord] = field(default_factory=list)
    """Groups of attackers, in the order of the scenario."""
    dropped: dict[int, str] = field(default_factory=dict)
    """Clients whose reply is unusable, with the reason."""
    drop_counts: dict[str, int] = field(default_factory=dict)
    """Number of unusable replies by reason, of all rounds since the last record."""
    unchanged: dict[str, int] = field(default_factory=dict)
    """Number of rounds since the last record that left the model unchanged, by reason."""
    trust: dict[int, float] | None = None
    """Weight of each client's update. None: the strategy does not report weights."""
    update_norms: dict[int, float] = field(default_factory=dict)
    """Euclidean norm of each client's update."""
    distances: dict[int, float] = field(default_factory=dict)
    """Euclidean distance of each client's update from the mean of the honest updates."""
    cosines: dict[int, float] = field(default_factory=dict)
    """Cosine of each client's update with the mean of the honest updates, unless one of them is zero."""
    train_loss: float | None = None
    """Mean of the local losses that the clients report."""
    bytes_down: int = 0
    """Weights sent to the clients, in bytes."""
    bytes_up: int = 0
    """Weights sent to the server, in bytes."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock time by phase, in seconds, of all rounds since the last record."""

    @property
    def acting(self) -> list[int]:
        """Sampled clients that attacked."""
        return sorted(client_id for group in self.groups if group.acted for client_id in group.nodes)


@dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """Results of a model on the samples of one split, as plain values."""

    confusion: list[list[int]]
    """(k, k) on the samples without trigger: row = true class, column = predicted class."""
    loss: float | None
    """Mean cross-entropy. None: not finite."""
    triggered: list[list[int]] | None = None
    """(k, k) on the triggered samples, under an attack with a trigger."""
    attack_success_rate: float | None = None
    """Share of triggered samples of other classes that is classified as the target. None: no such sample."""
    source_to_target_rate: float | None = None
    """Share of the source class that is classified as the target, under an attack with both classes. None:
    the split has no sample of the source class."""

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
        """Success rate of a targeted attack. None: the attack has no target."""
        return self.source_to_target_rate if self.attack_success_rate is None else self.attack_success_rate

    def summary(self) -> dict[str, object]:
        """Return the results as plain values for JSON, with None for missing numbers."""
        return {
            "samples": int(self.counts.sum()),
            "accuracy": self.accuracy,
            "per_class_accuracy": [measures.json_number(value) for value in self.per_class_accuracy],
            "worst_class_accuracy": self.worst_class_accuracy,
            "attack_success_rate": self.attack_success_rate,
            "source_to_target_rate": self.source_to_target_rate,
            "loss": self.loss,
        }


@dataclass(frozen=True, kw_only=True)
class Round(SplitRecord):
    """Record of one round: its training, and the results of the global model on the test set after it.

    Round 0 is the initial model. Rounds without evaluation have no record.
    """

    round: int
    training: Training = field(default_factory=Training)
    validation: SplitRecord | None = None
    """Results on the validation set. None: the scenario has none."""

    @classmethod
    def from_evaluation(
        cls,
        number: int,
        evaluation: Evaluation,
        goal: AttackGoal | None,
        training: Training,
        validation: Evaluation | None = None,
    ) -> Self:
        """Return the record of a round from its evaluations. A rate without samples is None."""
        return cls(
            **vars(_split_record(evaluation, goal)),
            round=number,
            training=training,
            validation=None if validation is None else _split_record(validation, goal),
        )

    def split(self, name: Split) -> SplitRecord:
        """Return the results on one split.

        Raises:
            ScenarioError: the run has no validation set.
        """
        if name == "test":
            return self
        if self.validation is None:
            raise ScenarioError("validation: the run has no validation set; set validation_samples.")
        return self.validation

    def to_json(self) -> str:
        """Return the record as one line of JSON."""
        values = {"round": self.round, **asdict(self)}
        if self.validation is None:
            del values["validation"]
        return to_json(values)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Return the record that `to_json` wrote.

        Raises:
            ValueError: the line is not JSON, contains NaN, or has no square confusion matrix.
        """
        values: dict[str, Any] = json.loads(line, parse_constant=_refuse_constant)
        _check_split(values)
        validation = values.pop("validation", None)
        if validation is not None:
            _check_split(validation)
            validation = SplitRecord(**validation)
        training = values.pop("training")
        for group in training["groups"]:
            if group.get("effects") is not None:
                group["effects"] = Effects.from_json(group["effects"])
        training["groups"] = [GroupRecord(**group) for group in training["groups"]]
        for name in ("dropped", "trust", "update_norms", "distances", "cosines"):
            if training[name] is not None:
                training[name] = {int(client_id): value for client_id, value in training[name].items()}
        return cls(**values, training=Training(**training), validation=validation)


def _split_record(evaluation: Evaluation, goal: AttackGoal | None) -> SplitRecord:
    success = confused = None
    if goal is not None and evaluation.triggered is not None:
        success = measures.json_number(measures.attack_success_rate(evaluation.triggered, goal.target))
    if goal is not None and goal.source is not None:
        rate = measures.source_to_target_rate(evaluation.confusion, goal.source, goal.target)
        confused = measures.json_number(rate)
    return SplitRecord(
        confusion=evaluation.confusion.tolist(),
        loss=evaluation.loss if math.isfinite(evaluation.loss) else None,
        triggered=None if evaluation.triggered is None else evaluation.triggered.tolist(),
        attack_success_rate=success,
        source_to_target_rate=confused,
    )


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"got {constant}, expected a finite number")


def _check_split(values: dict[str, Any]) -> None:
    for name in ("confusion", "triggered"):
        if name == "confusion" or values[name] is not None:
            _check_counts(name, values[name])


def _check_counts(name: str, counts: object) -> None:
    rows = counts if isinstance(counts, list) else []
    square = rows and all(isinstance(row, list) and len(row) == len(rows) for row in rows)
    if not square or not all(isinstance(cell, int) for row in rows for cell in row):
        raise ValueError(f"{name}: expected a square matrix of whole numbers")


OnRound = Callable[[Round], None]
"""Function that a run calls with the record of each evaluated round."""


@dataclass(frozen=True)
class Failure:
    """Why a run did not finish."""

    reason: str
    """One line."""
    aggregation_failed: bool = False
    """Whether the strategy could not aggregate a round. Under an attack, the attack caused that."""
    permanent: bool = field(default=False, compare=False)
    """Whether a sweep repeats the stored run only with `retry_failed`."""

    @classmethod
    def from_error(cls, error: Exception) -> Self:
        """Return the failure that an error describes. Errors of Ray tasks count as their cause."""
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, FedPoisonError):
            return cls(" ".join(str(cause).split()), isinstance(cause, AggregationError))
        words = str(cause).strip()
        return cls(f"{type(cause).__name__}: {words.splitlines()[0] if words else ''}")
