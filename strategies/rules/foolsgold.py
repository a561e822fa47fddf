"""FoolsGold: reduce the weights of clients with similar histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard
from strategies.kernels.client_memory import client_memory
from strategies.kernels.distances import lengths_and_cosines
from strategies.kernels.layers import output_columns
from strategies.kernels.weighted_sums import weighted
from strategies.parameters import positive

EPSILON = 1e-5
"""Constant that the authors' code adds to the largest similarities, so that they are not 0."""


@dataclass(frozen=True, kw_only=True)
class FoolsGold(Rule):
    """Weight each update by how much its client's history differs in direction from all the others.

    Fung, Yoon, Beschastnikh, "The Limitations of Federated Learning in Sybil Settings", RAID 2020. The
    history of a client is the sum of its updates. The rule detects sybils that share a goal. Honest clients
    need different data: clients with equal updates all get weight 0.

    >>> import torch
    >>> updates = torch.tensor([[0.0, 1.0], [0.9, -0.1], [1.0, 0.0], [1.0, 0.0]])
    >>> FoolsGold()(updates).trust
    tensor([0.2500, 0.0000, 0.0000, 0.0000], dtype=torch.float64)
    """

    confidence: float = 1.0
    """Slope of the logit that separates sybils from other clients, kappa in the paper."""
    features: Literal["output", "all"] = "output"
    """Coordinates that are compared: the output layer's weights, or the whole update."""

    search_space: ClassVar = {"confidence": (0.5, 1.0, 2.0)}
    card: ClassVar = RuleCard(
        paper="Fung et al., RAID 2020",
        needs=("history",),
        cost="O(n^2 d), and memory of one row per client, of the output layer's size",
        deviations="The paper adds the weighted updates; here, as in the authors' code, the sum is divided "
        "by n, so that trust sums to at most 1. Only the output layer's weights are compared, as in the "
        "authors' code. That code also scales each client's update to a norm of at most 1 before it is "
        "added; here, no update is scaled. Without a layout, or with `features` all, all coordinates are "
        "compared. Several libraries index the memory by the position in the round; here it is by client.",
        unanimous=False,
        translation_equivariant=False,
    )

    def __post_init__(self) -> None:
        positive(confidence=self.confidence)

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        n, d = updates.shape
        columns = output_columns(context.layout, d) if self.features == "output" else slice(0, d)
        features = updates[:, columns]
        known_clients = client_memory(context, n, updates.device)
        history = known_clients.table(context.state, "history", features.shape[1:], features)
        history[known_clients.rows] += features
        _, similar = lengths_and_cosines(history[known_clients.rows])
        trust = self.trust(similar.fill_diagonal_(0)) / n
        return weighted(trust, updates, {"nodes": known_clients.client_ids, "history": history})

    def trust(self, similar: Tensor) -> Tensor:
        """Return each client's learning rate (n,), 0 to 1, from the cosines of the histories (n, n)."""
        closest = similar.max(dim=1).values + EPSILON
        pardon = (closest[:, None] / closest).clamp(max=1)
        unlike = (1 - (similar * pardon).max(dim=1).values).clamp(0, 1)
        unlike = unlike / unlike.max().clamp(min=EPSILON)
        unlike = torch.where(unlike == 1, 0.99, unlike)
        return (self.confidence * torch.logit(unlike) + 0.5).clamp(0, 1)
