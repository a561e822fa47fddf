"""Aggregation rules: pure functions on an (n, d) matrix of updates.

A rule is a frozen dataclass whose fields are its knobs; calling it aggregates. `STRATEGIES` lists them by
the name that scenarios use.

>>> import torch
>>> from strategies import STRATEGIES
>>> STRATEGIES["krum"](byzantine=1)(torch.tensor([[1.0], [3.0], [4.0], [6.0], [50.0]])).update
tensor([3.])
"""

from strategies.afa import AFA
from strategies.auror import Auror
from strategies.bulyan import Bulyan
from strategies.clipped_clustering import ClippedClustering
from strategies.deepsight import DeepSight
from strategies.fedavg import FedAvg
from strategies.flame import Flame
from strategies.flanders import Flanders
from strategies.fldetector import FLDetector
from strategies.fltrust import FLTrust
from strategies.foolsgold import FoolsGold
from strategies.krum import Krum
from strategies.lasa import LASA
from strategies.mean_around_median import MeanAroundMedian
from strategies.median import Median
from strategies.multi_krum import MultiKrum
from strategies.phocas import Phocas
from strategies.robust_learning_rate import RobustLearningRate
from strategies.rule import Rule
from strategies.sign_majority import SignMajority
from strategies.signguard import SignGuard
from strategies.slsgd import SLSGD
from strategies.trimmed_mean import TrimmedMean

STRATEGIES: dict[str, type[Rule]] = {
    "afa": AFA,
    "auror": Auror,
    "bulyan": Bulyan,
    "clipped-clustering": ClippedClustering,
    "deepsight": DeepSight,
    "fedavg": FedAvg,
    "flame": Flame,
    "flanders": Flanders,
    "fldetector": FLDetector,
    "fltrust": FLTrust,
    "foolsgold": FoolsGold,
    "krum": Krum,
    "lasa": LASA,
    "mean-around-median": MeanAroundMedian,
    "median": Median,
    "multi-krum": MultiKrum,
    "phocas": Phocas,
    "robust-learning-rate": RobustLearningRate,
    "sign-majority": SignMajority,
    "signguard": SignGuard,
    "slsgd": SLSGD,
    "trimmed-mean": TrimmedMean,
}

__all__ = ["STRATEGIES"]
