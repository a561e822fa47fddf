"""Aggregation rules: pure functions on an (n, d) matrix of updates.

A rule is a frozen dataclass whose fields are its knobs; calling it aggregates. `STRATEGIES` lists them by
the name that scenarios use.

>>> import torch
>>> from strategies import STRATEGIES
>>> STRATEGIES["krum"](byzantine=1)(torch.tensor([[1.0], [3.0], [4.0], [6.0], [50.0]])).update
tensor([3.])
"""

from strategies.fedavg import FedAvg
from strategies.krum import Krum
from strategies.median import Median
from strategies.multi_krum import MultiKrum
from strategies.rule import Rule
from strategies.trimmed_mean import TrimmedMean

STRATEGIES: dict[str, type[Rule]] = {
    "fedavg": FedAvg,
    "krum": Krum,
    "median": Median,
    "multi-krum": MultiKrum,
    "trimmed-mean": TrimmedMean,
}

__all__ = ["STRATEGIES"]
