"""Attacks on data, training and updates. Their fields are their parameters.

>>> from fedpoison.attacks import Alie, Backdoor, Composite
>>> Composite(parts=(Backdoor(target=3), Alie(z=1.0))).parts[0].target
3
"""

from clients.attacks.base import Attack as Attack
from clients.attacks.base import AttackCard as AttackCard
from clients.attacks.base import AttackGoal as AttackGoal
from clients.attacks.base import AttackSetting as AttackSetting
from clients.attacks.base import ClientContext as ClientContext
from clients.attacks.base import CraftContext as CraftContext
from clients.attacks.base import Knowledge as Knowledge
from clients.attacks.base import NoAttack as NoAttack
from clients.attacks.base import Range as Range
from clients.attacks.base import SearchSpace as SearchSpace
from clients.attacks.composite import Composite as Composite
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
from clients.bounds import Positive as Positive
