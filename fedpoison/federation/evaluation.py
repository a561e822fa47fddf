"""Evaluation of global weights on the test and the validation set, clean and triggered."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clients.attacks.base import AttackGoal
from clients.training.parameters import Buffers
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.errors import code_errors
from fedpoison.federation.federation import Federation
from fedpoison.federation.workers import Workers
from fedpoison.results.metrics import Counts
from fedpoison.results.round import Evaluation, Round, Split, Training

BATCH = 250


class Evaluator:
    """Evaluates global weights on samples that no client has, in parallel.

    Args:
        samples: Samples of one split.
        goal: Measure of the attack's success. None: no attack has a target.
        workers: Trainers that run the model.
        attack: Attack of the goal, for error messages.
        split: Name of the split, for error messages.

    Raises:
        CrashError: the code of the attack raised an exception.
    """

    def __init__(
        self,
        samples: Samples,
        goal: AttackGoal | None,
        workers: Workers,
        *,
        attack: str | None = None,
        split: Split = "test",
    ) -> None:
        self._samples = samples
        self._on_device = samples.to(workers.device)
        self._goal = goal
        self._place = f"attack {attack}, trigger of the {split} set"
        self._triggered = None
        if goal is not None and goal.trigger is not None:
            with code_errors(self._place):
                self._triggered = goal.trigger(samples).to(workers.device)
        self._workers = workers

    def __call__(
        self, weights: Tensor, learned: Sequence[Tensor] = (), *, buffers: Buffers | None = None
    ) -> Evaluation:
        """Evaluate the model with these weights.

        Args:
            weights: Global weights, (d,).
            buffers: Buffers of the model. Default: the model has none.
            learned: Triggers that the malicious clients have learned so far, if the attack learns triggers.
        """
        confusion, loss = evaluate(weights, self._on_device, self._workers, buffers)
        samples, goal = self._triggered, self._goal
        if goal is not None and goal.learned is not None and learned:
            with code_errors(self._place):
                samples = goal.learned(self._samples, learned).to(self._workers.device)
        triggered = (
            evaluate(weights, samples, self._workers, buffers)[0]
            if samples is not None and len(samples)
            else None
        )
        return Evaluation(confusion=confusion, loss=loss, triggered=triggered)


class RoundEvaluator:
    """Evaluates global weights on the test set of a federation, and on its validation set if it has one.

    Args:
        federation: Federation with the samples.
        goal: Measure of the attack's success. None: no success is measured.
        workers: Trainers for the evaluation.
    """

    def __init__(self, federation: Federation, goal: AttackGoal | None, workers: Workers) -> None:
        self._goal = goal
        attack, reserved = federation.goal_attack, federation.validation
        self._test = Evaluator(federation.test, goal, workers, attack=attack)
        self._validation = None
        if reserved is not None:
            self._validation = Evaluator(reserved, goal, workers, attack=attack, split="validation")

    def __call__(
        self,
        number: int,
        training: Training,
        weights: Tensor,
        learned: Sequence[Tensor] = (),
        *,
        buffers: Buffers | None = None,
    ) -> Round:
        """Return the record of a round. Other arguments as for `Evaluator`."""
        test = self._test(weights, learned, buffers=buffers)
        reserved = self._validation
        validation = None if reserved is None else reserved(weights, learned, buffers=buffers)
        return Round.from_evaluation(number, test, self._goal, training, validation)


def evaluate(
    weights: Tensor, samples: Samples, workers: Workers, buffers: Buffers | None = None
) -> tuple[Counts, float]:
    """Return the confusion matrix (k, k) and the mean loss of the model with these weights (d,)."""
    classes = samples.classes
    samples = samples.to(workers.device)

    def evaluate_batches(trainer: Trainer, starts: Sequence[int]) -> list[tuple[Counts, float]]:
        trainer.load(weights, buffers)
        return [evaluate_batch(trainer, start) for start in starts]

    def evaluate_batch(trainer: Trainer, start: int) -> tuple[Counts, float]:
        labels = samples.labels[start : start + BATCH]
        logits = trainer.predict(samples.images[start : start + BATCH])
        cells = torch.bincount(labels * classes + logits.argmax(dim=1), minlength=classes**2)
        summed = cross_entropy(logits, labels, reduction="sum")
        return cells.view(classes, classes).cpu().numpy(), float(summed)

    confusion, loss = np.zeros((classes, classes), dtype=np.int64), 0.0
    starts = range(0, len(samples), BATCH)
    # Two calls per worker: each call loads the weights once, and slow workers get less work.
    size = max(1, -(-len(starts) // (2 * workers.count)))
    groups = [starts[first : first + size] for first in range(0, len(starts), size)]
    for counted, summed in itertools.chain.from_iterable(workers.map(evaluate_batches, groups)):
        confusion += counted
        loss += summed
    return confusion, loss / len(samples)
