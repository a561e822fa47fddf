"""How the training samples are spread over the nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fedpoison.errors import ScenarioError


class Partition(Protocol):
    """Spreads samples over nodes. A frozen dataclass whose fields are its knobs.

    Laws: every sample goes to exactly one node, every node gets at least one, and the same generator gives
    the same partition.
    """

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        """Return each node's positions in `labels` (m,).

        Raises:
            ScenarioError: there are too few samples for the nodes.
        """


@dataclass(frozen=True, kw_only=True)
class Iid:
    """Spread the samples at random, in equal numbers up to one.

    >>> parts = Iid()(torch.zeros(10), 3, torch.Generator().manual_seed(0))
    >>> [len(part) for part in parts]
    [4, 3, 3]
    """

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        _enough(len(labels), clients)
        return list(torch.randperm(len(labels), generator=generator).tensor_split(clients))


@dataclass(frozen=True, kw_only=True)
class Dirichlet:
    """Spread each class over the nodes in shares drawn from a symmetric Dirichlet distribution.

    Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification", 2019. Small alpha: few classes a node; large alpha: nearly IID. Draws that leave a
    node with fewer than `minimum` samples are drawn again.
    """

    alpha: float = 0.5
    minimum: int = 1
    """Samples that every node gets at least."""

    attempts = 100

    def __post_init__(self) -> None:
        if self.alpha <= 0 or self.minimum < 1:
            raise ValueError(f"got alpha {self.alpha}, minimum {self.minimum}; wanted > 0, and at least 1.")

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        _enough(len(labels), clients * self.minimum)
        # torch has no Dirichlet sampler that takes a generator: NumPy's is seeded from the stream.
        shares = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        classes = [_shuffled(labels, label, generator) for label in labels.unique().tolist()]
        for _ in range(self.attempts):
            parts: list[list[Tensor]] = [[] for _ in range(clients)]
            for positions in classes:
                cuts = np.cumsum(shares.dirichlet(np.full(clients, self.alpha)))[:-1]
                pieces = positions.tensor_split((cuts * len(positions)).round().astype(int).tolist())
                for part, piece in zip(parts, pieces, strict=True):
                    part.append(piece)
            whole = [torch.cat(part) for part in parts]
            if min(len(part) for part in whole) >= self.minimum:
                return whole
        raise ScenarioError(
            f"partition dirichlet: with alpha {self.alpha}, {clients} clients and {len(labels)} samples, "
            f"{self.attempts} draws all left a client with fewer than {self.minimum} samples. "
            "Raise alpha, or have fewer clients or more samples."
        )


@dataclass(frozen=True, kw_only=True)
class Shards:
    """Sort by label, cut into equal shards, and deal each node some of them at random.

    McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks
    from Decentralized Data", AISTATS 2017, where each node gets two.
    """

    shards: int = 2
    """Per node."""

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise ValueError(f"shards: got {self.shards}, wanted at least 1 per node.")

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        _enough(len(labels), clients * self.shards)
        pieces = _by_label(labels).tensor_split(clients * self.shards)
        order = torch.randperm(len(pieces), generator=generator).view(clients, self.shards)
        return [torch.cat([pieces[shard] for shard in row]) for row in order.tolist()]


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """Sort by label and cut into contiguous parts: each node sees one or two classes.

    >>> parts = Sorted()(torch.tensor([1, 0, 1, 0]), 2, torch.Generator())
    >>> [part.tolist() for part in parts]
    [[1, 3], [0, 2]]
    """

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        _enough(len(labels), clients)
        return list(_by_label(labels).tensor_split(clients))


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Spread a share `gamma` of the samples at random and the rest sorted by label.

    Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: Stochastic Controlled Averaging for Federated
    Learning", ICML 2020. 1 is IID, 0 is sorted.
    """

    gamma: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma: got {self.gamma}, wanted 0 to 1.")

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        _enough(len(labels), clients)
        order = torch.randperm(len(labels), generator=generator)
        mixed, rest = order.tensor_split([round(self.gamma * len(labels))])
        rest = rest.sort().values
        rest = rest[labels[rest].argsort(stable=True)]
        # Dealt from opposite ends, so that no node is short in both and none stays empty.
        pairs = zip(mixed.tensor_split(clients), reversed(rest.flip(0).tensor_split(clients)), strict=True)
        return [torch.cat([random, ordered.flip(0)]) for random, ordered in pairs]


PARTITIONS: dict[str, type[Partition]] = {
    "dirichlet": Dirichlet,
    "iid": Iid,
    "shards": Shards,
    "similarity": Similarity,
    "sorted": Sorted,
}


def _by_label(labels: Tensor) -> Tensor:
    return labels.argsort(stable=True)


def _shuffled(labels: Tensor, label: int, generator: torch.Generator) -> Tensor:
    positions = (labels == label).nonzero().flatten()
    return positions[torch.randperm(len(positions), generator=generator)]


def _enough(samples: int, wanted: int) -> None:
    if samples < wanted:
        raise ScenarioError(
            f"partition: got {samples} samples, wanted at least {wanted} to go round. "
            "Have fewer clients, or use more samples."
        )
