"""A little is enough with a backdoor: a backdoored update within the spread of the others."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from clients.attacks.base import AttackCard, ClientContext, CraftContext, Knowledge, Range
from clients.attacks.data.backdoor import BACKDOOR_GOAL, Square, square_space
from clients.bounds import NonNegative
from clients.kernels import column_mean, column_std
from clients.training import Samples, Trainer, split, trainable


@dataclass(frozen=True, kw_only=True)
class AlieBackdoor(Square):
    """Train a backdoor near the global model, and clip the update to z standard deviations around the mean.

    Baruch, Baruch, Goldberg, "A Little Is Enough: Circumventing Defenses For Distributed Learning",
    NeurIPS 2019. The loss is the cross-entropy plus alpha times the squared distance from the global model,
    averaged per tensor. Every coordinate of the update then stays in mean +- z std of the visible updates.
    """

    z: NonNegative = 1.5
    """Largest distance from the mean, in standard deviations."""
    alpha: NonNegative = 0.2
    """Weight of the squared distance from the global model in the loss."""

    card = AttackCard(
        paper="Baruch et al., NeurIPS 2019",
        knowledge=Knowledge.OMNISCIENT,
        goal=BACKDOOR_GOAL,
        idle_when="share is 0, or z is 0: then all send the mean",
        deviations="The authors estimate mean and deviation from the attackers' honest updates, and train "
        "from that mean. Here the visible updates give them, and training starts from the global model. "
        "The paper divides the distance by z std; the authors' code does not.",
    )
    search_space = square_space(z=Range(low=0.1, high=5.0), alpha=Range(low=0.0, high=1.0))

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        start = split(context.model.to(trainer.device), context.layout)

        def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            task = cross_entropy(model(images), labels)
            pairs = zip(trainable(model).values(), start, strict=True)
            return task + self.alpha * sum(mse_loss(weights, before) for weights, before in pairs)

        return trainer.fit(samples, context.generator, memory=context.memory, loss=loss)

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        mean = column_mean(visible)
        spread = self.z * column_std(visible, mean)
        return own.clamp(mean - spread, mean + spread)

    def no_effect(self, clients: int, malicious: int) -> str | None:
        if not self.z:
            return "z is 0: the mean of the visible updates is sent"
        return super().no_effect(clients, malicious)
