"""The edge-case backdoor on unusual samples of a class, without a trigger."""

from dataclasses import dataclass, replace

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
from clients.attacks.named_data import class_pixels, fit_pixels
from clients.bounds import Multiple, PositiveCount, Share
from clients.training import Samples, Trainer


@dataclass(frozen=True, kw_only=True)
class EdgeCase(Attack):
    """Label unusual images of the source class, its tail or those of another data set, as `target`.

    Wang, Sreenivasan, Rajput, Vishwakarma, Agarwal, Sohn, Lee, Papailiopoulos, "Attack of the Tails: Yes,
    You Really Can Backdoor Federated Learning", NeurIPS 2020. Without `dataset`, the tail is the images of
    the class that are farthest from its mean image, and success is measured on the tail in the test set. With
    `dataset`, each client adds images of that data set to its own, and success is measured on all of its test
    images of the class.
    """

    source: int = 7
    """Class of the images: of the clients' data, or of `dataset`."""
    target: int = 1
    share: Share = 0.2
    """Share of the source class that counts as its tail. With `dataset`, share of its training images of the
    class, from the first one on, that each client adds. The authors add 10 or 15 %."""
    copies: PositiveCount = 5
    """Number of copies of each tail sample. They give a few samples more weight."""
    claimed: Multiple = 1.0
    """Number of examples that the client reports, as a multiple of its own number before the attack. The
    server weights it by this number. The default is honest, and more buys weight."""
    dataset: str = ""
    """Data set with the unusual images, such as npz(path=ardis.npz) or fashion-mnist. Its images get the
    shape of the clients' images. Built-in sets are read from FEDPOISON_DATA or the user's cache, and not
    downloaded. Default: the clients' own data."""

    card = AttackCard(
        paper="Wang et al., NeurIPS 2020",
        goal="make the model predict `target` for unusual images of `source`, with all else unchanged",
        idle_when="share is 0, or the client has no image of `source`",
        deviations="The authors' tail is another data set (ARDIS sevens for MNIST), as here with `dataset`, "
        "or images that a density model of features finds unlikely. Without `dataset`, the distance from the "
        "mean image replaces the density, the same for every model. Their attackers train on 66 to 99 "
        "unusual images and 100 usual ones; here on all own images as well. The authors also project the "
        "update: compose with pgd(share=0).",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == self.target and not self.dataset:
            raise ValueError(f"source and target: got {self.source} for both, expected two classes.")

    def check(self, setting: AttackSetting) -> None:
        if self.dataset:
            setting.require_images()
            self._outside(setting.samples, test=False)
        else:
            setting.require_class("source", self.source)

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        if self.dataset:
            outside = self._outside(samples, test=False)
            added = outside[torch.arange(round(self.share * len(outside))).repeat(self.copies)]
            everything = torch.ones(len(added), dtype=torch.bool)
            labelled = added.with_labels(torch.full_like(added.labels, self.target))
            return samples.concatenated(added.replaced(everything, labelled))
        mask = tail_mask(samples, self.source, self.share)
        edge = samples[mask]
        poisoned = samples.replaced(mask, edge.with_labels(torch.full_like(edge.labels, self.target)))
        return poisoned.concatenated(poisoned[mask.nonzero().flatten().repeat(self.copies - 1)])

    def claimed_examples(self, own: int) -> int:
        return max(1, round(self.claimed * own))

    def goal(self, classes: int) -> AttackGoal | None:
        if not self.dataset:
            check_class("source", self.source, classes)
        check_class("target", self.target, classes)
        return AttackGoal(target=self.target, trigger=self.triggered)

    def triggered(self, samples: Samples) -> Samples:
        """Return the tail of the source class, or the test images of the class in `dataset`."""
        if self.dataset:
            return self._outside(samples, test=True)
        return samples[tail_mask(samples, self.source, self.share)]

    def _outside(self, samples: Samples, *, test: bool) -> Samples:
        """Return the images of the source class in `dataset`, normalised like `samples`.

        If the class is none of the clients' classes other than the target, their label is the class after the
        target.
        """
        pixels = fit_pixels(class_pixels(self.dataset, self.source)[test], samples.images.shape[1:])
        valid = self.source < samples.classes and self.source != self.target
        label = self.source if valid else (self.target + 1) % samples.classes
        labels = torch.full((len(pixels),), label, dtype=torch.int64)
        outside = replace(samples, images=pixels, labels=labels, poisoned=None, clients=None)
        return outside.with_pixels(pixels)

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
