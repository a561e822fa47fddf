"""FLDetector: reject clients whose updates are not consistent with their earlier updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from strategies.base import Aggregate, Context, Rule, RuleCard, State
from strategies.kernels.client_memory import ClientMemory, client_memory, round_generator
from strategies.kernels.columns import one_thread, sum_over_chunks
from strategies.kernels.spectral import two_means
from strategies.kernels.weighted_sums import combine

Numbers = npt.NDArray[np.float64]

TINY = 1e-12
"""Smallest within-cluster sum of squares, so that its logarithm is finite if the clusters are points."""


def gap_statistic(values: Numbers, generator: torch.Generator, *, most: int = 7, references: int = 10) -> int:
    """Return the number of clusters in `values` (n,), at most `most`, by the gap statistic.

    Tibshirani, Walther, Hastie, "Estimating the Number of Clusters in a Data Set via the Gap Statistic",
    JRSS B 2001: the least k whose gap to `references` uniform samples is not below the next one's by more
    than its error.

    >>> gap_statistic(np.array([0.0, 0.01, 0.02, 0.03, 1.0, 1.01]), torch.Generator())
    2
    """
    spread = values.max() - values.min()
    most = min(most, len(values) - 1)
    if spread <= 0 or most < 2:
        return 1
    own = np.log(within(np.sort((values - values.min()) / spread), most))
    uniform = torch.rand((references, len(values)), generator=generator, dtype=torch.float64).numpy()
    chance = np.log(np.stack([within(np.sort(sample), most) for sample in uniform]))
    gaps = np.log(np.exp(chance).mean(axis=0)) - own
    errors = np.sqrt(1 + 1 / references) * chance.std(axis=0)
    enough = gaps[:-1] - gaps[1:] + errors[1:] >= 0
    return int(enough.argmax()) + 1 if enough.any() else most


def within(ordered: Numbers, most: int) -> Numbers:
    """Return the least within-cluster sum of squares for 1 to `most` clusters, (most,), exactly.

    Clusters on a line are runs, so the best k of them are the best k - 1 of a beginning and one more run.

    Args:
        ordered: (n,), ascending.
        most: largest number of clusters.

    >>> within(np.array([0.0, 2.0, 5.0]), 2)
    array([12.66666667,  2.        ])
    """
    n = len(ordered)
    sums = np.concatenate([[0.0], ordered.cumsum()])
    squares = np.concatenate([[0.0], np.square(ordered).cumsum()])
    start, end = np.arange(n)[:, None], np.arange(1, n + 1)[None, :]
    total = sums[None, 1:] - sums[:-1, None]
    run = squares[None, 1:] - squares[:-1, None] - np.square(total) / np.maximum(end - start, 1)
    run = np.where(end > start, np.maximum(run, 0), np.inf)
    best = run[0]
    result = [best[-1]]
    for _ in range(1, most):
        best = np.minimum(best, (np.concatenate([[np.inf], best[:-1]])[:, None] + run).min(axis=0))
        result.append(best[-1])
    return np.maximum(result, TINY)


def hessian_product(steps: Tensor, changes: Tensor, vector: Tensor) -> Tensor:
    """Return the L-BFGS approximation of the Hessian times `vector`, (d,), in the dtype of `vector`.

    Byrd, Nocedal, Schnabel, "Representations of Quasi-Newton Matrices and Their Use in Limited Memory
    Methods", Mathematical Programming 1994: the compact form.

    Args:
        steps: (m, d), how the weights moved, the oldest first; the last is not 0.
        changes: (m, d), how the gradient changed with each step.
        vector: (d,).

    >>> hessian_product(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]]), torch.tensor([2.0, 1.0]))
    tensor([6., 3.])
    """
    m = len(steps)

    def work(columns: slice) -> Tensor:
        block = torch.cat([steps[:, columns], changes[:, columns], vector[None, columns]]).double()
        return block @ block.T

    products = sum_over_chunks(work, steps, (2 * m + 1, 2 * m + 1))
    both = products[:m, m : 2 * m]
    scale = both[-1, -1] / products[m - 1, m - 1]
    lower = both.tril(-1)
    compact = torch.cat(
        [
            torch.cat([scale * products[:m, :m], lower], dim=1),
            torch.cat([lower.T, -both.diagonal().diag()], dim=1),
        ]
    )
    right = torch.cat([scale * products[:m, -1], products[m : 2 * m, -1]])
    with one_thread():
        parts = (torch.linalg.pinv(compact, hermitian=True) @ right).to(vector.dtype)
    scale = scale.to(vector.dtype)
    product: Tensor = scale * vector - (scale * parts[:m]) @ steps - parts[m:] @ changes
    return product


@dataclass(frozen=True, kw_only=True)
class FLDetector(Rule):
    """Average the updates of the clients whose updates were predictable in the last rounds.

    Zhang, Cao, Jia, Gong, "FLDetector: Defending Federated Learning Against Model Poisoning Attacks via
    Detecting Malicious Clients", KDD 2022. The prediction of a client's update is its last update plus
    the step of the global model times an L-BFGS estimate of the Hessian. The client's score is its share of
    all prediction errors, averaged over `window` rounds. If the gap statistic finds more than one cluster of
    scores, the clients in the upper one of two clusters are rejected.
    """

    window: int = 10
    """Number of rounds for the estimate and the score. A client with fewer rounds is not rejected."""

    search_space: ClassVar = {"window": (3, 5, 10)}
    card: ClassVar = RuleCard(
        paper="Zhang et al., KDD 2022",
        needs=("history", "model", "randomness"),
        cost="O((n + window) d), and memory of one update per client and 2 window + 2 vectors",
        deviations="The paper removes the detected clients and restarts training; here they are rejected in "
        "the rounds in which their scores are high. The prediction of a client that was not sampled is kept. "
        "Without `context.model`, the model's step is the last aggregate. Clusters are exact.",
        translation_equivariant=False,
    )

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window: got {self.window}, expected at least 1 round.")

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        state = context.state
        n, d = updates.shape
        known_clients = client_memory(context, n, updates.device)
        expected = known_clients.table(state, "expected", (d,), updates)
        scores = known_clients.table(state, "scores", (self.window,), updates.new_zeros(0).double(), -1)
        step = model_step(context, updates)
        steps, changes = (state.get(name, updates[:0]).to(updates) for name in ("steps", "changes"))
        if step is not None and len(steps):
            expected += hessian_product(steps, changes, step)
            self.score(scores, known_clients, errors(expected, known_clients.rows, updates))
        kept = ~self.flagged_clients(scores[known_clients.rows], round_generator(context))
        trust = kept.double() / kept.sum()
        update = combine(trust, updates)
        if step is not None and bool(step.any()):
            change = update - state["aggregate"].to(updates)
            steps = torch.cat([steps, step[None]])[-self.window :]
            changes = torch.cat([changes, change[None]])[-self.window :]
        expected[known_clients.rows] = updates
        after = {
            "nodes": known_clients.client_ids,
            "expected": expected,
            "scores": scores,
            "aggregate": update.clone(),
        }
        after |= {"steps": steps.clone(), "changes": changes.clone()}
        if context.model is not None:
            after["model"] = context.model.to(updates).clone()
        return Aggregate(update=update, trust=trust, state=after)

    def score(self, scores: Tensor, known_clients: ClientMemory, distances: Tensor) -> None:
        """Append the errors (n,) of the clients with an earlier update to their rows of `scores`."""
        old = torch.isin(known_clients.rows, known_clients.previous_rows)
        total = distances[old].sum()
        rows = known_clients.rows[old]
        latest = distances[old] / torch.where(total > 0, total, 1)
        scores[rows] = torch.cat([scores[rows, 1:], latest[:, None]], dim=1)

    def flagged_clients(self, scores: Tensor, generator: torch.Generator) -> Tensor:
        """Return the clients (n,) of high score among those with a full window of `scores` (n, window)."""
        means = scores.mean(dim=1)
        judged = (scores >= 0).all(dim=1)
        values = means[judged]
        if len(values) < 3 or gap_statistic(values.cpu().numpy(), generator) == 1:
            return torch.zeros_like(judged)
        ordered = values.sort().values
        below, _ = two_means(ordered[None])
        return judged & (means > ordered[below - 1])


def model_step(context: Context, updates: Tensor) -> Tensor | None:
    """Return the step of the global weights since the last round, (d,), or None in the first round."""
    state: State = context.state
    if context.model is not None and "model" in state:
        return context.model.to(updates) - state["model"].to(updates)
    return state["aggregate"].to(updates) if "aggregate" in state else None


def errors(expected: Tensor, here: Tensor, updates: Tensor) -> Tensor:
    """Return the distances (n,), float64, of the updates from the rows `here` of the predictions."""

    def work(columns: slice) -> Tensor:
        off = expected[here, columns] - updates[:, columns]
        size: Tensor = torch.linalg.vector_norm(off, dim=1, dtype=torch.float64)
        return size.square()

    return sum_over_chunks(work, updates, (len(updates),)).sqrt()
