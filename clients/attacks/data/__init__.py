"""Attacks that poison a malicious client's data."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from clients.attacks.data.backdoor import Backdoor as Backdoor
    from clients.attacks.data.backdoor import Blended as Blended
    from clients.attacks.data.clean_label import CleanLabel as CleanLabel
    from clients.attacks.data.distributed_backdoor import DistributedBackdoor as DistributedBackdoor
    from clients.attacks.data.edge_case import EdgeCase as EdgeCase
    from clients.attacks.data.fcba import Fcba as Fcba
    from clients.attacks.data.inject import Inject as Inject
    from clients.attacks.data.label_flip import LabelFlip as LabelFlip
    from clients.attacks.data.pixels import PixelNoise as PixelNoise
    from clients.attacks.data.pixels import PixelPerturbation as PixelPerturbation
    from clients.attacks.data.semantic_backdoor import SemanticBackdoor as SemanticBackdoor
    from clients.attacks.data.sig import Sig as Sig
    from clients.attacks.data.token_backdoor import TokenBackdoor as TokenBackdoor
    from clients.attacks.data.wanet import WaNet as WaNet

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "clients.attacks.data.backdoor": ["Backdoor", "Blended"],
        "clients.attacks.data.clean_label": ["CleanLabel"],
        "clients.attacks.data.distributed_backdoor": ["DistributedBackdoor"],
        "clients.attacks.data.edge_case": ["EdgeCase"],
        "clients.attacks.data.fcba": ["Fcba"],
        "clients.attacks.data.inject": ["Inject"],
        "clients.attacks.data.label_flip": ["LabelFlip"],
        "clients.attacks.data.pixels": ["PixelNoise", "PixelPerturbation"],
        "clients.attacks.data.semantic_backdoor": ["SemanticBackdoor"],
        "clients.attacks.data.sig": ["Sig"],
        "clients.attacks.data.token_backdoor": ["TokenBackdoor"],
        "clients.attacks.data.wanet": ["WaNet"],
    },
)
