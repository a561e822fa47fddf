"""Injection: add mislabelled samples to the honest ones."""

from dataclasses import dataclass
from typing import Annotated

import torch

from clients.attacks.base import (
    Attack,
    AttackCard,
    AttackSetting,
    ClientContext,
    Range,
    SearchSpace,
    check_class,
)
from clients.attacks.data.label_flip import wrong_labels
from clients.bounds import Bounds, Multiple, NonNegative
from clients.training import Samples, Trainer

MOST = 1000
"""Largest number of added samples per local one. They have to fit into memory."""


@dataclass(frozen=True, kw_only=True)
class Inject(Attack):
    """Add noisy copies of local images with wrong labels, next to the unchanged local images.

    Poisoning by insertion, as surveyed by Biggio, Nelson, Laskov, "Poisoning Attacks against Support
    Vector Machines", ICML 2012, and Tolpegin et al., ESORICS 2020.
    """

    share: Annotated[float, Bounds(at_least=0, at_most=MOST)] = 1.0
    """Number of added samples, as a share of the local ones. It may exceed 1."""
    std: NonNegative = 0.1
    """Standard deviation of the noise on the added images, in pixel values from 0 to 1."""
    target: Annotated[int, Bounds(at_least=-1)] = -1
    """Label of all added samples. -1 samples a wrong class for each."""
    claimed: Multiple = 1.0
    """Number of examples that the client reports, as a multiple of its own number before the attack. The
    server weights it by this number. The default is honest, and 1 + `share` counts the added samples."""

    card = AttackCard(paper="Biggio et al., ICML 2012", idle_when="share is 0 and claimed is 1")
    search_space = SearchSpace(parameters={"share": Range(low=0.1, high=5.0, log=True)})

    def check(self, setting: AttackSetting) -> None:
        setting.require_images()

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        generator = context.poison_generator
        added = samples[torch.randint(len(samples), (round(self.share * len(samples)),), generator=generator)]
        noise = torch.randn(added.images.shape, generator=generator)
        if self.target >= 0:
            labels = torch.full_like(added.labels, self.target)
        else:
            labels = wrong_labels(added.labels, samples.classes, generator)
        poisoned = added.with_pixels(added.pixels() + self.std * noise).with_labels(labels)
        return samples.concatenated(added.replaced(torch.ones(len(added), dtype=torch.bool), poisoned))

    def claimed_examples(self, own: int) -> int:
        return max(1, round(self.claimed * own))

    def goal(self, classes: int) -> None:
        if self.target >= 0:
            check_class("target", self.target, classes)

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "share is 0: no sample is added" if not self.share and self.claimed == 1 else None
