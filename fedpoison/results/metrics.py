"""Everything that is read off a confusion matrix, and off the trust of a rule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

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


def rejected(trust: dict[int, float]) -> set[int]:
    """Return the clients that the rule rejected: those with less than half of an equal share of the trust.

    >>> sorted(rejected({0: 0.5, 1: 0.3, 2: 0.1, 3: 0.1}))
    [2, 3]
    """
    total = sum(trust.values())
    return {client_id for client_id, share in trust.items() if share < total / len(trust) / 2 or total == 0}


def trust_rates(trust: dict[int, float], malicious: Iterable[int]) -> tuple[float, float]:
    """Return the rule's true and false positive rate in telling malicious clients from honest ones.

    >>> trust_rates({0: 0.5, 1: 0.5, 2: 0.0}, malicious=[2])
    (1.0, 0.0)

    Returns:
        Rejected malicious over malicious, rejected honest over honest; NaN where there are none.
    """
    refused = rejected(trust)
    bad = set(malicious) & set(trust)
    good = set(trust) - bad
    return (
        float(_ratio(len(refused & bad), len(bad))),
        float(_ratio(len(refused & good), len(good))),
    )


def trust_auroc(trust: dict[int, float], malicious: Iterable[int]) -> float:
    """Return how well trust tells honest clients from malicious ones: the area under the ROC curve.

    It is the chance that an honest client got more trust than a malicious one, where a tie counts half: 1 is
    a rule that always believes the honest ones more, 0.5 is a rule that cannot tell.

    >>> trust_auroc({0: 0.5, 1: 0.5, 2: 0.0, 3: 0.5}, malicious=[2, 3])
    0.75

    Returns:
        NaN where there is no malicious or no honest client.
    """
    bad = set(malicious) & set(trust)
    low = np.array([trust[client_id] for client_id in sorted(bad)])
    high = np.array([share for client_id, share in trust.items() if client_id not in bad])
    if not low.size or not high.size:
        return float("nan")
    # scikit-learn's roc_auc_score agrees, but takes a hundred times as long, and this runs per round.
    more, same = high[:, None] > low, high[:, None] == low
    return float(more.mean() + same.mean() / 2)


def malicious_mass(trust: dict[int, float], malicious: Iterable[int]) -> float:
    """Return the weight that malicious clients got in the aggregate: the sum of their trust.

    >>> malicious_mass({0: 0.5, 1: 0.25, 2: 0.25}, malicious=[1, 2])
    0.5
    """
    return float(sum(trust[client_id] for client_id in set(malicious) & set(trust)))


def recovery_half_life(
    accuracy: Sequence[float], acted: Sequence[bool], reference: Sequence[float] | None = None
) -> float:
    """Return how many rounds after its end half of what an attack took is regained.

    The attack ends with the last round in which it acted. What it took is the accuracy that is missing after
    that round against the reference. The half-life counts the rounds from there until at most half of that
    is missing.

    >>> recovery_half_life([0.8, 0.2, 0.4, 0.6, 0.7], [False, True, False, False, False])
    2.0

    Args:
        accuracy: after each round.
        acted: whether the attack acted in that round.
        reference: the accuracy that would have been after each round, such as the clean twin's; None takes
            the accuracy just before the attack's first round for every round.

    Returns:
        NaN where the attack did not act or took nothing, where nothing came before it to compare with, and
        where half is not regained by the end.
    """
    rounds = [number for number, active in enumerate(acted) if active]
    if not rounds or (reference is None and rounds[0] == 0):
        return float("nan")
    level = [accuracy[rounds[0] - 1]] * len(accuracy) if reference is None else reference
    missing = [expected - reached for expected, reached in zip(level, accuracy, strict=True)]
    last = rounds[-1]
    if missing[last] <= 0:
        return float("nan")
    half = missing[last] / 2 + 1e-12  # shares of samples are not exact in binary
    regained = (number for number in range(last + 1, len(missing)) if missing[number] <= half)
    return float(next(regained, np.nan) - last)


def json_number(value: float | None) -> float | None:
    """Return a measure for JSON, which knows no NaN: None where there is none.

    >>> json_number(0.5), json_number(float("nan"))
    (0.5, None)
    """
    return None if value is None or math.isnan(value) else float(value)


def _ratio(part: object, whole: object) -> NDArray[np.float64]:
    """Return part / whole, NaN where the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    ratio: NDArray[np.float64] = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0)
    return ratio
