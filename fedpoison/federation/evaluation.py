"""One confusion matrix per evaluation: on the clean test set, and on what carries the trigger."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clients.attacks.base import AttackGoal
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.federation.workers import Workers
from fedpoison.results.metrics import Counts
from fedpoison.results.round import Evaluation

BATCH = 250


class Evaluator:
    """Evaluates global weights on a test set, in parallel."""

    def __init__(self, test: Samples, goal: AttackGoal | None, workers: Workers) -> None:
        self._test = test
        self._there = test.to(workers.device)
        self._goal = goal
        shown = goal.trigger(test) if goal is not None and goal.trigger is not None else None
        self._triggered = None if shown is None else shown.to(workers.device)
        self._workers = workers

    def __call__(self, weights: Tensor, learned: Sequence[Tensor] = ()) -> Evaluation:
        """Return what the model with these weights (d,) predicts.

        Args:
            weights: the global model.
            learned: the triggers that the malicious clients have learned so far, under such an attack.
        """
        confusion, loss = evaluate(weights, self._there, self._workers)
        shown, goal = self._triggered, self._goal
        if goal is not None and goal.learned is not None and learned:
            shown = goal.learned(self._test, learned)
        triggered = evaluate(weights, shown, self._workers)[0] if shown is not None and len(shown) else None
        return Evaluation(confusion=confusion, loss=loss, triggered=triggered)


def evaluate(weights: Tensor, samples: Samples, workers: Workers) -> tuple[Counts, float]:
    """Return the confusion matrix (k, k) and the mean loss of the model with these weights (d,)."""
    classes = samples.classes
    samples = samples.to(workers.device)

    def several(trainer: Trainer, begins: Sequence[int]) -> list[tuple[Counts, float]]:
        trainer.load(weights)
        return [one(trainer, begin) for begin in begins]

    def one(trainer: Trainer, start: int) -> tuple[Counts, float]:
        labels = samples.labels[start : start + BATCH]
        logits = trainer.predict(samples.images[start : start + BATCH])
        cells = torch.bincount(labels * classes + logits.argmax(dim=1), minlength=classes**2)
        summed = cross_entropy(logits, labels, reduction="sum")
        return cells.view(classes, classes).cpu().numpy(), float(summed)

    confusion, loss = np.zeros((classes, classes), dtype=np.int64), 0.0
    begins = range(0, len(samples), BATCH)
    size = max(1, -(-len(begins) // (2 * workers.count)))
    groups = [begins[first : first + size] for first in range(0, len(begins), size)]
    for counted, summed in itertools.chain.from_iterable(workers.map(several, groups)):
        confusion += counted
        loss += summed
    return confusion, loss / len(samples)
