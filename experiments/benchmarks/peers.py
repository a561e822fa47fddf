"""Aggregations of ByzFL and Flower, as a comparison for the same rules of fedpoison."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from torch import Tensor

Aggregation = Callable[[], object]
AVAILABLE_SHARE = 0.8
"""Usable share of the free memory."""


@dataclass(frozen=True)
class Peer:
    """Rule of another library."""

    library: str
    run: Aggregation
    cells: float
    """Largest number of float32 values in memory in addition to the input."""

    def fits(self) -> bool:
        """Return whether the rule can run in the free memory."""
        return 4 * self.cells < AVAILABLE_SHARE * available_memory()


def peers(rule: str, updates: Tensor, byzantine: int) -> list[Peer]:
    """Return the versions of `rule`, a spec without parameters, in other libraries, on `updates` (n, d)."""
    return [*_byzfl(rule, updates, byzantine), *_flower(rule, updates, byzantine)]


def available_memory() -> int:
    """Return the free memory of a Linux system in bytes; on other systems 4 GiB."""
    with contextlib.suppress(OSError), open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return 4 * 1024**3


def _byzfl(rule: str, updates: Tensor, f: int) -> list[Peer]:
    library = _module("byzfl")
    if library is None:
        return []
    rules: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "fedavg": library.Average,
        "caf": lambda: library.CAF(f),
        "centered-clipping": library.CenteredClipping,
        "geometric-median": library.GeometricMedian,
        "krum": lambda: library.Krum(f),
        "mda": lambda: library.MDA(f),
        "mean-around-median": lambda: library.Meamed(f),
        "median": library.Median,
        "monna": lambda: library.MoNNA(f),
        "multi-krum": lambda: library.MultiKrum(f),
        "smea": lambda: library.SMEA(f),
        "trimmed-mean": lambda: library.TrMean(f),
    }
    before: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "arc": lambda: library.ARC(f),
        "bucketing": lambda: library.Bucketing(2),
        "clipping": lambda: library.Clipping(2.0),
        "nnm": lambda: library.NNM(f),
    }
    *pre, last = rule.split(" | ")
    if last not in rules or any(part not in before for part in pre):
        return []
    stages = [*(before[part]() for part in pre), rules[last]()]
    clips = any(part in ("arc", "clipping") for part in pre)

    def run() -> Tensor:
        rows = updates.clone() if clips else updates  # these two write to their argument
        for stage in stages:
            rows = stage(rows)
        return rows

    n, d = updates.shape
    copies = n - f + 2 if "nnm" in pre else 4
    return [Peer("ByzFL", run, 1.0 * n * d * copies)]


def _flower(rule: str, updates: Tensor, f: int) -> list[Peer]:
    library = _module("flwr.server.strategy.aggregate")
    if library is None:
        return []
    n, d = updates.shape
    results = [([row], 1) for row in updates.numpy()]
    rules: dict[str, Aggregation] = {
        "fedavg": lambda: library.aggregate(results),
        "krum": lambda: library.aggregate_krum(results, f, 0),
        "median": lambda: library.aggregate_median(results),
        "multi-krum": lambda: library.aggregate_krum(results, f, n - f),
        "trimmed-mean": lambda: library.aggregate_trimmed_avg(results, (f + 0.5) / n),
        "bulyan": lambda: library.aggregate_bulyan([*results], f, library.aggregate_krum, to_keep=0),
    }
    if rule not in rules:
        return []
    return [Peer("Flower", rules[rule], 4.0 * n * d)]


def _module(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None
