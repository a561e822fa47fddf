"""Hands an attack what its card declares, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clients.attack import Attack, CraftContext, Knowledge
from clients.composite import Composite

ContextOf = Callable[[Attack, int | None], CraftContext]


def crafted(
    attack: Attack,
    own: Tensor,
    honest: Tensor,
    context_of: ContextOf,
    *,
    nodes: tuple[int, ...],
) -> Tensor:
    parts = attack.parts if isinstance(attack, Composite) else (attack,)
    for part in parts:
        if type(part).craft is Attack.craft:
            continue
        if part.card.knowledge is Knowledge.OWN:
            own = torch.cat(
                [
                    part.craft(row[None], None, context_of(part, node))
                    for row, node in zip(own, nodes, strict=True)
                ]
            )
        else:
            seen = honest if part.card.knowledge is Knowledge.OMNISCIENT else None
            own = part.craft(own, seen, context_of(part, None))
    return own
