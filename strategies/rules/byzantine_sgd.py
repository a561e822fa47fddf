"""ByzantineSGD: drop the clients whose sums of updates leave the martingale bounds of honest ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, InputError, Rule, RuleCard
from strategies.kernels.client_memory import client_memory
from strategies.kernels.distances import inner_products
from strategies.kernels.majority import majority_centre
from strategies.kernels.order_statistics import median_of
from strategies.kernels.weighted_sums import weighted
from strategies.parameters import below_one, one_of, positive

ROUNDING = 1e-9
"""Inner products that differ by less than this share are equal."""


@dataclass(frozen=True, kw_only=True)
class ByzantineSGD(Rule):
    """Average the updates of the clients that never left the bounds that honest clients keep.

    Alistarh, Allen-Zhu, Li, "Byzantine Stochastic Gradient Descent", NeurIPS 2018. Three numbers describe a
    client: its update, the sum B of its updates, and the sum A of their inner products with the way of the
    model since the first round. With m clients, T rounds, and honest updates within V of their mean, a good
    client keeps |A - median| <= 4 D V sqrt(T C), |B - median| <= 4 V sqrt(T C) and |update - median| <= 4 V,
    where C = log(16 m T / failure), and D bounds the way of the model. The median of vectors is a client with
    more than half of the clients near it. A client that leaves a bound is rejected for ever.

    Raises:
        InputError: the context has no model.

    >>> import torch
    >>> rows = torch.tensor([[1.0], [1.5], [0.5], [-5.0]])
    >>> ByzantineSGD(average="good")(rows, None, Context(model=torch.tensor([0.0]))).update
    tensor([1.])
    """

    deviation: float | None = None
    """Largest distance of an honest update from the mean, V in the paper. Default: in each round, half of the
    smallest distance within which a client has more than half of all clients."""
    diameter: float | None = None
    """Largest way of the model, D in the paper. Default: its way before each round."""
    failure: float = 0.05
    """Probability with which an honest client may be rejected, delta in the paper."""
    average: Literal["all", "good"] = "all"
    """Divide the sum of the good updates by the number of all clients, as the paper, or of good clients."""

    card: ClassVar = RuleCard(
        paper="Alistarh et al., NeurIPS 2018",
        needs=("history", "model"),
        cost="O(n^2 d), and memory of one row per client",
        deviations="The paper knows V, D and T. Here T counts the rounds so far, and V and D are measured by "
        "default: T V^2 is the sum of the squares over the rounds. The projection of the model onto a ball "
        "is left out. The code of Karimireddy et al. divides by the number of good clients: see `average`.",
        rotation_equivariant=True,
    )

    def __post_init__(self) -> None:
        given = {"deviation": self.deviation, "diameter": self.diameter}
        positive(failure=self.failure, **{name: value for name, value in given.items() if value is not None})
        below_one(failure=self.failure)
        one_of("all", "good", average=self.average)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        if context.model is None:
            raise InputError("model: got none, expected the global weights in the context.")
        (n, d), state = updates.shape, context.state
        known_clients = client_memory(context, n, updates.device)
        here = known_clients.rows
        model = context.model.to(updates)
        start = state.get("start", model).to(updates)
        good = known_clients.table(state, "good", (), torch.ones(0, dtype=torch.bool, device=here.device), 1)
        sums = known_clients.table(state, "sums", (d,), updates)
        products = known_clients.table(state, "products", (), updates.new_zeros(0).double())
        sums[here] += updates
        products[here] += inner_products(updates, model - start)

        majority = n // 2 + 1
        distances, radius = majority_centre(updates, majority)
        deviation = radius / 2 if self.deviation is None else radius.new_tensor(self.deviation)
        way = torch.linalg.vector_norm((model - start).double())
        if self.diameter is not None:
            way = way.new_tensor(self.diameter)
        # The rounds so far, and the sums of V^2 and of (D V)^2 over them.
        past = state.get("bounds", torch.zeros(3, dtype=torch.float64)).to(deviation)
        bounds = past + torch.stack([torch.ones_like(way), deviation.square(), (way * deviation).square()])
        scale = 4 * math.sqrt(math.log(16 * n * float(bounds[0]) / self.failure))
        summed, _ = majority_centre(sums[here], majority)
        aside = (products[here] - median_of(products[here])).abs()

        kept = good[here] & (distances <= 4 * deviation) & (summed <= scale * bounds[1].sqrt())
        kept &= aside <= scale * bounds[2].sqrt() + ROUNDING * products[here].abs().max()
        good[here] = kept
        count = n if self.average == "all" else max(1, int(kept.sum()))
        memory = {"nodes": known_clients.client_ids, "good": good, "sums": sums, "products": products}
        memory |= {"start": start.clone(), "bounds": bounds}
        return weighted(kept.double() / count, updates, memory)
