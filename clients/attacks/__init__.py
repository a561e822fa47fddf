"""The attacks: their base class, their composition, and one folder per stage that they change."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from clients.attacks.base import Attack as Attack
    from clients.attacks.base import AttackCard as AttackCard
    from clients.attacks.base import AttackGoal as AttackGoal
    from clients.attacks.base import ClientContext as ClientContext
    from clients.attacks.base import CraftContext as CraftContext
    from clients.attacks.base import Knowledge as Knowledge
    from clients.attacks.base import NoAttack as NoAttack
    from clients.attacks.base import Range as Range
    from clients.attacks.base import SearchSpace as SearchSpace
    from clients.attacks.composite import Composite as Composite

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "clients.attacks.base": [
            "Attack",
            "AttackCard",
            "AttackGoal",
            "ClientContext",
            "CraftContext",
            "Knowledge",
            "NoAttack",
            "Range",
            "SearchSpace",
        ],
        "clients.attacks.composite": ["Composite"],
    },
)
