"""Rows of the frames of a run: per round, and per round and client."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from statistics import fmean

from fedpoison.results import metrics as measures
from fedpoison.results.round import Round, SplitRecord

CLIENT_COLUMNS = [
    "round", "node", "malicious", "group", "acted", "norm", "distance", "cosine", "trust", "dropped",
]  # fmt: skip
"""Columns of `client_rows`."""


def client_rows(record: Round) -> Iterator[dict[str, object]]:
    """Yield a row of `History.per_client` for each sampled client of the round. NaN: no such number."""
    training = record.training
    groups = {client_id: index for index, group in enumerate(training.groups) for client_id in group.nodes}
    acting = set(training.acting)
    for client_id in training.sampled:
        yield {
            "round": record.round,
            "node": client_id,
            "malicious": client_id in training.malicious,
            "group": groups.get(client_id, math.nan),
            "acted": client_id in acting,
            "norm": training.update_norms.get(client_id, math.nan),
            "distance": training.distances.get(client_id, math.nan),
            "cosine": training.cosines.get(client_id, math.nan),
            "trust": (training.trust or {}).get(client_id, math.nan),
            "dropped": training.dropped.get(client_id),
        }


def round_row(record: Round) -> dict[str, float | int]:
    """Return the row of `History.to_frame` for the round. NaN: no such number."""
    values = _values(record)
    return {name: math.nan if value is None else value for name, value in values.items()}


def _values(record: Round) -> dict[str, float | int | None]:
    training = record.training
    acting = set(training.acting)
    honest = set(training.sampled) - acting
    trust = training.trust
    true_positives, false_positives = (
        measures.trust_rates(trust, acting, training.dropped) if trust else (None, None)
    )
    return {
        "round": record.round,
        "accuracy": record.accuracy,
        "worst_class_accuracy": record.worst_class_accuracy,
        "loss": record.loss,
        "attack_success_rate": record.attack_success_rate,
        "source_to_target_rate": record.source_to_target_rate,
        "true_positive_rate": true_positives,
        "false_positive_rate": false_positives,
        "trust_auroc": measures.trust_auroc(trust, acting) if trust else None,
        "malicious_mass": measures.malicious_mass(trust, acting) if trust else None,
        "acting": len(acting),
        "malicious_norm": _mean(training.update_norms, acting),
        "malicious_distance": _mean(training.distances, acting),
        "malicious_cosine": _mean(training.cosines, acting),
        "honest_norm": _mean(training.update_norms, honest),
        "honest_distance": _mean(training.distances, honest),
        "dropped": len(training.dropped),
        "seconds": sum(training.seconds.values()),
        "unusable": sum(training.drop_counts.values()),
        "unchanged": sum(training.unchanged.values()),
        **({} if record.validation is None else _validation(record.validation)),
    }


def _validation(split: SplitRecord) -> dict[str, float | int | None]:
    return {
        "validation_accuracy": split.accuracy,
        "validation_worst_class_accuracy": split.worst_class_accuracy,
        "validation_loss": split.loss,
        "validation_attack_success_rate": split.attack_success_rate,
        "validation_source_to_target_rate": split.source_to_target_rate,
    }


def _mean(values: Mapping[int, float], client_ids: Collection[int]) -> float | None:
    found = [value for client_id, value in values.items() if client_id in client_ids]
    return fmean(found) if found else None
