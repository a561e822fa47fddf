"""Honest training, and attacks on data, training and updates, as computations on tensors.

An attack is a frozen dataclass whose fields are its parameters. It overrides the hooks of
`clients.attacks.base.Attack` in which it differs from an honest client. `ATTACKS` lists the attacks by
their names in scenarios.
"""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from clients.attacks.registry import ATTACKS as ATTACKS
    from clients.checks import check_attack as check_attack

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "clients.attacks.registry": ["ATTACKS"],
        "clients.checks": ["check_attack"],
    },
)
