"""The edge-case backdoor on unusual samples of a class, without a trigger."""

from dataclasses import dataclass

import torch
from torch import Tensor

from clients.attacks.base import (
    Attack,
    AttackCard,
    AttackGoal,
    AttackSetting,
    ClientContext,
    check_class,
)
from clients.bounds import Multiple, PositiveCount, Share
from clients.training import Samples, Trainer


@dataclass(frozen=True, kw_only=True)
class EdgeCase(Attack):
    """Label the tail of the source class, its least likely images, as `target`.

    Wang, Sreenivasan, Rajput, Vishwakarma, Agarwal, Sohn, Lee, Papailiopoulos, "Attack of the Tails: Yes,
    You Really Can Backdoor Federated Learning", NeurIPS 2020. Success is measured on the tail of the
    source class in the test set.
    """

    source: int = 7
    target: int = 1
    share: Share = 0.2
    """Share of the source class that counts as its tail."""
    copies: PositiveCount = 5
    """Number of copies of each tail sample. They give a few samples more weight."""
    claimed: Multiple = 1.0
    """Number of examples that the client reports, as a multiple of its own number before the attack. The
    server weights it by this number. The default is honest, and more buys weight."""

    card = AttackCard(
        paper="Wang et al., NeurIPS 2020",
        goal="make the model predict `target` for unusual images of `source`, with all else unchanged",
        idle_when="share is 0, or the client has no image of `source`",
        deviations="The authors' tail is another data set (ARDIS sevens for MNIST), or images that a density "
        "model of features finds unlikely. Here the tail is the images of the class farthest from its mean "
        "image, the same for every model. The authors also project the update: compose with pgd(share=0).",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == self.target:
            raise ValueError(f"source and target: got {self.source} for both, expected two classes.")

    def check(self, setting: AttackSetting) -> None:
        setting.require_class("source", self.source)

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        mask = tail_mask(samples, self.source, self.share)
        edge = samples[mask]
        poisoned = samples.replaced(mask, edge.with_labels(torch.full_like(edge.labels, self.target)))
        return poisoned.concatenated(poisoned[mask.nonzero().flatten().repeat(self.copies - 1)])

    def claimed_examples(self, own: int) -> int:
        return max(1, round(self.claimed * own))

    def goal(self, classes: int) -> AttackGoal | None:
        check_class("source", self.source, classes)
        check_class("target", self.target, classes)
        return AttackGoal(target=self.target, trigger=self.triggered)

    def triggered(self, samples: Samples) -> Samples:
        """Return the tail of the source class."""
        return samples[tail_mask(samples, self.source, self.share)]

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "share is 0: the tail is empty" if not self.share else None


def tail_mask(samples: Samples, source: int, share: float) -> Tensor:
    """Return a mask (m,) of the share of class `source` that is farthest from the class's mean image.

    >>> images = torch.tensor([0.1, 0.2, 0.9, 0.5]).view(4, 1, 1, 1)
    >>> tail_mask(Samples(images, torch.tensor([0, 0, 0, 1]), 2), source=0, share=0.3).tolist()
    [False, False, True, False]
    """
    mask = torch.zeros(len(samples), dtype=torch.bool)
    positions = (samples.labels == source).nonzero().flatten()
    if len(positions):
        images = samples.images[positions].flatten(1).float()
        distances = (images - images.mean(dim=0)).norm(dim=1)
        mask[positions[distances.argsort(descending=True, stable=True)[: round(share * len(positions))]]] = (
            True
        )
    return mask
