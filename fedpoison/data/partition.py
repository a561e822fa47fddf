"""The interface of partitions, and the checks and draws that they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fedpoison.errors import ScenarioError


class Partition(Protocol):
    """Divides samples among clients. A frozen dataclass; its fields are its parameters.

    Properties: each client gets at least one sample. Equal generators give equal partitions. Unless its
    docstring says otherwise, each sample goes to exactly one client.
    """

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Return each client's positions in `labels` (m,).

        Raises:
            ScenarioError: too few samples for the clients.
        """


def by_client(partition: Partition) -> bool:
    """Return whether a partition divides by the client of each sample, which it gets in place of labels."""
    return bool(getattr(partition, "by_client", False))


def check_samples(samples: int, least: int) -> None:
    """Raise ScenarioError if there are fewer than `least` samples."""
    if samples < least:
        raise ScenarioError(
            f"partition: got {samples} samples, expected at least {least}; "
            "reduce the number of clients, or use more samples."
        )


def shuffled(labels: Tensor, label: int, generator: torch.Generator) -> Tensor:
    """Return the positions of one class in `labels` (m,), in random order."""
    positions = (labels == label).nonzero().flatten()
    return positions[torch.randperm(len(positions), generator=generator)]


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """Return a generator of NumPy with a seed from `generator`, since torch's Dirichlet accepts none."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
