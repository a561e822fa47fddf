"""FLANDERS: forecast the clients' models as a time series of matrices, and reject the largest errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from strategies.base import Aggregate, Context, RuleCard
from strategies.kernels.client_memory import client_memory, round_generator
from strategies.kernels.columns import one_thread
from strategies.kernels.weighted_sums import mean_of
from strategies.parameters import positive
from strategies.tolerance import ByzantineRule


@dataclass(frozen=True, kw_only=True)
class Flanders(ByzantineRule):
    """Average the n - f updates whose models are closest to a matrix autoregressive forecast.

    Gabrielli, Belli, Matrullo, Miori, Tolomei, "Protecting Federated Learning from Extreme Model Poisoning
    Attacks via Multidimensional Time Series Anomaly Detection", arXiv 2303.16668, 2023. The models at some
    sampled coordinates form one matrix per round, whose forecast is A (last matrix) B. In the first round
    there is no forecast, and all updates are averaged.
    """

    window: int = 2
    """Number of past rounds to fit the forecast to."""
    sampled: int = 500
    """Number of coordinates to forecast."""
    iterations: int = 100
    """Number of passes of alternating least squares."""
    ridge: float = 1.0
    """Regularisation of A and of B, alpha and beta in the paper."""

    search_space: ClassVar = {"window": (2, 5), "ridge": (0.1, 1.0, 10.0)}
    card: ClassVar = RuleCard(
        paper="Gabrielli et al., arXiv 2303.16668, 2023",
        needs=("byzantine", "history", "model", "randomness"),
        precondition="n > f",
        cost="O(n d), and window n sampled numbers of memory",
        deviations="A and B start from the identity, not at random, and the models are scaled by their "
        "largest coordinate. A client that missed a round counts as having the global model, and a "
        "rejected client as having sent the aggregate. Without `context.model`, the updates are forecast.",
        translation_equivariant=False,
        scale_equivariant=False,
        mean_without_byzantine=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.window, self.sampled, self.iterations) < 1:
            raise ValueError(
                f"window, sampled, iterations: got {self.window}, {self.sampled}, {self.iterations}, "
                "expected at least 1 each."
            )
        positive(ridge=self.ridge)

    @property
    def minimum(self) -> int:
        return self.byzantine + 1  # the paper has no theorem, so nothing to relax

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        state = context.state
        n, d = updates.shape
        known_clients = client_memory(context, n, updates.device)
        columns = state["columns"].to(updates.device) if state else self.columns(d, context, updates.device)
        start = updates.new_zeros(len(columns)).double()
        if context.model is not None:
            start += context.model[columns].to(updates.device)
        now = start + updates[:, columns].double()
        starts = state.get("starts", start[None][:0]).to(start)
        past = known_clients.table(state, "past", tuple(starts.shape), start, torch.nan)
        past = torch.where(past.isnan(), starts, past)
        rows = torch.arange(n, device=updates.device)
        if self.byzantine and past.shape[1]:
            series = torch.cat([past[known_clients.rows], now[:, None]], dim=1)
            series = series / series.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
            with one_thread():
                ahead = self.forecast(series[:, :-1].permute(1, 2, 0))
            off = (series[:, -1].T - ahead).square().sum(dim=0)
            rows = off.sort(stable=True).indices[: n - self.byzantine].sort().values
        result = mean_of(rows, updates)
        sent = (start + result.update[columns].double()).expand_as(now).clone()
        sent[rows] = now[rows]
        latest = start.expand(len(past), -1).clone()
        latest[known_clients.rows] = sent
        memory = {
            "nodes": known_clients.client_ids,
            "columns": columns.clone(),
            "starts": torch.cat([starts, start[None]])[-self.window :].clone(),
            "past": torch.cat([past, latest[:, None]], dim=1)[:, -self.window :].clone(),
        }
        return Aggregate(update=result.update, trust=result.trust, state=memory)

    def columns(self, d: int, context: Context, device: torch.device) -> Tensor:
        """Draw the coordinates to forecast, once per run."""
        generator = round_generator(context)
        return torch.randperm(d, generator=generator)[: self.sampled].sort().values.to(device)

    def forecast(self, series: Tensor) -> Tensor:
        """Return the matrix (p, n) that follows the `series` (l, p, n), fitted as X[t] = A X[t-1] B.

        A is p x p, but only inner products of the columns are needed to fit A. With M = X[t-1] B of all
        rounds, column by column, and T the matrices X[t]: A = T (M'M + ridge)^-1 M'.
        """
        count, _, n = series.shape
        if count == 1:
            return series[-1]
        columns = torch.cat([*series], dim=1)
        products = columns.T @ columns
        before, after = products[:-n, :-n], products[n:, n:]
        right, ridge = torch.eye(n).to(series), self.ridge * torch.eye(len(after)).to(series)
        for _ in range(self.iterations):
            moved = torch.block_diag(*[right] * (count - 1)).T
            left = torch.linalg.solve(moved @ before @ moved.T + ridge, moved)
            shifted = (left @ before).split(n, dim=1)
            targets = [step.T @ after for step in shifted]
            normal = sum((a @ b for a, b in zip(targets, shifted, strict=True)), start=ridge[:n, :n])
            crossed = sum((a[:, t * n : (t + 1) * n] for t, a in enumerate(targets)), start=0 * right)
            right = torch.linalg.solve(normal, crossed)
        ahead: Tensor = columns[:, n:] @ (left @ products[:-n, -n:]) @ right
        return ahead
