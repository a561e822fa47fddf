"""Every registered rule has the properties, and the check of rules finds each one that is missing."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import pytest
import torch

import strategies
from strategies import STRATEGIES
from strategies.base import Aggregate, Rule, RuleCard, checked
from strategies.checks import CheckError, check_rule
from strategies.kernels.weighted_sums import weighted

FURTHER = {
    "auror": [{"features": "output"}],
    "bulyan": [
        {"byzantine": 1, "selection": "one-shot"},
        {"byzantine": 1, "base": "median"},
        {"byzantine": 1, "base": "geometric-median", "selection": "one-shot"},
    ],
    "byzantine-sgd": [{"average": "good"}],
    "flare": [{"images": 3, "temperature": 0.2}],
    "flame": [{"noise": 0.0, "compare": "models"}],
    "fldetector": [{"window": 1}],
    "foolsgold": [{"features": "all"}],
    "krum": [{"byzantine": 1, "excluded": 1}, {"byzantine": 2, "power": 1}, {"byzantine": 2, "power": 4}],
    "fedseca": [{"sparsity": 0.0}],
    "freqfed": [{"low": 1.0}],
    "lasa": [{"sparsity": 0.0}],
    "masa": [{"fusion": 1.0, "epochs": 1, "batch_size": 2, "lr": 0.1, "clip": 0.1, "threshold": 0.5}],
    "multi-krum": [{"byzantine": 1, "select": 1}, {"byzantine": 1, "select": 3, "excluded": 1}],
    "multi-metrics": [{"compare": "pairs"}],
    "robust-learning-rate": [{"threshold": 1}, {"threshold": 7}],
    "safeguard": [{"short": 2, "long": 2, "reject": "same", "reset": True}],
    "sequential-clipping": [{"clip": "each", "reference": "both", "extended": "fixed"}],
    "sign-majority": [{"step": 0.01}],
    "sparsefed": [{"kept": 1.0, "momentum": 0.9}],
}
"""Settings to try beyond the defaults and `byzantine` of 1 and 2."""


CHEAPER = {"deepsight": {"images": 200, "seeds": 1}}
"""Parameters that change nothing but the time that a test takes."""


def settings(name):
    tolerant = any(field.name == "byzantine" for field in fields(STRATEGIES[name]))
    return [{}, *({"byzantine": byzantine} for byzantine in (1, 2) if tolerant), *FURTHER.get(name, [])]


INSTANCES = [
    STRATEGIES[name](**CHEAPER.get(name, {}), **parameters)
    for name in STRATEGIES
    for parameters in settings(name)
]


@pytest.mark.parametrize("rule", INSTANCES, ids=repr)
def test_the_laws(rule):
    check_rule(rule)


def test_every_rule_is_registered():
    found = {
        kind
        for module in pkgutil.iter_modules(strategies.rules.__path__)
        for kind in vars(importlib.import_module(f"strategies.rules.{module.name}")).values()
        if isinstance(kind, type) and issubclass(kind, Rule) and not inspect.isabstract(kind)
    }
    assert set(STRATEGIES.values()) == found
    assert len(STRATEGIES) == len(found)
    assert list(STRATEGIES) == sorted(STRATEGIES)


SHARED = {"mean-around-median": "trimmed-mean", "phocas": "trimmed-mean", "weak-dp": "norm-clipping"}
"""Variants that differ in a few lines from the rule in whose file they are."""


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_file_is_named_like_the_rule(name):
    file = STRATEGIES[name].__module__.rpartition(".")[2]
    assert file == SHARED.get(name, name).replace("-", "_")


def test_further_settings_name_registered_rules():
    assert set(FURTHER) <= set(STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_class_is_named_like_the_rule(name):
    assert STRATEGIES[name].__name__.lower() == name.replace("-", "")


TRUE = RuleCard(paper="-", mean_without_byzantine=True, uses_weights=True)


@dataclass(frozen=True)
class Broken:
    """The mean, whose result `fault` spoils."""

    card: ClassVar = TRUE
    minimum: ClassVar = 1

    def __call__(self, updates, weights=None, context=None):
        updates, shares = checked(self, updates, weights)
        return self.spoilt(weighted(shares, updates), updates, context)

    def spoilt(self, result, updates, context):
        return result


class Order(Broken):
    def spoilt(self, result, updates, context):
        return replace(result, update=updates[0].clone())


class TrustOrder(Broken):
    def spoilt(self, result, updates, context):
        return replace(result, trust=result.trust.sort().values)


class Writes(Broken):
    def spoilt(self, result, updates, context):
        updates -= updates.mean(dim=0)
        return result


class WritesState(Broken):
    def spoilt(self, result, updates, context):
        if context is not None:
            context.state["seen"] = updates[0].clone()
        return result


class View(Broken):
    card: ClassVar = RuleCard(paper="-", permutation_equivariant=False)

    def spoilt(self, result, updates, context):
        return replace(result, update=updates[0])


class Dtype(Broken):
    def spoilt(self, result, updates, context):
        return replace(result, update=result.update.double())


class Shape(Broken):
    def spoilt(self, result, updates, context):
        return replace(result, update=result.update[None])


class Negative(Broken):
    def spoilt(self, result, updates, context):
        return replace(result, trust=-result.trust)


class Generous(Broken):
    def spoilt(self, result, updates, context):
        return replace(result, trust=2 * result.trust)


class NotFinite(Broken):
    def spoilt(self, result, updates, context):
        return replace(result, update=updates.square().sum(dim=0) / updates.sum(dim=0))


class GlobalStream(Broken):
    def spoilt(self, result, updates, context):
        torch.rand(1)
        return result


class Draws(Broken):
    def spoilt(self, result, updates, context):
        if context is not None and context.generator is not None:
            torch.rand(1, generator=context.generator)
        return result


class Remembers(Broken):
    def spoilt(self, result, updates, context):
        return replace(result, state={"last": result.update.clone()})


class Peeks(Broken):
    def spoilt(self, result, updates, context):
        if context is None or context.root_update is None:
            return result
        return replace(result, update=result.update + context.root_update())


class PeeksAtImages(Broken):
    def spoilt(self, result, updates, context):
        if context is None or context.root_images is None:
            return result
        return replace(result, update=result.update + context.root_images().mean())


class PeeksAtLabels(Broken):
    def spoilt(self, result, updates, context):
        if context is None or context.root_labels is None:
            return result
        return replace(result, update=result.update + context.root_labels().sum())


class Differentiates(Broken):
    def spoilt(self, result, updates, context):
        if context is None or context.gradient is None:
            return result
        return replace(result, update=result.update + 1)


class Models(Broken):
    def spoilt(self, result, updates, context):
        if context is None or context.model is None:
            return result
        return replace(result, update=result.update + context.model)


class NoUnanimity(Broken):
    card: ClassVar = RuleCard(paper="-", translation_equivariant=False, uses_weights=True)

    def spoilt(self, result, updates, context):
        return replace(result, update=result.update / 2)


class NoTranslation(Broken):
    card: ClassVar = RuleCard(paper="-", unanimous=False, uses_weights=True)

    def spoilt(self, result, updates, context):
        return replace(result, update=result.update / 2)


class NoScale(Broken):
    card: ClassVar = RuleCard(paper="-", unanimous=False, uses_weights=True)

    def spoilt(self, result, updates, context):
        return replace(result, update=result.update + 1)


class NoMean(Broken):
    card: ClassVar = RuleCard(paper="-", mean_without_byzantine=True)

    def __call__(self, updates, weights=None, context=None):
        updates, _ = checked(self, updates, weights)
        trust = torch.full((len(updates),), 1 / len(updates), dtype=torch.float64)
        return Aggregate(update=(updates.amax(dim=0) + updates.amin(dim=0)) / 2, trust=trust)


class Bare(Broken):
    card: ClassVar = RuleCard(paper="")


class Careless(Broken):
    def __call__(self, updates, weights=None, context=None):
        return weighted(torch.full((len(updates),), 1 / len(updates)).double(), updates)


class Unfounded(Broken):
    minimum: ClassVar = 4

    def __call__(self, updates, weights=None, context=None):
        return Broken()(updates, weights, context)


class Threads(Broken):
    def spoilt(self, result, updates, context):
        return replace(result, update=result.update * (1 + 1e-5 * torch.get_num_threads()))


class Hidden(Broken):
    memory: ClassVar[list] = []

    def spoilt(self, result, updates, context):
        self.memory.append(updates.sum())
        return replace(result, update=result.update + 1e-3 * len(self.memory))


class Weighs(Broken):
    card: ClassVar = RuleCard(paper="-")


class StrangeNeeds(Broken):
    card: ClassVar = RuleCard(paper="-", needs=("luck",))


@dataclass
class Thawed:
    card: ClassVar = TRUE
    minimum: ClassVar = 1
    __call__ = Broken.__call__


def test_the_suite_passes_the_sound_one():
    check_rule(Broken())


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (Order, "depends on the order"),
        (TrustOrder, "trusts other clients"),
        (Writes, "writes to its arguments"),
        (WritesState, "writes to its arguments"),
        (View, "returns memory of its arguments"),
        (Dtype, "returns torch.float64 for"),
        (Shape, "returns \\(1, "),
        (Negative, "returns trust \\["),
        (Generous, "of sum 2.0"),
        (NotFinite, "not finite"),
        (GlobalStream, "global random stream"),
        (Draws, "draws random numbers"),
        (Remembers, "keeps a state"),
        (Peeks, "uses root data"),
        (PeeksAtImages, "uses root images"),
        (PeeksAtLabels, "uses root labels"),
        (Differentiates, "uses gradients"),
        (Models, "uses a model"),
        (NoUnanimity, "is not unanimous"),
        (NoTranslation, "not translation equivariant"),
        (NoScale, "not scale equivariant"),
        (NoMean, "is not the mean"),
        (Bare, "without a paper"),
        (Careless, "accepts an update with nan"),
        (Unfounded, "accepts n = 3, below its minimum"),
        (Threads, "number of threads"),
        (Hidden, "same twice|empty one"),
        (Thawed, "not a frozen dataclass"),
        (Weighs, "uses_weights=False, expected True"),
        (StrangeNeeds, "expected some of"),
    ],
)
def test_the_suite_finds_a_missing_property(broken, fault):
    with pytest.raises(CheckError, match=fault):
        check_rule(broken())
