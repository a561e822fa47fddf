"""What each attack is handed when updates are replaced: what its knowledge covers, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from clients.attack import Attack, CraftContext, Knowledge, crafts
from clients.composite import parts_of

ContextOf = Callable[[Attack, int | None], CraftContext]
"""`context_of(part, node)` is the context of one part of the attack, for one node, or with None for the
whole group: its nodes, its random stream and its memory. It is asked once for each call of `craft`."""


def crafted(
    attack: Attack,
    own: Tensor,
    honest: Tensor,
    context_of: ContextOf,
    *,
    nodes: tuple[int, ...],
    knowledge: Knowledge | None = None,
) -> Tensor:
    """Return what the malicious nodes send, (m, d), when each part of `attack` sees what it declares.

    With knowledge `own` a part is called once per row, with that row alone. A colluding one is called
    once with all malicious rows, an omniscient one with the honest rows beside them. Only an attack whose
    card says so gets the rule. The parts of a composite act one after the other on what the last one left.

    Args:
        attack: the attack; parts that do not craft are passed over.
        own: what the malicious nodes would send after their training, (m, d).
        honest: what the honest nodes sent, (h, d).
        context_of: makes the context of a call.
        nodes: the nodes behind the rows of `own`, m of them.
        knowledge: hand over this in place of what each card declares, to measure what knowledge is worth.

    Raises:
        ValueError: there is not one node for each row.
    """
    if len(nodes) != len(own):
        raise ValueError(f"nodes: got {len(nodes)} for {len(own)} rows of own, wanted one for each row.")
    sent = own
    for part in parts_of(attack):
        if crafts(part):
            sent = _crafted(part, sent, honest, context_of, nodes=nodes, knowledge=knowledge)
    return sent


def _crafted(
    part: Attack,
    own: Tensor,
    honest: Tensor,
    context_of: ContextOf,
    *,
    nodes: tuple[int, ...],
    knowledge: Knowledge | None,
) -> Tensor:
    knowledge = knowledge or part.card.knowledge
    if knowledge is Knowledge.OWN:
        rows = [
            part.craft(row[None], None, _allowed(part, None, context_of(part, node)))
            for node, row in zip(nodes, own, strict=True)
        ]
        return torch.cat(rows) if rows else own
    seen = honest if knowledge is Knowledge.OMNISCIENT and len(honest) else None
    return part.craft(own, seen, _allowed(part, seen, context_of(part, None)))


def _allowed(part: Attack, seen: Tensor | None, context: CraftContext) -> CraftContext:
    if seen is None:
        context = replace(context, seen_nodes=())
    return context if part.card.knows_rule else replace(context, rule=None, rule_kind=None, tolerated=None)
