"""Checks of one result: the numbers of a run are finite, agree with each other, and survive their file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch

from fedpoison.federation.federation import Federation
from fedpoison.results.history import History
from fedpoison.results.round import Round
from fedpoison.results.store import StoredRun

ROUNDING = 1e-9


def inconsistencies(federation: Federation, history: History) -> Iterator[str]:
    """Yield a text for each fault of the history of a complete run that is in a store."""
    scenario = federation.scenario
    expected = [0, *(number for number in range(1, scenario.rounds + 1) if scenario.evaluates(number))]
    if [record.round for record in history.records] != expected:
        yield f"records: got rounds {[record.round for record in history.records]}, expected {expected}"
    for record in history.records:
        for fault in (*_evaluation(record, len(federation.test)), *_training(record, federation)):
            yield f"round {record.round}: {fault}"
    yield from _views(history)
    yield from _stored(history)


def _evaluation(record: Round, samples: int) -> Iterator[str]:
    counts = record.counts
    if counts.sum() != samples or (counts < 0).any():
        yield f"confusion: got a sum of {counts.sum()}, expected {samples}"
    rates = {
        "accuracy": record.accuracy,
        "worst_class_accuracy": record.worst_class_accuracy,
        "attack_success_rate": record.attack_success_rate,
        "source_to_target_rate": record.source_to_target_rate,
    }
    yield from _outside(rates, 0, 1)
    if record.loss is not None:
        yield from _outside({"loss": record.loss}, 0, math.inf)


def _training(record: Round, federation: Federation) -> Iterator[str]:
    training, scenario = record.training, federation.scenario
    if record.round == 0:
        if training.sampled or training.dropped or training.trust:
            yield "training: got content before the first round, expected none"
        return
    sampled, used = set(training.sampled), set(training.update_norms)
    if len(sampled) != len(training.sampled) or len(sampled) != scenario.sampled:
        yield f"sampled: got {training.sampled}, expected {scenario.sampled} clients"
    if not sampled <= set(range(scenario.clients)):
        yield f"sampled: got {training.sampled}, expected clients below {scenario.clients}"
    if used | set(training.dropped) != sampled or used & set(training.dropped):
        yield f"got {len(used)} used and {len(training.dropped)} dropped of {len(sampled)} sampled clients"
    if not set(training.acting) <= set(training.malicious) <= sampled:
        yield f"got clients {training.acting} that act, {training.malicious} malicious and {sorted(sampled)}"
    if training.trust is not None:
        if set(training.trust) != used:
            yield f"trust: got clients {sorted(training.trust)}, expected {sorted(used)}"
        yield from _outside({"trust": training.trust}, 0, 1)
        yield from _outside({"sum of trust": sum(training.trust.values())}, 0, 1)
    yield from _outside({"norms": training.update_norms, "distances": training.distances}, 0, math.inf)
    yield from _outside({"cosines": training.cosines}, -1, 1)
    yield from _outside({"train_loss": training.train_loss}, -math.inf, math.inf)
    if sum(training.drop_counts.values()) < len(training.dropped):
        yield f"drop_counts: got {training.drop_counts}, expected at least {len(training.dropped)}"


def _outside(
    named: Mapping[str, float | Mapping[int, float] | None], low: float, high: float
) -> Iterator[str]:
    """Yield a text for each number that is not finite, or not from `low` to `high`."""
    for name, found in named.items():
        values: Iterable[float] = (
            found.values() if isinstance(found, Mapping) else [found] if found is not None else []
        )
        for value in values:
            if not (math.isfinite(value) and low - ROUNDING <= value <= high + ROUNDING):
                yield f"{name}: got {value}, expected a finite number from {low} to {high}"


def _views(history: History) -> Iterator[str]:
    """Build all that commands show of a history."""
    json.dumps(history.summary(), allow_nan=False)
    for text in (history.headline, history.title, *history.notes):
        if "nan%" in text or "\n" in text:
            yield f"the text {text!r} is not one line of finite numbers"
    frames = {
        "to_frame": history.to_frame(),
        "per_class": history.per_class(),
        "per_class_precision": history.per_class_precision(),
        "per_class_f1": history.per_class_f1(),
    }
    for name, frame in frames.items():
        if len(frame) != len(history.records):
            yield f"{name}: got {len(frame)} rows, expected {len(history.records)}"
    if len(history.per_client()) != sum(len(record.training.sampled) for record in history.records):
        yield "per_client: got another number of rows than sampled clients"
    history.trust()


def _stored(history: History) -> Iterator[str]:
    if history.path is None:
        return
    run = StoredRun(Path(history.path))
    if not run.complete or run.failure is not None:
        yield "the stored run is not complete"
    if run.history.scenario != history.scenario or run.history.scenario.run_id != history.scenario.run_id:
        yield "the stored scenario differs"
    if [each.to_json() for each in run.history.records] != [each.to_json() for each in history.records]:
        yield "the stored records differ"
    if not all(bool(torch.isfinite(part).all()) for part in run.weights().values()):
        yield "the stored model is not finite"
