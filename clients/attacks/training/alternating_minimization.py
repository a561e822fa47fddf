"""Alternating minimisation: a boosted targeted step, then stealth steps."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clients.attacks.base import AttackCard, ClientContext, Range
from clients.attacks.data.backdoor import BACKDOOR_GOAL, Square, square_space
from clients.bounds import Count, NonNegative, Positive
from clients.training import Samples, Trainer, trainable


@dataclass(frozen=True, kw_only=True)
class AlternatingMinimization(Square):
    """Minimise the boosted loss on the triggered samples and the stealth objective in turn.

    Bhagoji, Chakraborty, Mittal, Calo, "Analyzing Federated Learning through an Adversarial Lens", ICML
    2019. The stealth objective is the loss on the clean samples plus rho |delta - benign|^2, with the
    client's own update delta. The last global update, benign, is the attacker's estimate of an honest update.
    """

    boost: Positive = 10.0
    """Factor of the targeted step, divided by the number of attackers but at least 1. The paper uses the
    number of clients, 10, for a single attacker. If the accuracy decreases, as with high learning rates and
    early in training, lower the factor."""
    rho: NonNegative = 1e-4
    """Weight of the distance from the benign update."""
    stealth_steps: Count = 5
    """Steps on the stealth objective after each targeted one."""

    card = AttackCard(
        paper="Bhagoji et al., ICML 2019",
        goal=BACKDOOR_GOAL,
        idle_when="share is 0, or all samples are poisoned (then a plain backdoor)",
        deviations="The paper targets a few test images with wrong labels, here the target has a trigger. "
        "A targeted step is one mini-batch, boosted by a larger learning rate. The attacker takes as many "
        "steps as an honest client, rounded up. The authors' rho, 1e-4, weights half the squared distance, "
        "which is 5e-5 here; FLPoison takes 1e-4, others 1e-3.",
    )
    search_space = square_space(boost=Range(low=1.0, high=30.0, log=True))

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        clean, poisoned = samples.split_poisoned()
        if not len(clean) or not len(poisoned):
            return super().train(trainer, samples, context)
        training = trainer.training
        boost = max(1.0, self.boost / context.size)
        targeted = replace(training.with_lr_times(boost), steps=1, momentum=0.0)
        stealthy = replace(training, steps=self.stealth_steps)
        turns = -(-training.steps_for(len(samples)) // (1 + self.stealth_steps))
        # Estimate of an honest client's weights: the last global step once more.
        expected = context.model
        if context.previous_model is not None:
            expected = 2 * context.model - context.previous_model

        def stealth(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            weights = torch.cat([parameter.reshape(-1) for parameter in trainable(model).values()])
            distance = (weights - expected).square().sum()
            return cross_entropy(model(images), labels) + self.rho * distance

        total = 0.0
        for _ in range(turns):
            loss = trainer.fit(poisoned, context.generator, training=targeted)
            if self.stealth_steps:
                loss = trainer.fit(clean, context.generator, training=stealthy, loss=stealth)
            total += loss
        return total / turns
