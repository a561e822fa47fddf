"""What a node is in one round: honest, or one of a group of attackers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clients.attack import Attack, NoAttack
from fedpoison.attackers import Attackers


@dataclass(frozen=True)
class Role:
    """What a node is in one round."""

    attack: Attack
    """`NoAttack` for an honest node, and for one whose attack is not due."""
    rank: int = 0
    """Its position in its group of attackers."""
    size: int = 1
    """How many nodes the group has."""


def role_of(
    node: int, server_round: int, groups: Sequence[Attackers], pools: Sequence[Collection[int]]
) -> Role:
    """Return what `node` is in this round.

    Args:
        node: which one.
        server_round: counts from 1.
        groups: the groups of attackers.
        pools: the nodes of each group in this round.
    """
    for attackers, pool in zip(groups, pools, strict=True):
        if node in pool:
            attack = attackers.attack if attackers.act(server_round) else NoAttack()
            return Role(attack, rank=sorted(pool).index(node), size=len(pool))
    return Role(NoAttack())
