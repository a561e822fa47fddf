"""Metrics of a confusion matrix, and of the trust of a rule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
"""(k, k): row = true class, column = predicted class."""
DEVIATIONS = 3
MOST_CHANCE = 0.05
"""By how many standard deviations, and by how much at most, an accuracy exceeds guessing by chance."""


def per_class_accuracy(confusion: Counts) -> NDArray[np.float64]:
    """Compute the share of each class's samples that is predicted correctly (recall), (k,). NaN: no samples.

    >>> per_class_accuracy(np.array([[3, 1], [0, 4]])).tolist()
    [0.75, 1.0]
    """
    return _ratio(confusion.diagonal(), confusion.sum(axis=1))


def per_class_precision(confusion: Counts) -> NDArray[np.float64]:
    """Compute the share of correct predictions of each class, (k,). NaN: no predictions."""
    return _ratio(confusion.diagonal(), confusion.sum(axis=0))


def per_class_f1(confusion: Counts) -> NDArray[np.float64]:
    """Compute the harmonic mean of precision and recall of each class, (k,)."""
    return _ratio(2 * confusion.diagonal(), confusion.sum(axis=0) + confusion.sum(axis=1))


def accuracy(confusion: Counts) -> float:
    """Compute the share of all samples that is predicted correctly."""
    return float(confusion.trace() / confusion.sum())


def worst_class_accuracy(confusion: Counts) -> float:
    """Compute the lowest accuracy of a class."""
    return float(np.nanmin(per_class_accuracy(confusion)))


def guess_accuracy(confusion: Counts) -> float:
    """Compute the accuracy of always predicting the most frequent class of the samples.

    >>> guess_accuracy(np.array([[0, 3], [0, 1]]))
    0.75
    """
    return float(confusion.sum(axis=1).max() / confusion.sum())


def is_guessing(confusion: Counts) -> bool:
    """Return whether the accuracy is at most that of guessing the most frequent class, plus chance.

    Chance is three standard deviations of a guess on so many samples, and at most five points.
    """
    guess = guess_accuracy(confusion)
    chance = math.sqrt(guess * (1 - guess) / confusion.sum())
    return accuracy(confusion) <= guess + min(DEVIATIONS * chance, MOST_CHANCE)


def source_to_target_rate(confusion: Counts, source: int, target: int) -> float:
    """Compute the share of the source class's samples that is classified as the target."""
    return float(_ratio(confusion[source, target], confusion[source].sum()))


def attack_success_rate(triggered: Counts, target: int) -> float:
    """Compute the share of triggered samples of other classes that is classified as the target.

    Samples of the target class do not count, because their correct prediction is no success.
    """
    others = np.delete(triggered, target, axis=0)
    return float(_ratio(others[:, target].sum(), others.sum()))


def rejected(trust: dict[int, float]) -> set[int]:
    """Return the clients that the rule rejected. Their trust is less than half of an equal share.

    >>> sorted(rejected({0: 0.5, 1: 0.3, 2: 0.1, 3: 0.1}))
    [2, 3]
    """
    total = sum(trust.values())
    return {client_id for client_id, share in trust.items() if share < total / len(trust) / 2 or total == 0}


def trust_rates(
    trust: dict[int, float], malicious: Iterable[int], dropped: Iterable[int] = ()
) -> tuple[float, float]:
    """Compute the true and the false positive rate of a rule that rejects malicious clients.

    A malicious client whose reply was dropped counts as rejected. A dropped honest client does not count,
    because the rule did not reject it.

    >>> trust_rates({0: 0.5, 1: 0.5, 2: 0.0}, malicious=[2])
    (1.0, 0.0)
    >>> trust_rates({0: 0.5, 1: 0.5}, malicious=[2], dropped=[2])
    (1.0, 0.0)

    Args:
        trust: weight of each client in the aggregate.
        malicious: malicious clients. Clients without trust that were not dropped do not count.
        dropped: clients whose reply was unusable.

    Returns:
        Rejected shares of the malicious and of the honest clients. NaN: there are no such clients.
    """
    harmless = set(malicious) & set(dropped)
    bad = set(malicious) & set(trust) | harmless
    caught, honest = rejected(trust) | harmless, set(trust) - bad
    true, false = (float(_ratio(len(caught & some), len(some))) for some in (bad, honest))
    return true, false


def trust_auroc(trust: dict[int, float], malicious: Iterable[int]) -> float:
    """Compute the area under the ROC curve of trust as a classifier of honest clients.

    The area is the probability that an honest client has more trust than a malicious client. A tie counts as
    half. A rule that always trusts honest clients more gets 1. A rule that trusts at random gets 0.5.

    >>> trust_auroc({0: 0.5, 1: 0.5, 2: 0.0, 3: 0.5}, malicious=[2, 3])
    0.75

    Returns:
        The area. NaN: all clients are malicious, or all are honest.
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
    """Compute the weight of malicious clients in the aggregate, which is the sum of their trust.

    >>> malicious_mass({0: 0.5, 1: 0.25, 2: 0.25}, malicious=[1, 2])
    0.5
    """
    return float(sum(trust[client_id] for client_id in set(malicious) & set(trust)))


def recovery_half_life(
    accuracy: Sequence[float], acted: Sequence[bool], reference: Sequence[float] | None = None
) -> float:
    """Count the rounds after an attack until half of the lost accuracy is regained.

    The attack ends with the last round in which it acted. The loss after a round is the reference minus the
    accuracy. The half-life is the number of rounds until the loss is at most half of the loss at the end.

    >>> recovery_half_life([0.8, 0.2, 0.4, 0.6, 0.7], [False, True, False, False, False])
    2.0

    Args:
        accuracy: accuracy after each round.
        acted: whether the attack acted in each round.
        reference: accuracy without attack after each round, such as the clean run's. Default: the accuracy
            before the first round of the attack, for all rounds.

    Returns:
        The number of rounds. NaN: the attack did not act or caused no loss, no round precedes it, or half is
        not regained.
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
    """Return a measure as a value for JSON, with None for NaN.

    >>> json_number(0.5), json_number(float("nan"))
    (0.5, None)
    """
    return None if value is None or math.isnan(value) else float(value)


def _ratio(part: object, whole: object) -> NDArray[np.float64]:
    """Compute part / whole, with NaN if the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    ratio: NDArray[np.float64] = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0)
    return ratio
