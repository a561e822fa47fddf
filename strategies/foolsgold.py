"""FoolsGold: believe clients the less, the more alike their histories are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.combination import weighted
from strategies.cosines import lengths_and_cosines
from strategies.knobs import positive
from strategies.layers import output_columns
from strategies.node_memory import roll_call
from strategies.rule import Aggregate, Card, Context, checked

EPSILON = 1e-5
"""What the authors' code adds to the largest similarities, so that they can be divided by."""


@dataclass(frozen=True, kw_only=True)
class FoolsGold:
    """Weigh each update by how much its node's summed updates differ in direction from everybody else's.

    Fung, Yoon, Beschastnikh, "The Limitations of Federated Learning in Sybil Settings", RAID 2020. Made
    against sybils that push one goal; honest clients must hold different data, or they are taken for
    sybils themselves: equal updates all get weight 0.

    >>> import torch
    >>> updates = torch.tensor([[0.0, 1.0], [0.9, -0.1], [1.0, 0.0], [1.0, 0.0]])
    >>> FoolsGold()(updates).trust
    tensor([0.2500, 0.0000, 0.0000, 0.0000], dtype=torch.float64)
    """

    confidence: float = 1.0
    """Kappa in the paper: how steeply the logit separates sybils from the rest."""
    features: Literal["output", "all"] = "output"
    """Whose history is compared: the output layer's weights, or the whole update."""

    card: ClassVar = Card(
        paper="Fung et al., RAID 2020",
        needs=("history",),
        cost="O(n^2 d), and one remembered row a node, of the output layer's size",
        deviations="The paper adds the weighted updates up; here, as in the authors' code, they are divided "
        "by n, so that trust sums to at most 1. The authors' code compares the output layer's weights, as "
        "here; without a layout, and with `features` all, everything is compared. "
        "Several libraries index the "
        "memory by the position in the round; here it is by node.",
        unanimous=False,
        translation_equivariant=False,
    )
    minimum: ClassVar[int] = 1

    def __post_init__(self) -> None:
        positive(confidence=self.confidence)

    def __call__(
        self, updates: Tensor, weights: Tensor | None = None, context: Context | None = None
    ) -> Aggregate:
        updates, _ = checked(self, updates, weights)
        context = context or Context()
        n, d = updates.shape
        columns = output_columns(context.layout, d) if self.features == "output" else slice(0, d)
        features = updates[:, columns]
        roll = roll_call(context, n, updates.device)
        history = roll.table(context.state, "history", features.shape[1:], features)
        history[roll.here] += features
        _, similar = lengths_and_cosines(history[roll.here])
        trust = self.trust(similar.fill_diagonal_(0)) / n
        return weighted(trust, updates, {"nodes": roll.nodes, "history": history})

    def trust(self, similar: Tensor) -> Tensor:
        """Return each client's learning rate (n,), 0 to 1, from the cosines of the histories (n, n)."""
        closest = similar.max(dim=1).values + EPSILON
        pardon = (closest[:, None] / closest).clamp(max=1)
        unlike = (1 - (similar * pardon).max(dim=1).values).clamp(0, 1)
        unlike = unlike / unlike.max().clamp(min=EPSILON)
        unlike = torch.where(unlike == 1, 0.99, unlike)
        return (self.confidence * torch.logit(unlike) + 0.5).clamp(0, 1)
