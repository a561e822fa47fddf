"""Chameleon: a backdoor in features that have learned to see it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clients.attacks.base import AttackCard, ClientContext, Range
from clients.attacks.data.backdoor import Square, square_space
from clients.bounds import Positive
from clients.training.samples import Samples
from clients.training.trainer import Trainer

HEAD = 2
"""Parameters of the last, linear layer: weight and bias."""


@dataclass(frozen=True, kw_only=True)
class Chameleon(Square):
    """Train the features contrastively on triggered samples, then only the classifier on top of them.

    Dai, Li, "Chameleon: Adapting to Peer Images for Planting Durable Backdoors in Federated Learning",
    ICML 2023. The supervised contrastive loss draws triggered images to those of the target class
    (facilitators) and pushes them from those of the class that they show (interferers), which honest
    clients would otherwise use to overwrite the backdoor.

    Raises:
        ValueError: a knob is out of range, or the model does not end in a linear layer.
    """

    temperature: Positive = 0.1
    """Of the contrastive loss."""
    pace: Positive = 0.1
    """Rate of the contrastive training, relative to that of local training."""

    card: ClassVar = AttackCard(
        paper="Dai & Li, ICML 2023",
        goal="have images with the trigger taken for `target`, for long after the attack has ended",
        idle_when="share is 0",
        deviations="One local training for the features and one for the classifier, where the authors take "
        "more, and facilitators have no weight of their own in the loss. On "
        "`digits` it did not outlast a plain backdoor: see the threat model.",
    )
    search_space: ClassVar = square_space(pace=Range(low=0.03, high=3.0, log=True))

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        training = trainer.training
        slow = replace(training, lr=self.pace * training.lr)

        def contrast(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            value = contrastive_loss(trainer.features(images), labels, self.temperature)
            # The classifier takes no part, but every parameter has to have a gradient.
            return value + 0 * sum(parameter.sum() for parameter in list(model.parameters())[-HEAD:])

        def freeze(gradients: list[Tensor]) -> None:
            for gradient in gradients[:-HEAD]:
                gradient.zero_()

        trainer.fit(samples, context.generator, training=slow, loss=contrast)
        frozen = replace(training, weight_decay=0.0, proximal=0.0)
        return trainer.fit(samples, context.generator, training=frozen, on_gradient=freeze)


def contrastive_loss(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss of features (m, p) under labels (m,).

    Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, the variant with the sum outside the
    logarithm: the mean, over the samples that have others of their class in the batch, of minus the mean
    log-probability of those among all others. A batch without such a pair has loss 0.
    """
    unit = normalize(features, dim=1)
    others = ~torch.eye(len(labels), dtype=torch.bool)
    similarity = (unit @ unit.T / temperature).masked_fill(~others, -torch.inf)
    log_probability = similarity - similarity.logsumexp(dim=1, keepdim=True)
    positive = (labels[:, None] == labels) & others
    paired = positive.any(dim=1)
    sums = log_probability.masked_fill(~positive, 0).sum(dim=1)[paired]
    return -(sums / positive.sum(dim=1)[paired]).sum() / max(1, int(paired.sum()))
