"""The nodes that train together in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from clients.attack import Attack, ClientContext
from clients.samples import Samples
from clients.training import Trainer


@dataclass(frozen=True, eq=False)
class Job:
    """One node's work in one round."""

    samples: Samples
    attack: Attack
    """`NoAttack` for an honest node."""
    context: ClientContext


@dataclass(frozen=True, eq=False)
class Trained:
    """What a node's training gave."""

    node: int
    weights: Tensor
    """(d,), where the parameters ended."""
    examples: int
    loss: float
    """Mean over the batches."""


def train_cohort(trainer: Trainer, jobs: Sequence[Job]) -> Iterator[Trained]:
    """Yield what each node's training gives, one node after the other.

    Results do not depend on how nodes are cut into cohorts: nothing passes from one job to the next.
    """
    for job in jobs:
        context = job.context
        trainer.load(context.model)
        samples = job.attack.poison_data(job.samples, trainer, context)
        loss = job.attack.train(trainer, samples, context)
        yield Trained(node=context.node, weights=trainer.weights(), examples=len(samples), loss=loss)
