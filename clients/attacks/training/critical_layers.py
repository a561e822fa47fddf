"""The layer-wise poisoning (LP) attack, which poisons only the layers that the backdoor needs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from clients.attacks.base import AttackCard, ClientContext, Range
from clients.attacks.data.backdoor import BACKDOOR_GOAL, Square, square_space
from clients.bounds import Positive, PositiveCount, Share
from clients.training import Layout, Samples, Trainer


@dataclass(frozen=True, kw_only=True)
class CriticalLayers(Square):
    """Find the layers that carry the backdoor, and send a benign model with only these layers poisoned.

    Zhuang, Yu, Wang, Hua, Li, Yuan, "Backdoor Federated Learning by Poisoning Backdoor-Critical Layers",
    ICLR 2024. The client trains a benign model on clean samples, then a malicious one on all samples. Layers
    rank by the loss of success when the benign layer replaces the malicious one. In that order, malicious
    layers enter the benign model until the backdoor works nearly as well as in the malicious model. As in the
    authors' code, a layer is one tensor of the model: weight and bias rank apart.
    """

    tau: Share = 0.95
    """Minimum success of the critical layers, as a share of the malicious model's success."""
    strength: Positive = 1.0
    """lambda. The critical layers are global + lambda (malicious - global) + max(0, 1 - lambda) (benign -
    global): from benign (0) to malicious (1), and beyond 1 a multiple of the malicious update."""
    probes: PositiveCount = 100
    """Number of triggered samples for the measurement of success."""

    card = AttackCard(
        paper="Zhuang et al., ICLR 2024",
        goal=BACKDOOR_GOAL,
        idle_when="share is 0, or all samples are poisoned (then a plain backdoor)",
        deviations="The paper's attackers share their benign updates, and lower lambda until a model of the "
        "defence accepts them; here each uses only its own update, lambda is fixed, and success is "
        "measured on training samples.",
    )
    search_space = square_space(strength=Range(low=0.5, high=5.0, log=True))

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        clean, poisoned = samples.split_poisoned()
        if not len(clean) or not len(poisoned):
            return super().train(trainer, samples, context)
        trainer.fit(clean, context.generator, memory=context.memory)
        benign = trainer.weights()
        loss = trainer.fit(samples, context.generator)
        malicious, buffers = trainer.weights(), trainer.buffers()
        probes = poisoned[torch.arange(min(self.probes, len(poisoned)))]

        def success(weights: Tensor) -> float:
            trainer.load(weights, buffers)
            return float((trainer.predict(probes.images).argmax(dim=1) == probes.labels).double().mean())

        mask = critical(benign, malicious, layers(context.layout), success, self.tau)
        strong = strengthened(context.model.to(benign), benign, malicious, self.strength)
        trainer.load(torch.where(mask, strong, benign), buffers)
        return loss


def strengthened(model: Tensor, benign: Tensor, malicious: Tensor, strength: float) -> Tensor:
    """Return model + strength (malicious - model) + max(0, 1 - strength) (benign - model), (d,).

    >>> strengthened(torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([3.0]), 1.5)
    tensor([4.5000])
    """
    start = benign if strength <= 1 else model  # up to 1, the model cancels
    return start + strength * (malicious - start)


def layers(layout: Layout) -> list[Tensor]:
    """Return the mask (d,) of the coordinates of each tensor of the model.

    >>> one, two = torch.Size([1]), torch.Size([2])
    >>> [mask.tolist() for mask in layers((("0.weight", two), ("0.bias", one)))]
    [[True, True, False], [False, False, True]]
    """
    sizes = torch.tensor([shape.numel() for _, shape in layout])
    owner = torch.arange(len(layout)).repeat_interleave(sizes)
    return [owner == layer for layer in range(len(layout))]


def critical(
    benign: Tensor,
    malicious: Tensor,
    masks: list[Tensor],
    success: Callable[[Tensor], float],
    tau: float,
) -> Tensor:
    """Return the mask (d,) of the layers that carry the backdoor.

    Args:
        benign: weights without the backdoor, (d,).
        malicious: weights with it, (d,).
        masks: the coordinates of each layer, (d,) each.
        success: the success rate of the backdoor under given weights.
        tau: share of the malicious model's success that has to be reached.
    """
    left = [success(torch.where(mask, benign, malicious)) for mask in masks]
    required = tau * success(malicious)
    chosen = torch.zeros_like(masks[0])
    for layer in sorted(range(len(masks)), key=left.__getitem__):
        if chosen.any() and success(torch.where(chosen, malicious, benign)) >= required:
            break
        chosen = chosen | masks[layer]
    return chosen
