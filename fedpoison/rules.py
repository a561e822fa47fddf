"""Aggregation rules, pre-aggregators and server optimizers: tensors in, tensors out.

>>> import torch
>>> from fedpoison.rules import Krum
>>> Krum(byzantine=1)(torch.tensor([[1.0], [3.0], [4.0], [6.0], [50.0]])).update
tensor([3.])
"""

from strategies.base import Aggregate as Aggregate
from strategies.base import Context as Context
from strategies.base import Rule as Rule
from strategies.base import RuleCard as RuleCard
from strategies.optimizers import SGD as SGD
from strategies.optimizers import Adagrad as Adagrad
from strategies.optimizers import Adam as Adam
from strategies.optimizers import Yogi as Yogi
from strategies.pipeline import Pipeline as Pipeline
from strategies.preaggregators import ARC as ARC
from strategies.preaggregators import NNM as NNM
from strategies.preaggregators import Bucketing as Bucketing
from strategies.preaggregators import Clipping as Clipping
from strategies.preaggregators import Foundation as Foundation
from strategies.rules.afa import AFA as AFA
from strategies.rules.aksel import Aksel as Aksel
from strategies.rules.alignins import AlignIns as AlignIns
from strategies.rules.auror import Auror as Auror
from strategies.rules.bulyan import Bulyan as Bulyan
from strategies.rules.byzantine_sgd import ByzantineSGD as ByzantineSGD
from strategies.rules.caf import CAF as CAF
from strategies.rules.centered_clipping import CenteredClipping as CenteredClipping
from strategies.rules.cge import CGE as CGE
from strategies.rules.clipped_clustering import ClippedClustering as ClippedClustering
from strategies.rules.crfl import CRFL as CRFL
from strategies.rules.deepsight import DeepSight as DeepSight
from strategies.rules.dnc import DnC as DnC
from strategies.rules.fedavg import FedAvg as FedAvg
from strategies.rules.fedseca import FedSECA as FedSECA
from strategies.rules.flame import Flame as Flame
from strategies.rules.flanders import Flanders as Flanders
from strategies.rules.flare import FLARE as FLARE
from strategies.rules.fldetector import FLDetector as FLDetector
from strategies.rules.fltrust import FLTrust as FLTrust
from strategies.rules.foolsgold import FoolsGold as FoolsGold
from strategies.rules.freqfed import FreqFed as FreqFed
from strategies.rules.gas import GAS as GAS
from strategies.rules.geometric_median import GeometricMedian as GeometricMedian
from strategies.rules.krum import Krum as Krum
from strategies.rules.lasa import LASA as LASA
from strategies.rules.lfighter import LFighter as LFighter
from strategies.rules.masa import MASA as MASA
from strategies.rules.mda import MDA as MDA
from strategies.rules.median import Median as Median
from strategies.rules.monna import MoNNA as MoNNA
from strategies.rules.multi_krum import MultiKrum as MultiKrum
from strategies.rules.multi_metrics import MultiMetrics as MultiMetrics
from strategies.rules.norm_clipping import NormClipping as NormClipping
from strategies.rules.norm_clipping import WeakDP as WeakDP
from strategies.rules.residual_reweighting import ResidualReweighting as ResidualReweighting
from strategies.rules.rflbat import RFLBAT as RFLBAT
from strategies.rules.robust_learning_rate import RobustLearningRate as RobustLearningRate
from strategies.rules.safeguard import Safeguard as Safeguard
from strategies.rules.sequential_clipping import SequentialClipping as SequentialClipping
from strategies.rules.sign_majority import SignMajority as SignMajority
from strategies.rules.signguard import SignGuard as SignGuard
from strategies.rules.slsgd import SLSGD as SLSGD
from strategies.rules.smea import SMEA as SMEA
from strategies.rules.sparsefed import SparseFed as SparseFed
from strategies.rules.spectral_filter import SpectralFilter as SpectralFilter
from strategies.rules.three_sigma import ThreeSigma as ThreeSigma
from strategies.rules.trimmed_mean import MeanAroundMedian as MeanAroundMedian
from strategies.rules.trimmed_mean import Phocas as Phocas
from strategies.rules.trimmed_mean import TrimmedMean as TrimmedMean
from strategies.tolerance import ByzantineRule as ByzantineRule
from strategies.tolerance import RelaxableRule as RelaxableRule
