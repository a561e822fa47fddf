"""Everything that is read off a confusion matrix, and off the trust of a rule."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
"""(k, k): row = true class, column = predicted class."""


def per_class_accuracy(confusion: Counts) -> NDArray[np.float64]:
    """Return the share of each class's samples that is predicted right (recall), (k,); NaN if it has none.

    >>> per_class_accuracy(np.array([[3, 1], [0, 4]])).tolist()
    [0.75, 1.0]
    """
    return _ratio(confusion.diagonal(), confusion.sum(axis=1))


def per_class_precision(confusion: Counts) -> NDArray[np.float64]:
    """Return the share of the predictions of each class that is right, (k,); NaN if there are none."""
    return _ratio(confusion.diagonal(), confusion.sum(axis=0))


def per_class_f1(confusion: Counts) -> NDArray[np.float64]:
    """Return the harmonic mean of precision and recall of each class, (k,)."""
    return _ratio(2 * confusion.diagonal(), confusion.sum(axis=0) + confusion.sum(axis=1))


def accuracy(confusion: Counts) -> float:
    """Return the share of all samples that is predicted right."""
    return float(confusion.trace() / confusion.sum())


def worst_class_accuracy(confusion: Counts) -> float:
    """Return the accuracy of the class that fares worst."""
    return float(np.nanmin(per_class_accuracy(confusion)))


def source_to_target_rate(confusion: Counts, source: int, target: int) -> float:
    """Return the share of the source class's samples that is taken for the target."""
    return float(_ratio(confusion[source, target], confusion[source].sum()))


def attack_success_rate(triggered: Counts, target: int) -> float:
    """Return the share of triggered samples of other classes that is taken for the target.

    Samples that belong to the target anyway do not count: predicting them right is no success.
    """
    others = np.delete(triggered, target, axis=0)
    return float(_ratio(others[:, target].sum(), others.sum()))


def trust_rates(trust: dict[int, float], malicious: Iterable[int]) -> tuple[float, float]:
    """Return the rule's true and false positive rate in telling malicious clients from honest ones.

    A client counts as rejected when it got less than half of an equal share of the trust.

    >>> trust_rates({0: 0.5, 1: 0.5, 2: 0.0}, malicious=[2])
    (1.0, 0.0)

    Returns:
        Rejected malicious over malicious, rejected honest over honest; NaN where there are none.
    """
    total = sum(trust.values())
    rejected = {node for node, share in trust.items() if share < total / len(trust) / 2 or total == 0}
    bad = set(malicious) & set(trust)
    good = set(trust) - bad
    return (
        float(_ratio(len(rejected & bad), len(bad))),
        float(_ratio(len(rejected & good), len(good))),
    )


def _ratio(part: object, whole: object) -> NDArray[np.float64]:
    """Return part / whole, NaN where the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    ratio: NDArray[np.float64] = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0)
    return ratio
