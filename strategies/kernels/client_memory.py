"""Memory of a rule per client, for rounds with any clients in any order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strategies.base import Context, State


@dataclass(frozen=True, eq=False)
class RollCall:
    """Rows of the clients of a round in tables with one row per client of all rounds so far."""

    nodes: Tensor
    """All clients so far, this round's included, ascending, (k,)."""
    here: Tensor
    """Row of the table of each client of this round, (n,)."""
    known: Tensor
    """Row of the new table of each row of the last round's table, (j,)."""

    def table(self, state: State, name: str, width: tuple[int, ...], like: Tensor, fill: float = 0) -> Tensor:
        """Return a new table (k, *width) with the rows of `state[name]`, and `fill` for new clients."""
        table = torch.full((len(self.nodes), *width), fill, dtype=like.dtype, device=like.device)
        if name in state:
            table[self.known] = state[name].to(like)
        return table


def roll_call(context: Context, n: int, device: torch.device) -> RollCall:
    """Return the rows of this round's n clients. Without `context.nodes`, client i has update i.

    >>> roll = roll_call(Context(nodes=(7, 2), state={"nodes": torch.tensor([5, 7])}), 2, torch.device("cpu"))
    >>> roll.nodes, roll.here, roll.known
    (tensor([2, 5, 7]), tensor([2, 0]), tensor([1, 2]))
    """
    present = torch.tensor(range(n) if context.nodes is None else context.nodes, device=device)
    before = context.state.get("nodes", present[:0]).to(device)
    nodes = torch.cat([before, present]).unique()
    return RollCall(nodes, torch.searchsorted(nodes, present), torch.searchsorted(nodes, before))


def stream_of(context: Context | None) -> torch.Generator:
    """Return the context's random generator. Default: a generator seeded with the round.

    With the default, a rule that draws also runs on a bare matrix and gives the same result twice.
    """
    context = context or Context()
    return context.generator or torch.Generator().manual_seed(context.round)


def gaussian(like: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Return noise with the standard deviation `deviation`, of the shape, dtype and device of `like`."""
    noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
    return noise.mul_(deviation).to(like.device)
