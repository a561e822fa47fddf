"""Memory of a rule per client, for rounds with any clients in any order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strategies.base import Context, State


@dataclass(frozen=True, eq=False)
class ClientMemory:
    """Rows of the clients of a round in tables with one row per client of all rounds so far."""

    client_ids: Tensor
    """All clients so far, this round's included, ascending, (k,)."""
    rows: Tensor
    """Row of the table of each client of this round, (n,)."""
    previous_rows: Tensor
    """Row of the new table of each row of the last round's table, (j,)."""

    def table(self, state: State, name: str, width: tuple[int, ...], like: Tensor, fill: float = 0) -> Tensor:
        """Return a new table (k, *width) with the rows of `state[name]`, and `fill` for new clients."""
        table = torch.full((len(self.client_ids), *width), fill, dtype=like.dtype, device=like.device)
        if name in state:
            table[self.previous_rows] = state[name].to(like)
        return table


def client_memory(context: Context, n: int, device: torch.device) -> ClientMemory:
    """Return the rows of this round's n clients. Without `context.client_ids`, client i has update i.

    >>> context = Context(client_ids=(7, 2), state={"nodes": torch.tensor([5, 7])})
    >>> known_clients = client_memory(context, 2, torch.device("cpu"))
    >>> known_clients.client_ids, known_clients.rows, known_clients.previous_rows
    (tensor([2, 5, 7]), tensor([2, 0]), tensor([1, 2]))
    """
    present = torch.tensor(range(n) if context.client_ids is None else context.client_ids, device=device)
    before = context.state.get("nodes", present[:0]).to(device)
    client_ids = torch.cat([before, present]).unique()
    return ClientMemory(
        client_ids, torch.searchsorted(client_ids, present), torch.searchsorted(client_ids, before)
    )


def round_generator(context: Context | None) -> torch.Generator:
    """Return the context's random generator. Default: a generator seeded with the round.

    With the default, a rule that draws also runs on a bare matrix and gives the same result twice.
    """
    context = context or Context()
    return context.generator or torch.Generator().manual_seed(context.round)


def gaussian(like: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Return noise with the standard deviation `deviation`, of the shape, dtype and device of `like`."""
    noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
    return noise.mul_(deviation).to(like.device)
