"""FLDetector: reject clients whose updates are not consistent with their earlier updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.chunks import sum_over_chunks
from strategies.combination import combine
from strategies.gap_statistic import gap_statistic
from strategies.lbfgs import hessian_product
from strategies.node_memory import RollCall, roll_call
from strategies.noise import stream_of
from strategies.rule import Aggregate, Card, Context, Rule, State
from strategies.two_means import two_means


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

    card: ClassVar = Card(
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
        roll = roll_call(context, n, updates.device)
        expected = roll.table(state, "expected", (d,), updates)
        scores = roll.table(state, "scores", (self.window,), updates.new_zeros(0).double(), -1)
        step = model_step(context, updates)
        steps, changes = (state.get(name, updates[:0]).to(updates) for name in ("steps", "changes"))
        if step is not None and len(steps):
            expected += hessian_product(steps, changes, step)
            self.score(scores, roll, errors(expected, roll.here, updates))
        kept = ~self.suspects(scores[roll.here], stream_of(context))
        trust = kept.double() / kept.sum()
        update = combine(trust, updates)
        if step is not None and bool(step.any()):
            change = update - state["aggregate"].to(updates)
            steps = torch.cat([steps, step[None]])[-self.window :]
            changes = torch.cat([changes, change[None]])[-self.window :]
        expected[roll.here] = updates
        after = {"nodes": roll.nodes, "expected": expected, "scores": scores, "aggregate": update.clone()}
        after |= {"steps": steps.clone(), "changes": changes.clone()}
        if context.model is not None:
            after["model"] = context.model.to(updates).clone()
        return Aggregate(update=update, trust=trust, state=after)

    def score(self, scores: Tensor, roll: RollCall, distances: Tensor) -> None:
        """Append the errors (n,) of the clients with an earlier update to their rows of `scores`."""
        old = torch.isin(roll.here, roll.known)
        total = distances[old].sum()
        rows = roll.here[old]
        latest = distances[old] / torch.where(total > 0, total, 1)
        scores[rows] = torch.cat([scores[rows, 1:], latest[:, None]], dim=1)

    def suspects(self, scores: Tensor, generator: torch.Generator) -> Tensor:
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
