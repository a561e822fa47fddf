"""Treatment of honest clients: the share of each class's samples on clients that are rejected."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fedpoison.data import Dataset
from fedpoison.federation.federation import Federation
from fedpoison.results.history import History

Rates = NDArray[np.float64]
"""(k,): one number per class."""


def false_rejection(histories: Iterable[History], dataset: Dataset) -> tuple[Rates, Rates] | None:
    """Compute the false-rejection rate of each class over several runs.

    A class's rate is the share of its samples on honest clients that were rejected, over the recorded rounds.
    A client counts as rejected if its trust is less than half of its weight, which is its share of the
    samples unless the weights are uniform.

    Args:
        histories: Runs of one strategy.
        dataset: Data set of the runs.

    Returns:
        The rates (k,), and the number of samples on honest clients per round (k,). None: the strategy reports
        no trust.
    """
    lost, total, rounds = np.zeros(dataset.train.classes), np.zeros(dataset.train.classes), 0
    for history in histories:
        counts = _class_counts(Federation(history.scenario, dataset))
        uniform = history.scenario.weights == "uniform"
        weights = np.ones(len(counts)) if uniform else counts.sum(axis=1)
        for record in history.records[1:]:
            trust = record.training.trust
            if trust is None:
                return None
            clients = np.array(sorted(trust))
            given = np.array([trust[client] for client in clients])
            fair = given.sum() * weights[clients] / weights[clients].sum()
            outside = (given < fair / 2) | (given.sum() == 0)
            honest = ~np.isin(clients, record.training.malicious)
            total += counts[clients[honest]].sum(axis=0)
            lost += counts[clients[honest & outside]].sum(axis=0)
            rounds += 1
    if not rounds:
        return None
    return np.divide(lost, total, out=np.full(len(total), np.nan), where=total > 0), total / rounds


def _class_counts(federation: Federation) -> Rates:
    """Return the number of samples of each class on each client, (n, k)."""
    labels, classes = federation.train.labels.numpy(), federation.classes
    counted = [np.bincount(labels[part.numpy()], minlength=classes) for part in federation.parts]
    return np.stack(counted).astype(np.float64)
