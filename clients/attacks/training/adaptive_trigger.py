"""A3FL: a trigger optimised against a model trained to resist the trigger."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from clients.attacks.base import SHARES, TRIGGER, AttackCard, AttackGoal, ClientContext, SearchSpace
from clients.attacks.data.backdoor import Trigger
from clients.bounds import Count, NonNegative, Positive, PositiveCount
from clients.training import Samples, Trainer, split
from clients.training.local_training import batches


@dataclass(frozen=True, kw_only=True)
class AdaptiveTrigger(Trigger):
    """Optimise a square trigger on the global model and on a hardened one, then train on it.

    Zhang, Jia, Chen, Lin, Wu, "A3FL: Adversarially Adaptive Backdoor Attacks to Federated Learning", NeurIPS
    2023. The hardened model is the global model after training on triggered images with true labels. Signed
    steps of the trigger lower the loss of `target` under both models. The hardened model has the weight
    lambda = balance * cos(hardened, global). Each attacker's trigger is measured on its part of the test set.
    """

    size: PositiveCount = 5
    """Side of the square in pixels, at the bottom right."""
    steps: Count = 8
    """Optimisation steps of the trigger per round. The next round continues from the result."""
    step: Positive = 0.1
    """Change of a pixel per step, in pixel values from 0 to 1."""
    hardening: Count = 5
    """Mini-batches per round on which the hardened model is trained."""
    balance: NonNegative = 1.0
    """lambda_0, the weight of the hardened model. 0 disables it."""

    card = AttackCard(
        paper="Zhang et al., NeurIPS 2023",
        goal="make the model predict `target` for images with the trigger, whatever honest clients learn",
        idle_when="share is 0",
        deviations="The authors take 200 steps of 0.01 in a round, with a fresh hardened model every 10, and "
        "share one trigger among the attackers; here each attacker takes 8 larger steps per round with one "
        "hardened model, on its own trigger. The authors' code takes the cosine of the gradients of both "
        "models, here it is that of their weights.",
    )
    search_space = SearchSpace(objective="backdoor", parameters={"share": SHARES, "size": (3, 5, 7)})

    def stamp(self, pixels: Tensor) -> Tensor:
        return self.stamped(pixels, self.initial(pixels))

    def stamp_locally(self, pixels: Tensor, context: ClientContext) -> Tensor:
        return self.stamped(pixels, context.memory[TRIGGER])

    def stamped(self, pixels: Tensor, trigger: Tensor) -> Tensor:
        """Return a copy of `pixels` (m, c, h, w) with `trigger` (c, s, s)."""
        copy = pixels.clone()
        copy[..., -self.size :, -self.size :] = trigger
        return copy

    def initial(self, pixels: Tensor) -> Tensor:
        """Return the initial grey trigger (c, s, s) of the optimisation."""
        return torch.full_like(pixels[0, :, -self.size :, -self.size :], 0.5)

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        if self.share:
            trigger = context.memory.get(TRIGGER)
            start = self.initial(samples.images) if trigger is None else trigger
            context.memory[TRIGGER] = self.optimised(start, samples, trainer, context)
        return super().poison_data(samples, trainer, context)

    def goal(self, classes: int) -> AttackGoal | None:
        goal = super().goal(classes)
        return None if goal is None else replace(goal, learned=self.triggered_by)

    def triggered_by(self, samples: Samples, triggers: Sequence[Tensor]) -> Samples:
        """Stamp the learned triggers on all samples in turn."""
        pixels = samples.pixels()
        for first, trigger in enumerate(triggers):
            pixels[first :: len(triggers)] = self.stamped(pixels[first :: len(triggers)], trigger)
        return samples.with_pixels(pixels)

    def optimised(
        self, trigger: Tensor, samples: Samples, trainer: Trainer, context: ClientContext
    ) -> Tensor:
        """Optimise the trigger (c, s, s) for this round, and load the global model again."""
        if not self.steps:
            return trigger
        hardened = self._hardened(trigger, samples, trainer, context)
        weight = self.balance * float(cosine_similarity(hardened, context.model, dim=0))
        names = [name for name, _ in context.layout]
        state = dict(zip(names, split(hardened, context.layout), strict=True))
        for index in batches(len(samples), replace(trainer.training, steps=self.steps), context.generator):
            part = samples[index]
            loss = partial(self._loss, part, trainer, state, weight)
            downhill = trainer.image_gradient(trigger[None], loss)[0]
            trigger = (trigger - self.step * downhill.sign()).clamp(0, 1)
        return trigger

    def _hardened(
        self, trigger: Tensor, samples: Samples, trainer: Trainer, context: ClientContext
    ) -> Tensor:
        """Train the global weights (d,) on triggered images with their true labels."""
        if self.hardening and self.balance:
            resisting = samples.with_pixels(self.stamped(samples.pixels(), trigger))
            plan = replace(trainer.training, steps=self.hardening)
            trainer.fit(resisting, context.generator, training=plan)
        hardened = trainer.weights()
        trainer.load(context.model)
        return hardened

    def _loss(
        self,
        samples: Samples,
        trainer: Trainer,
        hardened: dict[str, Tensor],
        weight: float,
        trigger: Tensor,
    ) -> Tensor:
        """Compute the loss of `target` on stamped images under both models. `trigger` is (1, c, s, s)."""
        images = samples.with_pixels(self.stamped(samples.pixels(), trigger[0])).images
        targets = torch.full_like(samples.labels, self.target)
        value = trainer.loss(images, targets)
        if weight:
            value = value + weight * trainer.loss(images, targets, weights=hardened)
        return value
