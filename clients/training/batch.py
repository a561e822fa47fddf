"""The nodes that train together in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from clients.attacks.base import Attack, ClientContext
from clients.attacks.composite import poisons_data, replaces_training
from clients.training.samples import Samples
from clients.training.trainer import Trainer


@dataclass(frozen=True, eq=False)
class Job:
    """One node's work in one round."""

    samples: Samples
    attack: Attack
    """`NoAttack` for an honest node."""
    context: ClientContext
    part: Tensor | None = None
    """Which of the samples are the node's, as positions; None is all. An honest node never copies them."""

    @property
    def examples(self) -> int:
        """How many samples the node has, before any attack."""
        return len(self.samples) if self.part is None else len(self.part)

    def own(self) -> Samples:
        """Return the node's samples by themselves."""
        return self.samples if self.part is None else self.samples[self.part]


@dataclass(frozen=True, eq=False)
class Trained:
    """What a node's training gave."""

    client_id: int
    weights: Tensor
    """(d,), where the parameters ended."""
    examples: int
    loss: float
    """Mean over the batches."""


def train_clients(trainer: Trainer, jobs: Sequence[Job]) -> Iterator[Trained]:
    """Yield what each node's training gives, one node after the other.

    Results do not depend on how nodes are cut into cohorts: nothing passes from one job to the next.
    """
    for job in jobs:
        context = job.context
        trainer.load(context.model)
        if poisons_data(job.attack) or replaces_training(job.attack):
            samples = job.attack.poison_data(job.own(), trainer, context)
            examples, loss = len(samples), job.attack.train(trainer, samples, context)
        else:
            examples = job.examples
            loss = trainer.fit(job.samples, context.generator, memory=context.memory, part=job.part)
        yield Trained(client_id=context.client_id, weights=trainer.weights(), examples=examples, loss=loss)
