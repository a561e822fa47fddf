"""Attacks that change a malicious client's training."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from clients.attacks.training.adaptive_trigger import AdaptiveTrigger as AdaptiveTrigger
    from clients.attacks.training.alie_backdoor import AlieBackdoor as AlieBackdoor
    from clients.attacks.training.alternating_minimization import (
        AlternatingMinimization as AlternatingMinimization,
    )
    from clients.attacks.training.anticipate import Anticipate as Anticipate
    from clients.attacks.training.chameleon import Chameleon as Chameleon
    from clients.attacks.training.constrain_and_scale import ConstrainAndScale as ConstrainAndScale
    from clients.attacks.training.constrain_and_scale import ModelReplacement as ModelReplacement
    from clients.attacks.training.critical_layers import CriticalLayers as CriticalLayers
    from clients.attacks.training.dark_fed import DarkFed as DarkFed
    from clients.attacks.training.neurotoxin import Neurotoxin as Neurotoxin
    from clients.attacks.training.pgd import Pgd as Pgd
    from clients.attacks.training.three_d_fed import ThreeDFed as ThreeDFed

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "clients.attacks.training.adaptive_trigger": ["AdaptiveTrigger"],
        "clients.attacks.training.alie_backdoor": ["AlieBackdoor"],
        "clients.attacks.training.alternating_minimization": ["AlternatingMinimization"],
        "clients.attacks.training.anticipate": ["Anticipate"],
        "clients.attacks.training.chameleon": ["Chameleon"],
        "clients.attacks.training.constrain_and_scale": ["ConstrainAndScale", "ModelReplacement"],
        "clients.attacks.training.critical_layers": ["CriticalLayers"],
        "clients.attacks.training.dark_fed": ["DarkFed"],
        "clients.attacks.training.neurotoxin": ["Neurotoxin"],
        "clients.attacks.training.pgd": ["Pgd"],
        "clients.attacks.training.three_d_fed": ["ThreeDFed"],
    },
)
