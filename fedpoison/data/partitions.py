"""Partitions of the training samples over the clients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clients.bounds import Positive, PositiveCount, Share, check_bounds
from fedpoison.data.partition import Partition, check_samples, numpy_generator, shuffled
from fedpoison.data.skewed_partitions import Bias, LongTail, PerClientDirichlet, QuantitySkew, Resample
from fedpoison.errors import ScenarioError


@dataclass(frozen=True, kw_only=True)
class Iid:
    """Divide the samples at random. Numbers of samples per client differ by at most one.

    >>> parts = Iid()(torch.zeros(10), 3, torch.Generator().manual_seed(0))
    >>> [len(part) for part in parts]
    [4, 3, 3]
    """

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        check_samples(len(labels), clients)
        return list(torch.randperm(len(labels), generator=generator).tensor_split(clients))


@dataclass(frozen=True, kw_only=True)
class Dirichlet:
    """Divide each class among the clients in shares drawn from a symmetric Dirichlet distribution.

    Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification", 2019. If a client gets fewer than `minimum` samples, the shares are drawn again.
    """

    alpha: Positive = 0.5
    """Concentration. Small: few classes per client. Large: nearly IID."""
    minimum: PositiveCount = 1
    """Smallest number of samples per client."""

    attempts = 100

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        check_samples(len(labels), clients * self.minimum)
        shares = numpy_generator(generator)
        classes = [shuffled(labels, label, generator) for label in labels.unique().tolist()]
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
            f"each of {self.attempts} draws gave a client fewer than {self.minimum} samples; "
            "increase alpha or the number of samples, reduce the number of clients, or use "
            f"per-client-dirichlet(alpha={self.alpha})."
        )


@dataclass(frozen=True, kw_only=True)
class Shards:
    """Sort by label, cut into equal shards, and give each client some shards at random.

    McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks
    from Decentralized Data", AISTATS 2017, with two shards per client.
    """

    shards: PositiveCount = 2
    """Number of shards per client."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        check_samples(len(labels), clients * self.shards)
        pieces = labels.argsort(stable=True).tensor_split(clients * self.shards)
        order = torch.randperm(len(pieces), generator=generator).view(clients, self.shards)
        return [torch.cat([pieces[shard] for shard in row]) for row in order.tolist()]


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """Sort by label and cut into contiguous parts: each client gets few classes.

    >>> parts = Sorted()(torch.tensor([1, 0, 1, 0]), 2, torch.Generator())
    >>> [part.tolist() for part in parts]
    [[1, 3], [0, 2]]
    """

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        check_samples(len(labels), clients)
        return list(labels.argsort(stable=True).tensor_split(clients))


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Divide a share `gamma` of the samples at random, and the rest sorted by label.

    Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: Stochastic Controlled Averaging for Federated
    Learning", ICML 2020.
    """

    gamma: Share = 0.5
    """Share of the samples. 1 is IID, 0 is sorted."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        check_samples(len(labels), clients)
        order = torch.randperm(len(labels), generator=generator)
        mixed, rest = order.tensor_split([round(self.gamma * len(labels))])
        rest = rest.sort().values
        rest = rest[labels[rest].argsort(stable=True)]
        # The two divisions start at opposite ends, so no client gets a smaller part of both, or none.
        pairs = zip(mixed.tensor_split(clients), reversed(rest.flip(0).tensor_split(clients)), strict=True)
        return [torch.cat([random, ordered.flip(0)]) for random, ordered in pairs]


@dataclass(frozen=True, kw_only=True)
class Natural:
    """Give each client the samples of one client of the data set, which names the client of each sample.

    With fewer clients than the data set has, some of them are drawn at random, and no client gets the samples
    of the others.

    >>> parts = Natural()(torch.tensor([1, 0, 1, 1]), 2, torch.Generator())
    >>> [part.tolist() for part in parts]
    [[1], [0, 2, 3]]
    """

    by_client = True

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        """Return each client's positions. `labels` (m,) has the number of each sample's client."""
        owners, counts = labels.unique(return_counts=True)
        if clients > len(owners):
            raise ScenarioError(
                f"partition natural: got {clients} clients, expected at most {len(owners)}, the number of "
                f"clients in the data set; set clients={len(owners)}, or choose another partition."
            )
        parts = labels.argsort(stable=True).split(counts.tolist())
        chosen = torch.randperm(len(owners), generator=generator)[:clients].sort().values
        return [parts[owner] for owner in chosen.tolist()]


PARTITIONS: dict[str, type[Partition]] = {
    "bias": Bias,
    "dirichlet": Dirichlet,
    "iid": Iid,
    "long-tail": LongTail,
    "natural": Natural,
    "per-client-dirichlet": PerClientDirichlet,
    "quantity-skew": QuantitySkew,
    "resample": Resample,
    "shards": Shards,
    "similarity": Similarity,
    "sorted": Sorted,
}
