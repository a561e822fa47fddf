"""The clients that train together in one call, the client batch."""

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
    """Training of one client in one round."""

    samples: Samples
    attack: Attack
    """`NoAttack` for an honest client."""
    context: ClientContext
    part: Tensor | None = None
    """Positions of the client's samples. Default: all. Honest clients do not copy their samples."""

    @property
    def examples(self) -> int:
        """Return the number of the client's samples before any attack."""
        return len(self.samples) if self.part is None else len(self.part)

    def own(self) -> Samples:
        """Return only the client's samples."""
        return self.samples if self.part is None else self.samples[self.part]


@dataclass(frozen=True, eq=False)
class Trained:
    """Result of one client's training."""

    client_id: int
    weights: Tensor
    """Final parameters, (d,)."""
    examples: int
    loss: float
    """Mean over the batches."""


def train_clients(trainer: Trainer, jobs: Sequence[Job]) -> Iterator[Trained]:
    """Train the clients one after the other and yield their results.

    The results do not depend on the client batches: no state passes from one job to the next.
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
