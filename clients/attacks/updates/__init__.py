"""Attacks that craft the update that a malicious client sends."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from clients.attacks.updates.adaptive_mimic import AdaptiveMimic as AdaptiveMimic
    from clients.attacks.updates.alie import Alie as Alie
    from clients.attacks.updates.alie import OptimalAlie as OptimalAlie
    from clients.attacks.updates.alie import SparseAlie as SparseAlie
    from clients.attacks.updates.anti_cge import AntiCge as AntiCge
    from clients.attacks.updates.anti_clusters import AntiClippedClustering as AntiClippedClustering
    from clients.attacks.updates.anti_clusters import AntiSignGuard as AntiSignGuard
    from clients.attacks.updates.claimed_examples import ClaimedExamples as ClaimedExamples
    from clients.attacks.updates.fang import FangKrum as FangKrum
    from clients.attacks.updates.fang import FangTrimmedMean as FangTrimmedMean
    from clients.attacks.updates.free_rider import FreeRider as FreeRider
    from clients.attacks.updates.identical_coordinate import IdenticalCoordinate as IdenticalCoordinate
    from clients.attacks.updates.ipm import Ipm as Ipm
    from clients.attacks.updates.ipm import OptimalIpm as OptimalIpm
    from clients.attacks.updates.mimic import Mimic as Mimic
    from clients.attacks.updates.min_max import MinMax as MinMax
    from clients.attacks.updates.min_max import MinSum as MinSum
    from clients.attacks.updates.min_max import Tailored as Tailored
    from clients.attacks.updates.mpaf import Mpaf as Mpaf
    from clients.attacks.updates.partial_drop import PartialDrop as PartialDrop
    from clients.attacks.updates.poisoned_fl import PoisonedFl as PoisonedFl
    from clients.attacks.updates.rop import Rop as Rop
    from clients.attacks.updates.simple_updates import GaussianUpdate as GaussianUpdate
    from clients.attacks.updates.simple_updates import NonFiniteUpdate as NonFiniteUpdate
    from clients.attacks.updates.simple_updates import RandomUpdate as RandomUpdate
    from clients.attacks.updates.simple_updates import ScaledUpdate as ScaledUpdate
    from clients.attacks.updates.simple_updates import SignFlip as SignFlip
    from clients.attacks.updates.simple_updates import ZeroUpdate as ZeroUpdate

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "clients.attacks.updates.adaptive_mimic": ["AdaptiveMimic"],
        "clients.attacks.updates.alie": ["Alie", "OptimalAlie", "SparseAlie"],
        "clients.attacks.updates.anti_cge": ["AntiCge"],
        "clients.attacks.updates.anti_clusters": ["AntiClippedClustering", "AntiSignGuard"],
        "clients.attacks.updates.claimed_examples": ["ClaimedExamples"],
        "clients.attacks.updates.fang": ["FangKrum", "FangTrimmedMean"],
        "clients.attacks.updates.free_rider": ["FreeRider"],
        "clients.attacks.updates.identical_coordinate": ["IdenticalCoordinate"],
        "clients.attacks.updates.ipm": ["Ipm", "OptimalIpm"],
        "clients.attacks.updates.mimic": ["Mimic"],
        "clients.attacks.updates.min_max": ["MinMax", "MinSum", "Tailored"],
        "clients.attacks.updates.mpaf": ["Mpaf"],
        "clients.attacks.updates.partial_drop": ["PartialDrop"],
        "clients.attacks.updates.poisoned_fl": ["PoisonedFl"],
        "clients.attacks.updates.rop": ["Rop"],
        "clients.attacks.updates.simple_updates": [
            "GaussianUpdate",
            "NonFiniteUpdate",
            "RandomUpdate",
            "ScaledUpdate",
            "SignFlip",
            "ZeroUpdate",
        ],
    },
)
