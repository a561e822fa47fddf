"""Every registered rule keeps the laws, and the registry is what lies on disk."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import fields

import pytest

import strategies
from strategies import OPTIMIZERS, PREAGGREGATORS, STRATEGIES, Chain
from strategies.contract import check_rule

FURTHER = {
    "auror": [{"features": "output"}],
    "bulyan": [{"byzantine": 1, "selection": "one-shot"}],
    "flame": [{"noise": 0.0, "compare": "models"}],
    "fldetector": [{"window": 1}],
    "foolsgold": [{"features": "all"}],
    "krum": [{"byzantine": 1, "excluded": 1}, {"byzantine": 2, "power": 1}, {"byzantine": 2, "power": 4}],
    "lasa": [{"sparsity": 0.0}],
    "multi-krum": [{"byzantine": 1, "select": 1}, {"byzantine": 1, "select": 3, "excluded": 1}],
    "robust-learning-rate": [{"threshold": 1}, {"threshold": 7}],
    "sign-majority": [{"step": 0.01}],
}
"""Settings to try beyond the defaults and `byzantine` of 1 and 2."""


CHEAPER = {"deepsight": {"images": 200, "seeds": 1}}
"""Knobs that change nothing but the time that a test takes."""


def settings(name):
    tolerant = any(field.name == "byzantine" for field in fields(STRATEGIES[name]))
    return [{}, *({"byzantine": byzantine} for byzantine in (1, 2) if tolerant), *FURTHER.get(name, [])]


INSTANCES = [
    STRATEGIES[name](**CHEAPER.get(name, {}), **knobs) for name in STRATEGIES for knobs in settings(name)
]


@pytest.mark.parametrize("rule", INSTANCES, ids=repr)
def test_the_laws(rule):
    check_rule(rule)


def test_the_registry_is_what_lies_on_disk():
    others = {*PREAGGREGATORS.values(), *OPTIMIZERS.values(), Chain}
    found = {}
    for module in pkgutil.iter_modules(strategies.__path__):
        for kind in vars(importlib.import_module(f"strategies.{module.name}")).values():
            own = isinstance(kind, type) and kind.__module__ == f"strategies.{module.name}"
            if own and hasattr(kind, "card") and kind not in others:
                found[module.name] = kind
    assert {name.replace("-", "_"): kind for name, kind in STRATEGIES.items()} == found
    assert list(STRATEGIES) == sorted(STRATEGIES)


def test_further_settings_name_registered_rules():
    assert set(FURTHER) <= set(STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_class_is_named_like_the_rule(name):
    assert STRATEGIES[name].__name__.lower() == name.replace("-", "")
