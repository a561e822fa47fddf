"""The attacks: their base class, their composition, and one folder per stage that they change."""

from clients.attacks.base import (
    Attack,
    AttackCard,
    AttackGoal,
    ClientContext,
    CraftContext,
    Knowledge,
    NoAttack,
    Range,
    SearchSpace,
)
from clients.attacks.composite import Composite

__all__ = [
    "Attack",
    "AttackCard",
    "AttackGoal",
    "ClientContext",
    "Composite",
    "CraftContext",
    "Knowledge",
    "NoAttack",
    "Range",
    "SearchSpace",
]
