"""Rules and attacks in any Flower app: strategies that wrap others, a client mod, and poisoned data sets."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from fedpoison.flower.attacked_strategy import AttackedStrategy as AttackedStrategy
    from fedpoison.flower.client_mod import update_mod as update_mod
    from fedpoison.flower.poisoned_data import poison_dataset as poison_dataset
    from fedpoison.flower.robust_strategy import RobustStrategy as RobustStrategy

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "fedpoison.flower.attacked_strategy": ["AttackedStrategy"],
        "fedpoison.flower.client_mod": ["update_mod"],
        "fedpoison.flower.poisoned_data": ["poison_dataset"],
        "fedpoison.flower.robust_strategy": ["RobustStrategy"],
    },
)
