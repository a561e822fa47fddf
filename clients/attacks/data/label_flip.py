"""Label flipping: honest training on wrong labels."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clients.attacks.base import (
    SHARES,
    Attack,
    AttackCard,
    AttackGoal,
    AttackSetting,
    ClientContext,
    SearchSpace,
    check_class,
)
from clients.bounds import Share
from clients.training import Samples, Trainer
from clients.training.samples import random_mask


@dataclass(frozen=True, kw_only=True)
class LabelFlip(Attack):
    """Give wrong labels to a share of the local samples, and train like an honest client.

    Tolpegin, Truex, Gursoy, Liu, "Data Poisoning Attacks Against Federated Learning Systems",
    ESORICS 2020. The mirror y -> C - 1 - y is from Fang, Cao, Jia, Gong, USENIX Security 2020.
    """

    mode: Literal["mirror", "targeted", "random", "all-to-one", "cyclic"] = "mirror"
    """`mirror`: y -> C - 1 - y. `targeted`: `source` -> `target`. `random`: any other class.
    `all-to-one`: all classes -> `target`. `cyclic`: y -> y + 1 modulo C."""
    share: Share = 1.0
    """Share of flipped samples, among all or, with `targeted`, among those of `source`."""
    source: int = 1
    target: int = 7

    card = AttackCard(
        paper="Tolpegin et al., ESORICS 2020",
        goal="lower the accuracy; with `targeted` and `all-to-one`, make the model predict `target`",
        idle_when="share is 0",
        deviations="ByzFL averages honest clients' gradients on flipped labels instead of training on them.",
    )
    search_space = SearchSpace(parameters={"mode": ("mirror", "random"), "share": SHARES})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode == "targeted" and self.source == self.target:
            raise ValueError(f"source and target: got {self.source} for both, expected two classes.")

    def check(self, setting: AttackSetting) -> None:
        if self.mode == "targeted":
            setting.require_class("source", self.source)

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        positions = torch.arange(len(samples))
        if self.mode == "targeted":
            positions = (samples.labels == self.source).nonzero().flatten()
        flipped = torch.zeros(len(samples), dtype=torch.bool)
        flipped[positions[random_mask(len(positions), self.share, context.poison_generator)]] = True
        part = samples[flipped]
        labels = self._wrong(part.labels, samples.classes, context.poison_generator)
        return samples.replaced(flipped, part.with_labels(labels))

    def goal(self, classes: int) -> AttackGoal | None:
        if self.mode not in ("targeted", "all-to-one"):
            return None
        check_class("target", self.target, classes)
        if self.mode == "all-to-one":
            return AttackGoal(target=self.target, trigger=lambda samples: samples)
        check_class("source", self.source, classes)
        return AttackGoal(target=self.target, source=self.source)

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "share is 0: no label is flipped" if not self.share else None

    def _wrong(self, labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
        if self.mode == "mirror":
            return classes - 1 - labels
        if self.mode == "cyclic":
            return (labels + 1) % classes
        if self.mode in ("targeted", "all-to-one"):
            return torch.full_like(labels, self.target)
        return wrong_labels(labels, classes, generator)


def wrong_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Sample another class for each label, uniformly.

    >>> labels = torch.zeros(100, dtype=torch.int64)
    >>> bool((wrong_labels(labels, 3, torch.Generator().manual_seed(0)) != labels).all())
    True
    """
    shift = torch.randint(1, classes, labels.shape, generator=generator)
    return (labels + shift) % classes
