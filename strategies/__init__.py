"""Aggregation rules: pure functions on an (n, d) matrix of updates.

A rule is a frozen dataclass. Its fields are its parameters, and a call aggregates. `STRATEGIES` lists the
rules by the names that scenarios use, `PREAGGREGATORS` the steps before a rule, and `OPTIMIZERS` the steps
after it. `Pipeline` combines such parts into one rule.

>>> import torch
>>> from strategies import STRATEGIES
>>> STRATEGIES["krum"](byzantine=1)(torch.tensor([[1.0], [3.0], [4.0], [6.0], [50.0]])).update
tensor([3.])
"""

from strategies.base import Rule
from strategies.optimizers import SGD, Adagrad, Adam, ServerOptimizer, Yogi
from strategies.pipeline import Pipeline
from strategies.preaggregators import ARC, NNM, Bucketing, Clipping, Foundation, PreAggregator
from strategies.rules.afa import AFA
from strategies.rules.aksel import Aksel
from strategies.rules.alignins import AlignIns
from strategies.rules.auror import Auror
from strategies.rules.bulyan import Bulyan
from strategies.rules.byzantine_sgd import ByzantineSGD
from strategies.rules.caf import CAF
from strategies.rules.centered_clipping import CenteredClipping
from strategies.rules.cge import CGE
from strategies.rules.clipped_clustering import ClippedClustering
from strategies.rules.crfl import CRFL
from strategies.rules.deepsight import DeepSight
from strategies.rules.dnc import DnC
from strategies.rules.fedavg import FedAvg
from strategies.rules.fedseca import FedSECA
from strategies.rules.flame import Flame
from strategies.rules.flanders import Flanders
from strategies.rules.flare import FLARE
from strategies.rules.fldetector import FLDetector
from strategies.rules.fltrust import FLTrust
from strategies.rules.foolsgold import FoolsGold
from strategies.rules.freqfed import FreqFed
from strategies.rules.gas import GAS
from strategies.rules.geometric_median import GeometricMedian
from strategies.rules.krum import Krum
from strategies.rules.lasa import LASA
from strategies.rules.lfighter import LFighter
from strategies.rules.masa import MASA
from strategies.rules.mda import MDA
from strategies.rules.median import Median
from strategies.rules.monna import MoNNA
from strategies.rules.multi_krum import MultiKrum
from strategies.rules.multi_metrics import MultiMetrics
from strategies.rules.norm_clipping import NormClipping, WeakDP
from strategies.rules.residual_reweighting import ResidualReweighting
from strategies.rules.rflbat import RFLBAT
from strategies.rules.robust_learning_rate import RobustLearningRate
from strategies.rules.safeguard import Safeguard
from strategies.rules.sequential_clipping import SequentialClipping
from strategies.rules.sign_majority import SignMajority
from strategies.rules.signguard import SignGuard
from strategies.rules.slsgd import SLSGD
from strategies.rules.smea import SMEA
from strategies.rules.sparsefed import SparseFed
from strategies.rules.spectral_filter import SpectralFilter
from strategies.rules.three_sigma import ThreeSigma
from strategies.rules.trimmed_mean import MeanAroundMedian, Phocas, TrimmedMean

STRATEGIES: dict[str, type[Rule]] = {
    "afa": AFA,
    "aksel": Aksel,
    "alignins": AlignIns,
    "auror": Auror,
    "bulyan": Bulyan,
    "byzantine-sgd": ByzantineSGD,
    "caf": CAF,
    "centered-clipping": CenteredClipping,
    "cge": CGE,
    "clipped-clustering": ClippedClustering,
    "crfl": CRFL,
    "deepsight": DeepSight,
    "dnc": DnC,
    "fedavg": FedAvg,
    "fedseca": FedSECA,
    "flame": Flame,
    "flanders": Flanders,
    "flare": FLARE,
    "fldetector": FLDetector,
    "fltrust": FLTrust,
    "foolsgold": FoolsGold,
    "freqfed": FreqFed,
    "gas": GAS,
    "geometric-median": GeometricMedian,
    "krum": Krum,
    "lasa": LASA,
    "lfighter": LFighter,
    "masa": MASA,
    "mda": MDA,
    "mean-around-median": MeanAroundMedian,
    "median": Median,
    "monna": MoNNA,
    "multi-krum": MultiKrum,
    "multi-metrics": MultiMetrics,
    "norm-clipping": NormClipping,
    "phocas": Phocas,
    "residual-reweighting": ResidualReweighting,
    "rflbat": RFLBAT,
    "robust-learning-rate": RobustLearningRate,
    "safeguard": Safeguard,
    "sequential-clipping": SequentialClipping,
    "sign-majority": SignMajority,
    "signguard": SignGuard,
    "slsgd": SLSGD,
    "smea": SMEA,
    "sparsefed": SparseFed,
    "spectral-filter": SpectralFilter,
    "three-sigma": ThreeSigma,
    "trimmed-mean": TrimmedMean,
    "weak-dp": WeakDP,
}

PREAGGREGATORS: dict[str, type[PreAggregator]] = {
    "arc": ARC,
    "bucketing": Bucketing,
    "clipping": Clipping,
    "foundation": Foundation,
    "nnm": NNM,
}

OPTIMIZERS: dict[str, type[ServerOptimizer]] = {
    "adagrad": Adagrad,
    "adam": Adam,
    "sgd": SGD,
    "yogi": Yogi,
}

__all__ = ["OPTIMIZERS", "PREAGGREGATORS", "STRATEGIES", "Pipeline"]
