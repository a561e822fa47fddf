"""Who trains: honest clients, and attacks on data, training and updates. Tensors in, tensors out.

An attack is a frozen dataclass whose fields are its parameters. It overrides those hooks of
`clients.attack.Attack` in which it differs from an honest client. `ATTACKS` lists the attacks by the name
that scenarios use.
"""

from clients.adaptive_trigger import AdaptiveTrigger
from clients.alie import Alie, OptimalAlie, SparseAlie
from clients.alternating_minimization import AlternatingMinimization
from clients.anti_cge import AntiCge
from clients.anticipate import Anticipate
from clients.attack import Attack, NoAttack
from clients.backdoor import Backdoor, Blended
from clients.chameleon import Chameleon
from clients.clean_label import CleanLabel
from clients.constrain_and_scale import ConstrainAndScale
from clients.critical_layers import CriticalLayers
from clients.distributed_backdoor import DistributedBackdoor
from clients.edge_case import EdgeCase
from clients.fang_krum import FangKrum
from clients.fang_trimmed_mean import FangTrimmedMean
from clients.free_rider import FreeRider
from clients.identical_coordinate import IdenticalCoordinate
from clients.inject import Inject
from clients.ipm import Ipm, OptimalIpm
from clients.label_flip import LabelFlip
from clients.mimic import Mimic
from clients.min_max import MinMax, MinSum
from clients.model_replacement import ModelReplacement
from clients.mpaf import Mpaf
from clients.neurotoxin import Neurotoxin
from clients.pgd import Pgd
from clients.pixels import PixelNoise, PixelPerturbation
from clients.poisoned_fl import PoisonedFl
from clients.rop import Rop
from clients.semantic_backdoor import SemanticBackdoor
from clients.simple_updates import (
    GaussianUpdate,
    NonFiniteUpdate,
    RandomUpdate,
    ScaledUpdate,
    SignFlip,
    ZeroUpdate,
)
from clients.tailored import Tailored

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
