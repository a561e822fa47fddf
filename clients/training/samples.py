"""Labelled samples in memory, normalised once."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Samples:
    """Normalised images with labels, and their conversion from and to pixel values.

    Attacks on the data use pixels in [0, 1]. Models train on normalised values. Samples that are no images
    have one row per sample: features (m, d) float32, normalised, or numbers of tokens (m, d) int64.
    """

    images: Tensor
    """(m, c, h, w) float32, normalised: (pixel - mean) / std. Other samples: (m, d)."""
    labels: Tensor
    """(m,) int64."""
    classes: int
    mean: tuple[float, ...] = (0.0,)
    """Mean of each channel or feature."""
    std: tuple[float, ...] = (1.0,)
    """Standard deviation of each channel or feature."""
    poisoned: Tensor | None = None
    """Mask of the samples that an attack changed, (m,) bool. None without an attack."""
    clients: Tensor | None = None
    """Number of the client that each sample comes from, (m,) int64. None: unknown."""
    class_names: tuple[str, ...] = ()
    """Name of each class. Empty: the classes have no names."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> Self:
        """Return the samples at `index`, integer positions or a mask (m,), as a copy."""
        poisoned = None if self.poisoned is None else self.poisoned[index]
        if index.dtype == torch.bool:
            index = index.nonzero().flatten()
        images, labels = self.batch(index)
        clients = None if self.clients is None else self.clients[index.to(self.clients.device)]
        return replace(self, images=images, labels=labels, poisoned=poisoned, clients=clients)

    @property
    def has_pixels(self) -> bool:
        """Whether the samples are images."""
        return self.images.ndim == 4

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return copies of the images and labels at the positions `index` (b,), on the samples' device."""
        index = index.to(self.images.device)
        return self.images.index_select(0, index), self.labels.index_select(0, index)  # quicker than [index]

    def with_labels(self, labels: Tensor) -> Self:
        """Return the same images with other labels (m,)."""
        return replace(self, labels=labels)

    def to(self, device: torch.device) -> Self:
        """Return these samples on `device`. The mask of poisoned samples is not moved."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def pixels(self) -> Tensor:
        """Return a copy of the images as pixel values in [0, 1], (m, c, h, w)."""
        mean, std = self._scale()
        return self.images * std + mean

    def with_pixels(self, pixels: Tensor) -> Self:
        """Return samples with `pixels` (m, c, h, w) in [0, 1] and the same labels."""
        mean, std = self._scale()
        return replace(self, images=(pixels.clamp(0, 1) - mean) / std)

    def with_tokens(self, tokens: Tensor) -> Self:
        """Return samples with `tokens` (m, t) and the same labels."""
        return replace(self, images=tokens)

    def concatenated(self, others: Self) -> Self:
        """Return these samples followed by `others`."""
        return replace(
            self,
            images=torch.cat([self.images, others.images]),
            labels=torch.cat([self.labels, others.labels]),
            poisoned=torch.cat([self.poison_mask(), others.poison_mask()]),
            clients=None,
        )

    def poison_mask(self) -> Tensor:
        """Return a copy of the mask of poisoned samples, (m,)."""
        none = torch.zeros(len(self), dtype=torch.bool)
        return none if self.poisoned is None else self.poisoned.clone()

    def replaced(self, mask: Tensor, others: Self) -> Self:
        """Replace the samples at `mask` (m,) by `others`, in a copy, and mark them as poisoned."""
        images, labels = self.images.clone(), self.labels.clone()
        images[mask], labels[mask] = others.images, others.labels
        return replace(self, images=images, labels=labels, poisoned=self.poison_mask() | mask)

    def same_as(self, others: Self) -> bool:
        """Return whether `others` has the same samples in the same order, up to rounding of the images."""
        if self is others:
            return True
        return (
            self.images.shape == others.images.shape
            and torch.equal(self.labels, others.labels)
            and torch.allclose(self.images, others.images, rtol=1e-5, atol=1e-5)
        )

    def split_poisoned(self) -> tuple[Self, Self]:
        """Return the clean samples and the poisoned ones."""
        poisoned = self.poison_mask()
        return self[~poisoned], self[poisoned]

    def _scale(self) -> tuple[Tensor, Tensor]:
        shape = (1, -1, *(1 for _ in self.images.shape[2:]))
        return self.images.new_tensor(self.mean).view(shape), self.images.new_tensor(self.std).view(shape)


def random_mask(count: int, share: float, generator: torch.Generator) -> Tensor:
    """Return a mask (count,) with round(share * count) random entries set.

    >>> int(random_mask(10, 0.3, torch.Generator().manual_seed(0)).sum())
    3
    """
    mask = torch.zeros(count, dtype=torch.bool)
    mask[torch.randperm(count, generator=generator)[: round(share * count)]] = True
    return mask
