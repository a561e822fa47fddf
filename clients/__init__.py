"""Honest training, and attacks on data, training and updates, as computations on tensors.

An attack is a frozen dataclass whose fields are its parameters. It overrides the hooks of
`clients.attacks.base.Attack` in which it differs from an honest client. `ATTACKS` lists the attacks by
their names in scenarios.
"""

from clients.attacks.base import Attack, NoAttack
from clients.attacks.data.backdoor import Backdoor, Blended
from clients.attacks.data.clean_label import CleanLabel
from clients.attacks.data.distributed_backdoor import DistributedBackdoor
from clients.attacks.data.edge_case import EdgeCase
from clients.attacks.data.inject import Inject
from clients.attacks.data.label_flip import LabelFlip
from clients.attacks.data.pixels import PixelNoise, PixelPerturbation
from clients.attacks.data.semantic_backdoor import SemanticBackdoor
from clients.attacks.training.adaptive_trigger import AdaptiveTrigger
from clients.attacks.training.alternating_minimization import AlternatingMinimization
from clients.attacks.training.anticipate import Anticipate
from clients.attacks.training.chameleon import Chameleon
from clients.attacks.training.constrain_and_scale import ConstrainAndScale, ModelReplacement
from clients.attacks.training.critical_layers import CriticalLayers
from clients.attacks.training.neurotoxin import Neurotoxin
from clients.attacks.training.pgd import Pgd
from clients.attacks.updates.alie import Alie, OptimalAlie, SparseAlie
from clients.attacks.updates.anti_cge import AntiCge
from clients.attacks.updates.fang import FangKrum, FangTrimmedMean
from clients.attacks.updates.free_rider import FreeRider
from clients.attacks.updates.identical_coordinate import IdenticalCoordinate
from clients.attacks.updates.ipm import Ipm, OptimalIpm
from clients.attacks.updates.mimic import Mimic
from clients.attacks.updates.min_max import MinMax, MinSum
from clients.attacks.updates.mpaf import Mpaf
from clients.attacks.updates.poisoned_fl import PoisonedFl
from clients.attacks.updates.rop import Rop
from clients.attacks.updates.simple_updates import (
    GaussianUpdate,
    NonFiniteUpdate,
    RandomUpdate,
    ScaledUpdate,
    SignFlip,
    ZeroUpdate,
)
from clients.attacks.updates.tailored import Tailored

ATTACKS: dict[str, type[Attack]] = {
    "adaptive-trigger": AdaptiveTrigger,
    "alie": Alie,
    "alternating-minimization": AlternatingMinimization,
    "anti-cge": AntiCge,
    "anticipate": Anticipate,
    "backdoor": Backdoor,
    "blended": Blended,
    "chameleon": Chameleon,
    "clean-label": CleanLabel,
    "constrain-and-scale": ConstrainAndScale,
    "critical-layers": CriticalLayers,
    "distributed-backdoor": DistributedBackdoor,
    "edge-case": EdgeCase,
    "fang-krum": FangKrum,
    "fang-trimmed-mean": FangTrimmedMean,
    "free-rider": FreeRider,
    "gaussian-update": GaussianUpdate,
    "identical-coordinate": IdenticalCoordinate,
    "inject": Inject,
    "ipm": Ipm,
    "label-flip": LabelFlip,
    "mimic": Mimic,
    "min-max": MinMax,
    "min-sum": MinSum,
    "model-replacement": ModelReplacement,
    "mpaf": Mpaf,
    "neurotoxin": Neurotoxin,
    "non-finite-update": NonFiniteUpdate,
    "none": NoAttack,
    "optimal-alie": OptimalAlie,
    "optimal-ipm": OptimalIpm,
    "pgd": Pgd,
    "pixel-noise": PixelNoise,
    "pixel-perturbation": PixelPerturbation,
    "poisoned-fl": PoisonedFl,
    "random-update": RandomUpdate,
    "rop": Rop,
    "scaled-update": ScaledUpdate,
    "semantic-backdoor": SemanticBackdoor,
    "sign-flip": SignFlip,
    "sparse-alie": SparseAlie,
    "tailored": Tailored,
    "zero-update": ZeroUpdate,
}

__all__ = ["ATTACKS"]
