"""Synthetic rounds on which `check_rule` runs a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from strategies.base import Aggregate, Context, State
from strategies.base import AggregationRule as Rule

ROUNDS = 3

RuleCall = Callable[[Rule, Tensor, Tensor | None, Context], Aggregate]
"""Function that calls a rule and checks the result."""


@dataclass(kw_only=True)
class SyntheticRounds:
    """A few rounds of random updates of a linear classifier, on which a rule runs."""

    n: int = 9
    dtype: torch.dtype = torch.float32
    image_shape: tuple[int, int, int] = (1, 4, 4)
    classes: int = 10
    updates: list[Tensor] = field(init=False)
    """One matrix (n, d) per round: a common drift, and noise of the same size."""
    weights: Tensor = field(init=False)
    model: Tensor = field(init=False)
    root: Tensor = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.n)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(self.dtype)

        drift = draw(self.d)
        self.updates = [0.1 * (drift + draw(self.n, self.d)) for _ in range(ROUNDS)]
        self.weights = torch.randint(20, 60, (self.n,), generator=generator).double()
        self.model = draw(self.d)
        self.root = 0.1 * (drift + 0.5 * draw(self.d))

    @property
    def pixels(self) -> int:
        """Numbers in one image."""
        return torch.Size(self.image_shape).numel()

    @property
    def d(self) -> int:
        """Parameters of the linear classifier."""
        return self.classes * (self.pixels + 1)

    def predict(self, weights: Tensor, images: Tensor) -> Tensor:
        """Return the logits (m, k) of the linear classifier with these weights (d,)."""
        matrix, bias = weights.split([self.classes * self.pixels, self.classes])
        matrix = matrix.reshape(self.classes, self.pixels)
        return torch.addmm(bias, images.flatten(1).to(weights.dtype), matrix.T)

    def root_images(self) -> Tensor:
        """Return a few images of the server, (m, c, h, w)."""
        return torch.rand(6, *self.image_shape, generator=torch.Generator().manual_seed(self.n))

    def root_labels(self) -> Tensor:
        """Return the labels of `root_images`, (m,)."""
        return torch.arange(len(self.root_images())) % self.classes

    def gradient(self, weights: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy of the linear classifier and its gradient, (d,)."""
        pixels = images.flatten(1).to(weights.dtype)
        logits = self.predict(weights, images)
        wrong = logits.softmax(dim=1) - one_hot(labels, self.classes).to(weights.dtype)
        gradient = torch.cat([(wrong.T @ pixels).flatten(), wrong.sum(dim=0)]) / len(labels)
        return cross_entropy(logits, labels), gradient

    def context(
        self,
        server_round: int = 1,
        *,
        client_ids: Sequence[int] | None = None,
        state: State | None = None,
        root: Tensor | None = None,
    ) -> Context:
        """Return a context with every field. Its random generator depends on the round alone."""
        reference = self.root if root is None else root
        return Context(
            round=server_round,
            client_ids=tuple(range(10, 10 + self.n) if client_ids is None else client_ids),
            model=self.model,
            layout=(
                ("weight", torch.Size([self.classes, self.pixels])),
                ("bias", torch.Size([self.classes])),
            ),
            state=state or {},
            generator=torch.Generator().manual_seed(server_round),
            root_update=reference.clone,
            root_images=self.root_images,
            root_labels=self.root_labels,
            predict=self.predict,
            gradient=self.gradient,
            image_shape=self.image_shape,
        )

    def run(
        self,
        rule: Rule,
        call: RuleCall,
        *,
        order: Sequence[int] | None = None,
        change: Callable[[Tensor], Tensor] = torch.clone,
        store: Callable[[Tensor], Tensor] = torch.clone,
        weighted: bool = True,
    ) -> list[Aggregate]:
        """Return the aggregate of every round. Each round gets the state of the previous one.

        Args:
            rule: the rule to run.
            call: function that calls the rule.
            order: order of the rows, their clients and weights. Default: unchanged.
            change: function of the updates and of the root update. Default: a copy.
            store: function that returns the rows in another storage. Default: contiguous.
            weighted: whether the rule gets the clients' weights.
        """
        order = range(self.n) if order is None else order
        rows = list(order)
        client_ids = [10 + row for row in rows]
        state: State = {}
        results = []
        for server_round, updates in enumerate(self.updates, start=1):
            context = self.context(server_round, client_ids=client_ids, state=state, root=change(self.root))
            weights = self.weights[rows] if weighted else None
            results.append(call(rule, store(change(updates)[rows]), weights, context))
            state = copy_state(results[-1].state)
        return results


def copy_state(state: State) -> dict[str, Tensor]:
    """Return a copy of the state, as from a checkpoint."""
    return {name: tensor.clone() for name, tensor in state.items()}


def transposed(rows: Tensor) -> Tensor:
    """Return `rows` stored column by column."""
    return rows.T.contiguous().T


def strided(rows: Tensor) -> Tensor:
    """Return `rows` as every second column of a wider matrix. The other columns are NaN."""
    wide = rows.new_full((len(rows), 2 * rows.shape[1]), torch.nan)
    wide[:, ::2] = rows
    return wide[:, ::2]
