"""Who trains: honest clients, and attacks on data, training and updates. Tensors in, tensors out.

An attack is a frozen dataclass whose fields are its knobs; it overrides the hooks of
`clients.attack.Attack` that it goes through. `ATTACKS` lists them by the name that scenarios use.
"""

from clients.alie import Alie
from clients.anti_cge import AntiCge
from clients.attack import Attack
from clients.backdoor import Backdoor
from clients.fang_krum import FangKrum
from clients.fang_trimmed_mean import FangTrimmedMean
from clients.free_rider import FreeRider
from clients.gaussian_update import GaussianUpdate
from clients.identical_coordinate import IdenticalCoordinate
from clients.inject import Inject
from clients.ipm import Ipm
from clients.label_flip import LabelFlip
from clients.mimic import Mimic
from clients.min_max import MinMax
from clients.min_sum import MinSum
from clients.mpaf import Mpaf
from clients.non_finite_update import NonFiniteUpdate
from clients.none import NoAttack
from clients.optimal_alie import OptimalAlie
from clients.optimal_ipm import OptimalIpm
from clients.pixel_noise import PixelNoise
from clients.poisoned_fl import PoisonedFl
from clients.random_update import RandomUpdate
from clients.rop import Rop
from clients.scaled_update import ScaledUpdate
from clients.sign_flip import SignFlip
from clients.sparse_alie import SparseAlie
from clients.tailored import Tailored
from clients.zero_update import ZeroUpdate

ATTACKS: dict[str, type[Attack]] = {
    "alie": Alie,
    "anti-cge": AntiCge,
    "backdoor": Backdoor,
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
    "mpaf": Mpaf,
    "non-finite-update": NonFiniteUpdate,
    "none": NoAttack,
    "optimal-alie": OptimalAlie,
    "optimal-ipm": OptimalIpm,
    "pixel-noise": PixelNoise,
    "poisoned-fl": PoisonedFl,
    "random-update": RandomUpdate,
    "rop": Rop,
    "scaled-update": ScaledUpdate,
    "sign-flip": SignFlip,
    "sparse-alie": SparseAlie,
    "tailored": Tailored,
    "zero-update": ZeroUpdate,
}

__all__ = ["ATTACKS"]
