"""Aggregation rules: pure functions on an (n, d) matrix of updates.

A rule is a frozen dataclass. Its fields are its parameters, and a call aggregates. `STRATEGIES` lists the
rules by the names that scenarios use, `PREAGGREGATORS` the steps before a rule, and `OPTIMIZERS` the steps
after it. `Chain` combines such parts into one rule.

>>> import torch
>>> from strategies import STRATEGIES
>>> STRATEGIES["krum"](byzantine=1)(torch.tensor([[1.0], [3.0], [4.0], [6.0], [50.0]])).update
tensor([3.])
"""

from strategies.afa import AFA
from strategies.aksel import Aksel
from strategies.auror import Auror
from strategies.bulyan import Bulyan
from strategies.caf import CAF
from strategies.centered_clipping import CenteredClipping
from strategies.cge import CGE
from strategies.chain import Chain
from strategies.clipped_clustering import ClippedClustering
from strategies.crfl import CRFL
from strategies.deepsight import DeepSight
from strategies.dnc import DnC
from strategies.fedavg import FedAvg
from strategies.flame import Flame
from strategies.flanders import Flanders
from strategies.fldetector import FLDetector
from strategies.fltrust import FLTrust
from strategies.foolsgold import FoolsGold
from strategies.gas import GAS
from strategies.geometric_median import GeometricMedian
from strategies.krum import Krum
from strategies.lasa import LASA
from strategies.mda import MDA
from strategies.median import Median
from strategies.monna import MoNNA
from strategies.multi_krum import MultiKrum
from strategies.norm_clipping import NormClipping, WeakDP
from strategies.optimizers import SGD, Adagrad, Adam, ServerOptimizer, Yogi
from strategies.preaggregators import ARC, NNM, Bucketing, Clipping, PreAggregator
from strategies.robust_learning_rate import RobustLearningRate
from strategies.rule import Rule
from strategies.sign_majority import SignMajority
from strategies.signguard import SignGuard
from strategies.slsgd import SLSGD
from strategies.smea import SMEA
from strategies.spectral_filter import SpectralFilter
from strategies.trimmed_mean import MeanAroundMedian, Phocas, TrimmedMean

STRATEGIES: dict[str, type[Rule]] = {
    "afa": AFA,
    "aksel": Aksel,
    "auror": Auror,
    "bulyan": Bulyan,
    "caf": CAF,
    "centered-clipping": CenteredClipping,
    "cge": CGE,
    "clipped-clustering": ClippedClustering,
    "crfl": CRFL,
    "deepsight": DeepSight,
    "dnc": DnC,
    "fedavg": FedAvg,
    "flame": Flame,
    "flanders": Flanders,
    "fldetector": FLDetector,
    "fltrust": FLTrust,
    "foolsgold": FoolsGold,
    "gas": GAS,
    "geometric-median": GeometricMedian,
    "krum": Krum,
    "lasa": LASA,
    "mda": MDA,
    "mean-around-median": MeanAroundMedian,
    "median": Median,
    "monna": MoNNA,
    "multi-krum": MultiKrum,
    "norm-clipping": NormClipping,
    "phocas": Phocas,
    "robust-learning-rate": RobustLearningRate,
    "sign-majority": SignMajority,
    "signguard": SignGuard,
    "slsgd": SLSGD,
    "smea": SMEA,
    "spectral-filter": SpectralFilter,
    "trimmed-mean": TrimmedMean,
    "weak-dp": WeakDP,
}

PREAGGREGATORS: dict[str, type[PreAggregator]] = {
    "arc": ARC,
    "bucketing": Bucketing,
    "clipping": Clipping,
    "nnm": NNM,
}

OPTIMIZERS: dict[str, type[ServerOptimizer]] = {
    "adagrad": Adagrad,
    "adam": Adam,
    "sgd": SGD,
    "yogi": Yogi,
}

__all__ = ["OPTIMIZERS", "PREAGGREGATORS", "STRATEGIES", "Chain"]
