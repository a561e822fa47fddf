"""Chameleon: a backdoor in features that are trained contrastively on the trigger."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clients.attacks.base import AttackCard, AttackSetting, ClientContext, Range
from clients.attacks.data.backdoor import DURABLE_GOAL, Square, square_space
from clients.bounds import Positive
from clients.training import Samples, Trainer


@dataclass(frozen=True, kw_only=True)
class Chameleon(Square):
    """Train the features contrastively on triggered samples, then only the classifier.

    Dai, Li, "Chameleon: Adapting to Peer Images for Planting Durable Backdoors in Federated Learning",
    ICML 2023. The supervised contrastive loss pulls triggered images towards the target class
    (facilitators) and pushes them away from their true class (interferers). Otherwise honest clients'
    samples of the true class would overwrite the backdoor.

    Raises:
        ValueError: A parameter is outside its bounds, or the model does not end in a linear layer.
    """

    temperature: Positive = 0.1
    """Temperature of the contrastive loss."""
    pace: Positive = 0.1
    """Learning rate of the contrastive training, relative to local training."""

    card = AttackCard(
        paper="Dai & Li, ICML 2023",
        goal=DURABLE_GOAL,
        idle_when="share is 0",
        deviations="The features and the classifier get one local training each, the authors take more. "
        "The authors' temperature is 0.07. Facilitators have no extra weight in the loss. On `digits` the "
        "attack did not outlast a plain backdoor: see the threat model.",
    )
    search_space = square_space(pace=Range(low=0.03, high=3.0, log=True))

    def check(self, setting: AttackSetting) -> None:
        super().check(setting)
        setting.require_classifier()

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        training = trainer.training
        slow = training.with_lr_times(self.pace)

        classifier = {id(parameter) for parameter in trainer.classifier(samples.images[:2]).parameters()}

        def contrast(_: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            return contrastive_loss(trainer.features(images), labels, self.temperature)

        def freeze(gradients: list[Tensor]) -> None:
            for gradient, parameter in zip(gradients, trainer.parameters, strict=True):
                if id(parameter) not in classifier:
                    gradient.zero_()

        if len(classifier) < len(trainer.parameters):  # a linear model has no features to train
            trainer.fit(samples, context.generator, training=slow, loss=contrast)
        frozen = replace(training, weight_decay=0.0, proximal=0.0)
        return trainer.fit(samples, context.generator, training=frozen, on_gradient=freeze)


def contrastive_loss(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Compute the supervised contrastive loss of features (m, p) with labels (m,).

    Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, with the sum outside the logarithm. The
    loss of a sample is minus the mean log-probability of the others of its class among all others. Samples
    without others of their class do not count. A batch without such pairs has loss 0.
    """
    unit = normalize(features, dim=1)
    others = ~torch.eye(len(labels), dtype=torch.bool)
    similarity = (unit @ unit.T / temperature).masked_fill(~others, -torch.inf)
    log_probability = similarity - similarity.logsumexp(dim=1, keepdim=True)
    positive = (labels[:, None] == labels) & others
    paired = positive.any(dim=1)
    sums = log_probability.masked_fill(~positive, 0).sum(dim=1)[paired]
    return -(sums / positive.sum(dim=1)[paired]).sum() / max(1, int(paired.sum()))
