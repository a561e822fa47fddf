"""Every rule is registered and keeps the laws."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import fields

import pytest

import strategies
from strategies import STRATEGIES
from strategies.contract import check_rule
from strategies.rule import Rule

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
"""Parameters that change nothing but the time that a test takes."""


def settings(name):
    tolerant = any(field.name == "byzantine" for field in fields(STRATEGIES[name]))
    return [{}, *({"byzantine": byzantine} for byzantine in (1, 2) if tolerant), *FURTHER.get(name, [])]


INSTANCES = [
    STRATEGIES[name](**CHEAPER.get(name, {}), **knobs) for name in STRATEGIES for knobs in settings(name)
]


@pytest.mark.parametrize("rule", INSTANCES, ids=repr)
def test_the_laws(rule):
    check_rule(rule)


def test_every_rule_is_registered():
    found = {
        kind
        for module in pkgutil.iter_modules(strategies.__path__)
        for kind in vars(importlib.import_module(f"strategies.{module.name}")).values()
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
