"""Who trains: honest clients, and attacks on data, training and updates. Tensors in, tensors out.

An attack is a frozen dataclass whose fields are its knobs; it overrides the hooks of
`clients.attack.Attack` that it goes through. `ATTACKS` lists them by the name that scenarios use.
"""

from clients.adaptive_trigger import AdaptiveTrigger
from clients.alie import Alie
from clients.alternating_minimization import AlternatingMinimization
from clients.anticipate import Anticipate
from clients.attack import Attack
from clients.backdoor import Backdoor
from clients.blended import Blended
from clients.chameleon import Chameleon
from clients.clean_label import CleanLabel
from clients.constrain_and_scale import ConstrainAndScale
from clients.critical_layers import CriticalLayers
from clients.distributed_backdoor import DistributedBackdoor
from clients.edge_case import EdgeCase
from clients.gaussian_update import GaussianUpdate
from clients.inject import Inject
from clients.ipm import Ipm
from clients.label_flip import LabelFlip
from clients.model_replacement import ModelReplacement
from clients.neurotoxin import Neurotoxin
from clients.none import NoAttack
from clients.pgd import Pgd
from clients.pixel_noise import PixelNoise
from clients.pixel_perturbation import PixelPerturbation
from clients.scaled_update import ScaledUpdate
from clients.semantic_backdoor import SemanticBackdoor
from clients.sign_flip import SignFlip

ATTACKS: dict[str, type[Attack]] = {
    "adaptive-trigger": AdaptiveTrigger,
    "alie": Alie,
    "alternating-minimization": AlternatingMinimization,
    "anticipate": Anticipate,
    "backdoor": Backdoor,
    "blended": Blended,
    "chameleon": Chameleon,
    "clean-label": CleanLabel,
    "constrain-and-scale": ConstrainAndScale,
    "critical-layers": CriticalLayers,
    "distributed-backdoor": DistributedBackdoor,
    "edge-case": EdgeCase,
    "gaussian-update": GaussianUpdate,
    "inject": Inject,
    "ipm": Ipm,
    "label-flip": LabelFlip,
    "model-replacement": ModelReplacement,
    "neurotoxin": Neurotoxin,
    "none": NoAttack,
    "pgd": Pgd,
    "pixel-noise": PixelNoise,
    "pixel-perturbation": PixelPerturbation,
    "scaled-update": ScaledUpdate,
    "semantic-backdoor": SemanticBackdoor,
    "sign-flip": SignFlip,
}

__all__ = ["ATTACKS"]
