"""Safeguard: drop the clients whose sums of updates leave the majority, in two windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.client_memory import client_memory
from strategies.kernels.majority import majority_centre
from strategies.kernels.weighted_sums import weighted
from strategies.parameters import one_of, positive

ROUNDS = "rounds"


@dataclass(frozen=True, kw_only=True)
class Safeguard(Rule):
    """Average the updates of the clients that were near the majority in all rounds so far.

    Allen-Zhu, Ebrahimian, Li, Alistarh, "Byzantine-Resilient Non-Convex Stochastic Gradient Descent", ICLR
    2021: SafeguardSGD with a double safeguard. Each window sums up a client's updates, divided by the number
    of good clients of their round, and starts again after its number of rounds. The median is a good client
    with more than half of the clients within the threshold. A good client whose sum is farther from the
    median than `bound` thresholds in one of the windows is rejected for all later rounds. If no client of a
    round is good, the model does not change.

    >>> import torch
    >>> first = Safeguard()(torch.tensor([[1.0], [1.1], [0.9], [-5.0]]))
    >>> Safeguard()(torch.tensor([[1.0], [1.0], [1.0], [-5.0]]), None, Context(state=first.state)).update
    tensor([1.])
    """

    short: int = 1
    """Rounds of the short window, T0 in the paper."""
    long: int = 6
    """Rounds of the long window, T1 in the paper."""
    short_threshold: float | None = None
    """Threshold of the short window. Default: the smallest one for which there is a median."""
    long_threshold: float | None = None
    """Threshold of the long window. Default: the smallest one for which there is a median."""
    bound: float = 2.0
    """Largest distance of a good client from the median, in thresholds."""
    reject: Literal["next", "same"] = "next"
    """Reject a client from the next round on, as in the paper, or from the same round on."""
    reset: bool = False
    """Consider all clients good again when the long window starts."""

    search_space: ClassVar = {"long": (3, 6, 12), "bound": (1.5, 2.0, 3.0)}
    card: ClassVar = RuleCard(
        paper="Allen-Zhu et al., ICLR 2021",
        needs=("history",),
        cost="O(n^2 d), and memory of two rows per client",
        deviations="The paper's windows are 1 and 6 epochs; here they count rounds. Its thresholds come from "
        "a run before the experiment, or from its theorem; here each round sets them by default. Its "
        "Gaussian noise against saddle points is left out. The paper assumes that every client takes part in "
        "every round; here a client that was not sampled adds nothing to its sums. The code of Karimireddy "
        "et al. has `bound` 1 and an optional `reset`.",
        rotation_equivariant=True,
    )

    def __post_init__(self) -> None:
        if not 1 <= self.short <= self.long:
            raise ValueError(
                f"short, long: got {self.short} and {self.long}, expected 1 <= short <= long rounds."
            )
        thresholds = {"short_threshold": self.short_threshold, "long_threshold": self.long_threshold}
        positive(bound=self.bound, **{name: value for name, value in thresholds.items() if value is not None})
        one_of("next", "same", reject=self.reject)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n, d = updates.shape
        state = context.state
        known_clients = client_memory(context, n, updates.device)
        here = known_clients.rows
        rounds = state.get(ROUNDS, torch.zeros((), dtype=torch.int64))
        good = known_clients.table(state, "good", (), torch.ones(0, dtype=torch.bool, device=here.device), 1)
        if self.reset and int(rounds) % self.long == 0:
            good.fill_(value=True)
        before = good[here]
        kept = before.clone()
        memory: dict[str, Tensor] = {"nodes": known_clients.client_ids, ROUNDS: rounds + 1}
        for name, window, threshold in (
            ("short", self.short, self.short_threshold),
            ("long", self.long, self.long_threshold),
        ):
            sums = known_clients.table({} if int(rounds) % window == 0 else state, name, (d,), updates)
            sums[here] += updates / max(1, int(before.sum()))
            kept[before] &= self.near(sums[here][before], n, threshold)
            memory[name] = sums
        good[here] = kept
        used = (before if self.reject == "next" else kept).double()
        return weighted(used / used.sum().clamp(min=1), updates, {**memory, "good": good})

    def near(self, sums: Tensor, n: int, threshold: float | None) -> Tensor:
        """Return which of the good clients' `sums` (g, d) are near their median, (g,), of n clients."""
        if not len(sums):
            return torch.ones(0, dtype=torch.bool, device=sums.device)
        distances, radius = majority_centre(sums, min(n // 2 + 1, len(sums)))
        return distances <= self.bound * (radius if threshold is None else threshold)
