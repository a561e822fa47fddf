"""Partitions for federations whose clients differ in labels and in size, or outnumber the samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.bounds import Bounds, Positive, PositiveCount, Share, check_bounds
from fedpoison.data.partition import check_samples, numpy_generator, shuffled
from fedpoison.rng import generator_for


@dataclass(frozen=True, kw_only=True)
class PerClientDirichlet:
    """Draw the mix of labels of each client from a Dirichlet distribution. All clients get the same size.

    Acar, Zhao, Matas Navarro, Mattina, Whatmough, Saligrama, "Federated Learning Based on Dynamic
    Regularization", ICLR 2021. If the classes differ in size, the concentrations are in proportion to it, as
    in Hsu, Qi, Brown, 2019. Clients choose in random order. If a class is used up, a client draws from the
    other classes. Unlike `dirichlet`, each number of clients up to the number of samples works.
    """

    alpha: Positive = 0.5
    """Mean concentration per class. Small: few classes per client. Large: nearly IID."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        check_samples(len(labels), clients)
        classes, counts = labels.unique(return_counts=True)
        pools = [shuffled(labels, label, generator) for label in classes.tolist()]
        left = counts.numpy().copy()
        concentration = self.alpha * len(left) * left / left.sum()
        sizes = [len(part) for part in torch.arange(len(labels)).tensor_split(clients)]
        draws = numpy_generator(generator)
        parts = [labels] * clients
        for client in draws.permutation(clients).tolist():
            taken = _take(draws.dirichlet(concentration), sizes[client], left, draws)
            left -= taken
            pieces = zip(pools, left.tolist(), taken.tolist(), strict=True)
            parts[client] = torch.cat([pool.narrow(0, begin, count) for pool, begin, count in pieces])
        return parts


def _take(
    mix: NDArray[np.float64], size: int, left: NDArray[np.int64], draws: np.random.Generator
) -> NDArray[np.int64]:
    """Draw `size` labels from `mix` (k,), return their counts. Redraw labels whose class is used up."""
    taken = np.zeros_like(left)
    while missing := size - int(taken.sum()):
        weights = np.where(taken < left, mix, 0.0)
        if weights.sum() == 0:  # the mix is zero on every class that has samples
            weights = (left - taken).astype(float)
        taken = np.minimum(taken + draws.multinomial(missing, weights / weights.sum()), left)
    return taken


@dataclass(frozen=True, kw_only=True)
class QuantitySkew:
    """Divide the samples at random into parts whose sizes are drawn from a Dirichlet distribution.

    Li, Diao, Chen, He, "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022. The
    authors draw the sizes again until no client has too few samples. Here each client gets `minimum`
    samples, and the distribution divides the others, so that any number of clients works.
    """

    alpha: Positive = 0.5
    """Concentration. Small: few clients have most samples. Large: nearly equal sizes."""
    minimum: PositiveCount = 1
    """Smallest number of samples per client."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        check_samples(len(labels), clients * self.minimum)
        spare = len(labels) - clients * self.minimum
        shares = numpy_generator(generator).dirichlet(np.full(clients, self.alpha))
        cuts = (np.cumsum(shares)[:-1] * spare).round().astype(int) + self.minimum * np.arange(1, clients)
        return list(torch.randperm(len(labels), generator=generator).tensor_split(cuts.tolist()))


@dataclass(frozen=True, kw_only=True)
class LongTail:
    """Keep exponentially fewer samples of each further class, and divide the rest.

    Cui, Jia, Lin, Song, Belongie, "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
    Class c of k keeps n * ratio ** (-c / (k - 1)) samples, where n is the size of the largest class. No
    client gets the other samples. A class that is smaller already keeps all samples.
    """

    ratio: Annotated[float, Bounds(at_least=1)] = 100.0
    """Size of the first class, as a multiple of the size of the last."""
    alpha: Positive | None = None
    """Concentration of each client's mix of labels, as in per-client-dirichlet. Default: divide at random."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        classes, counts = labels.unique(return_counts=True)
        last = max(1, len(classes) - 1)
        kept = torch.cat(
            [
                shuffled(labels, label, generator)[
                    : max(1, int(int(counts.max()) * self.ratio ** (-index / last)))
                ]
                for index, label in enumerate(classes.tolist())
            ]
        )
        check_samples(len(kept), clients)
        if self.alpha is None:
            return list(kept[torch.randperm(len(kept), generator=generator)].tensor_split(clients))
        parts = PerClientDirichlet(alpha=self.alpha)(labels[kept], clients, generator)
        return [kept[part] for part in parts]


@dataclass(frozen=True, kw_only=True)
class Bias:
    """Give a sample to its label's group of clients with probability `p`, otherwise to another group.

    Fang, Cao, Jia, Gong, "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning", USENIX
    Security 2020. There is one random group per class, and a group divides its samples evenly. With fewer
    clients than classes, each client is a group of several classes. A client without a sample gets one of
    the client with the most.
    """

    p: Share = 0.5
    """Probability. 1 / number of classes is IID, 1 gives each group one class."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        check_samples(len(labels), clients)
        classes, ranks = labels.unique(return_inverse=True)
        groups = torch.randperm(clients, generator=generator).tensor_split(min(clients, len(classes)))
        away = torch.rand(len(labels), generator=generator) >= self.p
        steps = torch.randint(1, max(2, len(groups)), (len(labels),), generator=generator)
        assigned = (ranks + steps * away) % len(groups)
        parts = [labels] * clients
        for index, members in enumerate(groups):
            pieces = shuffled(assigned, index, generator).tensor_split(len(members))
            for client, piece in zip(members.tolist(), pieces, strict=True):
                parts[client] = piece
        return _with_one_each(parts)


def _with_one_each(parts: list[Tensor]) -> list[Tensor]:
    """Give each empty part one position of the largest part, in place."""
    for client in [client for client, part in enumerate(parts) if not len(part)]:
        largest = max(range(len(parts)), key=lambda other: len(parts[other]))
        parts[client], parts[largest] = parts[largest].split([1, len(parts[largest]) - 1])
    return parts


@dataclass(frozen=True, kw_only=True)
class Resample:
    """Let each client draw its own samples with replacement, so there may be more clients than samples.

    Clients share samples, and some samples may belong to no client. A client's draw is made when the client
    trains, so that a million clients need no memory.

    >>> parts = Resample(samples=4)(torch.zeros(3), 1_000_000, torch.Generator().manual_seed(0))
    >>> len(parts), len(parts[999_999])
    (1000000, 4)
    """

    samples: PositiveCount = 100
    """Number of samples per client."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> Sequence[Tensor]:
        seed = int(torch.randint(2**62, (), generator=generator))
        return _Draws(seed, clients, len(labels), self.samples)


@dataclass(frozen=True)
class _Draws(Sequence[Tensor]):
    """Draws of `samples` out of `population` positions, one draw per client, on access."""

    seed: int
    clients: int
    population: int
    samples: int

    def __len__(self) -> int:
        return self.clients

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        chosen = range(self.clients)[index]
        return self._draw(chosen) if isinstance(chosen, int) else [self._draw(client) for client in chosen]

    def _draw(self, client: int) -> Tensor:
        generator = generator_for(self.seed, "resample", client)
        return torch.randint(self.population, (self.samples,), generator=generator)
