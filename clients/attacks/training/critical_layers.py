"""The layer-wise poisoning (LP) attack: backdoor only the layers that the backdoor needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from clients.attacks.base import AttackCard, ClientContext, Range
from clients.attacks.data.backdoor import Square, square_space
from clients.bounds import Positive, PositiveCount, Share
from clients.training.parameters import Layout
from clients.training.samples import Samples
from clients.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class CriticalLayers(Square):
    """Find the layers without which the backdoor fails, and send an honest model with only those poisoned.

    Zhuang, Yu, Wang, Hua, Li, Yuan, "Backdoor Federated Learning by Poisoning Backdoor-Critical Layers",
    ICLR 2024. A benign model is trained on the clean samples, a malicious one from it on all. Layers are
    ranked by how much the backdoor loses when the malicious model gets the benign layer, and put into the
    benign model in that order until the backdoor works nearly as well as in the malicious one.
    """

    tau: Share = 0.95
    """Share of the malicious model's success that the critical layers have to reach."""
    strength: Positive = 1.0
    """lambda: how far the critical layers go from the benign to the malicious ones; above 1 overshoots."""
    probes: PositiveCount = 100
    """Triggered samples on which the success is measured."""

    card: ClassVar = AttackCard(
        paper="Zhuang et al., ICLR 2024",
        goal="have images with the trigger taken for `target`, and leave the rest alone",
        idle_when="share is 0, or all samples are poisoned; then it is a plain backdoor",
        deviations="The paper's attackers share their benign updates, and lower lambda until a model of the "
        "defence lets them pass; here each has its own alone, lambda is fixed, and success is measured on "
        "training samples.",
    )
    search_space: ClassVar = square_space(strength=Range(low=0.5, high=5.0, log=True))

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        clean, poisoned = samples.split_poisoned()
        if not len(clean) or not len(poisoned):
            return super().train(trainer, samples, context)
        trainer.fit(clean, context.generator, memory=context.memory)
        benign = trainer.weights()
        loss = trainer.fit(samples, context.generator)
        malicious = trainer.weights()
        probes = poisoned[torch.arange(min(self.probes, len(poisoned)))]

        def success(weights: Tensor) -> float:
            trainer.load(weights)
            return float((trainer.predict(probes.images).argmax(dim=1) == probes.labels).double().mean())

        mask = critical(benign, malicious, layers(context.layout), success, self.tau)
        trainer.load(torch.where(mask, benign + self.strength * (malicious - benign), benign))
        return loss


def layers(layout: Layout) -> list[Tensor]:
    """Return for each layer, weight and bias together, the mask (d,) of its coordinates.

    >>> one, two = torch.Size([1]), torch.Size([2])
    >>> [mask.tolist() for mask in layers((("0.weight", two), ("0.bias", one), ("2.weight", one)))]
    [[True, True, True, False], [False, False, False, True]]
    """
    names = [name.rpartition(".")[0] for name, _ in layout]
    sizes = torch.tensor([shape.numel() for _, shape in layout])
    order = list(dict.fromkeys(names))
    owner = torch.tensor([order.index(name) for name in names]).repeat_interleave(sizes)
    return [owner == layer for layer in range(len(order))]


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
    wanted = tau * success(malicious)
    chosen = torch.zeros_like(masks[0])
    for layer in sorted(range(len(masks)), key=left.__getitem__):
        if chosen.any() and success(torch.where(chosen, malicious, benign)) >= wanted:
            break
        chosen = chosen | masks[layer]
    return chosen
