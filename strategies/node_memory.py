"""What a rule remembers of each node, whichever nodes take part in a round and in whatever order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strategies.rule import Context, State


@dataclass(frozen=True, eq=False)
class RollCall:
    """Says where the nodes of a round stand in tables with one row for every node met so far."""

    nodes: Tensor
    """(k,), every node met so far, this round's included, ascending."""
    here: Tensor
    """(n,), the table's row of each of this round's nodes."""
    known: Tensor
    """(j,), the new table's row of each row of the last round's table."""

    def table(self, state: State, name: str, width: tuple[int, ...], like: Tensor, fill: float = 0) -> Tensor:
        """Return a fresh table (k, *width): what `state` holds under `name`, and `fill` for new nodes."""
        table = torch.full((len(self.nodes), *width), fill, dtype=like.dtype, device=like.device)
        if name in state:
            table[self.known] = state[name].to(like)
        return table


def roll_call(context: Context, n: int, device: torch.device) -> RollCall:
    """Return where this round's n nodes stand; without `context.nodes`, row i is node i.

    >>> roll = roll_call(Context(nodes=(7, 2), state={"nodes": torch.tensor([5, 7])}), 2, torch.device("cpu"))
    >>> roll.nodes, roll.here, roll.known
    (tensor([2, 5, 7]), tensor([2, 0]), tensor([1, 2]))
    """
    present = torch.tensor(range(n) if context.nodes is None else context.nodes, device=device)
    before = context.state.get("nodes", present[:0]).to(device)
    nodes = torch.cat([before, present]).unique()
    return RollCall(nodes, torch.searchsorted(nodes, present), torch.searchsorted(nodes, before))
