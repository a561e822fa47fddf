"""Where a search for the strongest attack looks: attacks by their aim, and ranges of their knobs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values of a knob that is a number."""

    low: float
    high: float
    log: bool = False
    """Whether the search steps by factors."""


Choices = tuple[str | int, ...]
Knobs = dict[str, Range | Choices]

SHARE = Range(low=0.05, high=1.0)
_AWAY = ("unit", "std", "std-above", "sign")
UNTARGETED: dict[str, Knobs] = {
    "alie": {"z": Range(low=0.1, high=5.0), "direction": (-1, 1)},
    "anti-cge": {},
    "fang-krum": {},
    "fang-trimmed-mean": {"b": Range(low=1.1, high=10.0, log=True)},
    "gaussian-update": {"std": Range(low=0.001, high=3.0, log=True), "mode": ("replace", "add")},
    "identical-coordinate": {"sign": (-1, 1)},
    "inject": {"share": Range(low=0.1, high=5.0, log=True)},
    "ipm": {"epsilon": Range(low=0.05, high=20.0, log=True)},
    "label-flip": {"mode": ("mirror", "random"), "share": SHARE},
    "mimic": {},
    "min-max": {"direction": _AWAY},
    "min-sum": {"direction": _AWAY, "bound": ("max", "min")},
    "mpaf": {"factor": Range(low=1.0, high=1e6, log=True), "base": ("random", "initial")},
    "non-finite-update": {"value": ("nan", "inf")},
    "optimal-alie": {"direction": (-1, 1)},
    "optimal-ipm": {},
    "pixel-noise": {"std": Range(low=0.1, high=3.0, log=True), "share": SHARE},
    "pixel-perturbation": {"epsilon": Range(low=0.05, high=0.5), "share": SHARE},
    "poisoned-fl": {"factor": Range(low=1.0, high=20.0, log=True)},
    "random-update": {"low": Range(low=-3.0, high=-0.01), "high": Range(low=0.01, high=3.0)},
    "rop": {"angle": Range(low=90.0, high=270.0), "relocation": Range(low=0.0, high=1.0)},
    "scaled-update": {"factor": Range(low=-30.0, high=-0.3)},
    "sign-flip": {},
    "sparse-alie": {
        "share": Range(low=0.001, high=0.2, log=True),
        "scale": Range(low=0.5, high=5.0),
        "direction": (-1, 1),
    },
    "tailored": {"direction": _AWAY},
}
"""For attacks that are to lower the accuracy, of all classes or of one; those that only save work are not."""

_TRIGGERED: Knobs = {"share": SHARE, "size": (2, 3, 4, 6)}
TARGETED: dict[str, Knobs] = {
    "adaptive-trigger": {"share": SHARE, "size": (3, 5, 7)},
    "alternating-minimization": _TRIGGERED | {"boost": Range(low=1.0, high=30.0, log=True)},
    "anticipate": _TRIGGERED | {"every": (1, 2, 6)},
    "backdoor": _TRIGGERED,
    "blended": {"share": SHARE, "alpha": Range(low=0.05, high=0.5)},
    "chameleon": _TRIGGERED | {"pace": Range(low=0.03, high=3.0, log=True)},
    "constrain-and-scale": _TRIGGERED
    | {"alpha": Range(low=0.1, high=1.0), "anomaly": ("distance", "cosine")},
    "critical-layers": _TRIGGERED | {"strength": Range(low=0.5, high=5.0, log=True)},
    "distributed-backdoor": {"share": SHARE, "length": (2, 4, 6)},
    "model-replacement": _TRIGGERED | {"factor": Range(low=0.5, high=30.0, log=True)},
    "neurotoxin": _TRIGGERED | {"top": Range(low=0.01, high=0.5, log=True)},
    "pgd": _TRIGGERED | {"radius": Range(low=0.05, high=5.0, log=True)},
}
"""For attacks that are to have triggered images taken for their target.

Those that need no trigger are measured on other images, where a clean model errs more often or less.
"""
