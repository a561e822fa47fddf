"""Sequential centered clipping: move the last round's result towards one bucket after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.client_memory import round_generator
from strategies.kernels.distances import cosines_with, gram, row_norms
from strategies.kernels.weighted_sums import combine
from strategies.parameters import limit, one_of, positive

CENTRE = "centre"


@dataclass(frozen=True, kw_only=True)
class SequentialClipping(Rule):
    """Move the last round's result towards the mean of each bucket in turn, clipped to the distance `tau`.

    Ozfatura, Ozfatura, Kupcu, Gunduz, "Byzantines Can Also Learn From History: Fall of Centered Clipping in
    Federated Learning", IEEE TIFS 2024: v <- v + (m - v) min(1, tau / |m - v|) for the mean m of each bucket,
    from the v of the round before or, in the first round, from 0. The clients are sorted by their cosine with
    the v of the round before and cut into `size` clusters. A bucket has one client of each cluster, in random
    order, so it has similar and dissimilar updates. Extended centered clipping does a second pass.
    """

    tau: float = 1.0
    """Largest distance of a clipped mean from the centre."""
    size: int = 3
    """Clients per bucket. The last buckets may have fewer."""
    clip: Literal["mean", "each"] = "mean"
    """Clip the mean of a bucket, as in the paper, or each update before the mean."""
    reference: Literal["moving", "both"] = "moving"
    """Clip around the moving centre, or around the round's first centre, then around the moving one."""
    extended: Literal["no", "moving", "fixed"] = "no"
    """Second pass over new buckets: none, in sequence, or around the same centre for all, as a mean."""
    iterations: int = 1
    """Number of times that a `fixed` second pass moves the centre."""

    search_space: ClassVar = {"tau": (0.1, 0.3, 1.0, 3.0), "size": (2, 3, 5)}
    card: ClassVar = RuleCard(
        paper="Ozfatura et al., IEEE TIFS 2024",
        needs=("history", "randomness"),
        cost="O(n^2 d)",
        deviations="FL-Byzantine-Library clips each update by default: see `clip`. Its first round, without "
        "a v, has n / size random buckets, rounded down; here it has as many buckets as the other rounds. "
        "Its extended pass can also join a bucket of one client to the bucket before; here no bucket is "
        "joined.",
        permutation_equivariant=False,  # the buckets are drawn
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )

    def __post_init__(self) -> None:
        limit(tau=self.tau)
        if self.size < 1:
            raise ValueError(f"size: got {self.size}, expected at least 1 client per bucket.")
        positive(iterations=self.iterations)
        one_of("mean", "each", clip=self.clip)
        one_of("moving", "both", reference=self.reference)
        one_of("no", "moving", "fixed", extended=self.extended)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        centre = context.state.get(CENTRE, torch.zeros_like(updates[0])).to(updates)
        # All centres are combinations of the updates and the first centre, so inner products give all
        # distances, and the matrix is read once for any number of buckets.
        products = gram(updates, origin=centre)
        if not bool(products.isfinite().all()):
            raise OverflowError("the squared norms overflow")
        generator = round_generator(context)
        cosines = cosines_with(centre, updates, row_norms(updates))
        pulls = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
        for bucket in self.buckets(cosines, generator):
            pulls = pulls + self.step(products, pulls, bucket)
        if self.extended != "no":
            second = self.buckets(cosines, generator)
            if self.extended == "moving":
                for bucket in second:
                    pulls = pulls + self.step(products, pulls, bucket)
            else:
                for _ in range(self.iterations):
                    steps = [self.step(products, pulls, bucket) for bucket in second]
                    pulls = pulls + torch.stack(steps).mean(dim=0)
        pulls = pulls.clamp(min=0)  # rounding
        update = combine(pulls, updates) + (1 - pulls.sum()).to(centre) * centre
        return Aggregate(update=update, trust=pulls, state={CENTRE: update.clone()})

    def buckets(self, cosines: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Return the rows of each bucket, one of each cluster of clients with near `cosines` (n,)."""
        n = len(cosines)
        order = torch.randperm(n, generator=generator, device=generator.device).to(cosines.device)
        order = order[cosines[order].sort(stable=True).indices]
        members: list[list[Tensor]] = [[] for _ in range(-(-n // self.size))]
        for cluster in order.tensor_split(self.size):
            drawn = torch.randperm(len(cluster), generator=generator, device=generator.device)
            for bucket, client in zip(drawn.tolist(), cluster, strict=True):
                members[bucket].append(client)
        return [torch.stack(rows) for rows in members]

    def step(self, products: Tensor, pulls: Tensor, bucket: Tensor) -> Tensor:
        """Return the change of the coefficients `pulls` (n,) by one bucket of rows."""
        inside = torch.zeros_like(products)[: len(bucket)]
        inside[torch.arange(len(bucket)), bucket] = 1
        points = inside if self.clip == "each" else inside.mean(dim=0, keepdim=True)
        if self.reference == "both":
            points = self.clipped(products, points)
        return self.clipped(products, points - pulls).mean(dim=0)

    def clipped(self, products: Tensor, steps: Tensor) -> Tensor:
        """Return `steps` (b, n), coefficients of vectors, scaled so that no vector is longer than `tau`."""
        lengths = ((steps @ products) * steps).sum(dim=1).clamp(min=0).sqrt()
        return steps * torch.where(lengths > self.tau, self.tau / lengths, 1)[:, None]
