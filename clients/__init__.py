"""Who trains: honest clients, and attacks on data, training and updates. Tensors in, tensors out.

An attack is a frozen dataclass whose fields are its knobs; it overrides the hooks of
`clients.attack.Attack` that it goes through. `ATTACKS` lists them by the name that scenarios use.
"""

from clients.alie import Alie
from clients.attack import Attack
from clients.backdoor import Backdoor
from clients.gaussian_update import GaussianUpdate
from clients.inject import Inject
from clients.ipm import Ipm
from clients.label_flip import LabelFlip
from clients.none import NoAttack
from clients.pixel_noise import PixelNoise
from clients.scaled_update import ScaledUpdate
from clients.sign_flip import SignFlip

ATTACKS: dict[str, type[Attack]] = {
    "alie": Alie,
    "backdoor": Backdoor,
    "gaussian-update": GaussianUpdate,
    "inject": Inject,
    "ipm": Ipm,
    "label-flip": LabelFlip,
    "none": NoAttack,
    "pixel-noise": PixelNoise,
    "scaled-update": ScaledUpdate,
    "sign-flip": SignFlip,
}

__all__ = ["ATTACKS"]
