import math
import typing
from dataclasses import fields
from typing import Literal

import pytest

from fedpoison.data.datasets import datasets
from fedpoison.errors import ScenarioError
from fedpoison.scenario.aggregation import build_aggregation, read_aggregation
from fedpoison.scenario.registries import (
    attacks,
    build_attack,
    models,
    optimizers,
    partitions,
    preaggregators,
    read_attack,
    strategies,
)
from fedpoison.scenario.schedules import schedules
from fedpoison.scenario.specs import build, format_call, parse_call


def test_parameters_are_typed_and_defaults_fill_in():
    rule = build(strategies, "krum(power=4)", byzantine=3)
    assert (rule.power, rule.byzantine) == (4, 3)


def test_the_spec_wins_over_a_default():
    assert build(strategies, "krum(byzantine=1)", byzantine=3).byzantine == 1


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("kurm", "did you mean 'krum'"),
        ("krum(pover=1)", "did you mean 'power'"),
        ("krum(power=3)", "1, 2 or 4"),
        ("krum(byzantine=-1)", "expected the number of tolerated clients"),
        ("krum(power)", "expected parameter=power. Name the parameter."),
        ("krum(", "expected a closing parenthesis"),
        ("fedavg(x=1)", "has no parameters"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(spec, words):
    with pytest.raises(ScenarioError, match=words.replace("(", r"\(")):
        build(strategies, spec)


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("label-flip", "label-flip"),
        ("label-flip( mode = mirror )", "label-flip"),
        ("label-flip(source=3, mode=targeted)", "label-flip(mode=targeted, source=3)"),
        ("backdoor + scaled-update(factor=5)", "backdoor+scaled-update(factor=5.0)"),
    ],
)
def test_equal_attacks_have_one_spelling(spec, canonical):
    assert read_attack(spec) == canonical
    assert read_attack(canonical) == canonical
    assert build_attack(spec) == build_attack(canonical)


def test_every_attack_is_read_back_from_its_spelling():
    for name in attacks.entries():
        assert read_attack(name) == name


def test_flower_classes_can_be_named():
    described = build_aggregation("flwr:FedAdam(eta=0.5)", byzantine=2)
    assert (described.name, described.arguments) == ("FedAdam", {"eta": 0.5})
    assert read_aggregation("flwr:FedAdam( eta = 0.5 )") == "flwr:FedAdam(eta=0.5)"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("flwr:FedAdm", "did you mean 'FedAdam'"),
        ("flwr:FedAdam(et=1)", "did you mean 'eta'"),
        ("flwr:FedAvg(fraction_train=0.5)", "expected 1.0, since the field participation"),
        ("flwr:FedAvg(fraction_train=0)", "expected 1.0, since the field participation"),
        ("flwr:FedAvg(fraction_evaluate=0.5)", "the server evaluates the model"),
        ("flwr:FedAvg(arrayrecord_key=weights)", "expected arrays, since"),
        ("flwr:FedAvg(min_available_nodes=0)", "got 0, expected a finite number, 1 or more"),
        ("flwr:Krum(num_malicious_nodes=-1)", "got -1, expected a finite number, 0 or more"),
        ("flwr:Krum(num_malicious_nodes=1.5)", "got 1.5, expected an integer"),
        ("flwr:FedProx(proximal_mu=nan)", "got nan, expected"),
        ("flwr:FedProx(proximal_mu=big)", "got big, expected a float"),
        ("flwr:FedTrimmedAvg(beta=0.5)", "Flower refuses the arguments: `beta` must be"),
        ("flwr:QFedAvg", "got no client_learning_rate"),
    ],
)
def test_flower_classes_are_checked_too(spec, words):
    with pytest.raises(ScenarioError, match=words):
        build_aggregation(spec, byzantine=0)


def test_values_are_read_as_what_they_spell():
    _, parameters = parse_call("x(a=1, b=-0.5, c=true, d=none, e=word)")
    assert parameters == {"a": 1, "b": -0.5, "c": True, "d": None, "e": "word"}


@pytest.mark.parametrize("kind", [attacks, strategies, preaggregators, optimizers, partitions, schedules])
def test_every_choice_of_a_parameter_can_be_written(kind):
    for name, entry in kind.entries().items():
        for parameter, annotation in typing.get_type_hints(entry).items():
            for choice in typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ():
                built = build(kind, format_call(name, {parameter: choice}))
                assert getattr(built, parameter) == choice, f"{name}({parameter}={choice})"


def test_a_number_can_be_infinite():
    assert build(strategies, "centered-clipping(tau=inf)").tau == math.inf


class Added:
    """Stands for an entry point of another package."""

    def load(self):
        return strategies["fedavg"]


def test_other_packages_add_through_entry_points(monkeypatch):
    points = {"theirs": Added()}
    monkeypatch.setattr("fedpoison.registry.added", lambda group: points if "strategies" in group else {})
    assert "theirs" in strategies.entries()
    assert build_aggregation("theirs", byzantine=0) == build(strategies, "fedavg")


def test_other_packages_can_rely_on_the_entry_point_groups():
    kinds = (attacks, strategies, preaggregators, optimizers, partitions, models, schedules, datasets)
    names = [
        "attacks",
        "strategies",
        "preaggregators",
        "optimizers",
        "partitions",
        "models",
        "schedules",
        "datasets",
    ]
    assert [registry.group for registry in kinds] == [f"fedpoison.{name}" for name in names]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("flwr:FedAvg(min_available_nodes=11)", "got 11, expected at most the 10 clients of a round"),
        ("flwr:FedAvg(min_train_nodes=11)", "got 11, expected at most the 10 clients of a round"),
        ("flwr:Krum(num_malicious_nodes=50)", "got 50, expected f with f \\+ 3 of at most the 10 clients"),
        ("flwr:Krum(num_malicious_nodes=8)", "got 8, expected f with f \\+ 3"),
        ("flwr:Bulyan(num_malicious_nodes=2)", "got 2, expected f with 4 f \\+ 3 of at most the 10 clients"),
        ("flwr:MultiKrum(num_nodes_to_select=11)", "got 11, expected at most the 10 clients of a round"),
    ],
)
def test_flower_strategies_that_could_not_aggregate_are_refused_before_the_run(small, spec, words):
    with pytest.raises(ScenarioError, match=words):
        small.replace(strategy=spec)


def numbers_of(registry):
    """Return the parameters of the registered classes that take floating-point numbers, as (name, field)."""
    found = []
    for name, kind in registry.entries().items():
        hints = typing.get_type_hints(kind)
        found += [(name, each.name) for each in fields(kind) if "float" in str(hints[each.name])]
    return found


LIMITS = {
    ("alignins", "direction_bound"),
    ("alignins", "sign_bound"),
    ("centered-clipping", "tau"),
    ("clipped-clustering", "bound"),
    ("crfl", "rho"),
    ("lasa", "norm_bound"),
    ("lasa", "sign_bound"),
    ("masa", "clip"),
    ("masa", "threshold"),
    ("norm-clipping", "clip"),
    ("rflbat", "first"),
    ("rflbat", "second"),
    ("residual-reweighting", "confidence"),
    ("sequential-clipping", "tau"),
    ("signguard", "high"),
    ("sparsefed", "clip"),
    ("three-sigma", "bound"),
}
"""Parameters of rules for which infinity means: no limit."""
REGISTRIES = [attacks, strategies, preaggregators, optimizers, partitions, schedules]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_no_number_of_anything_registered_is_nan_or_infinite_without_sense(registry, value):
    for name, field in numbers_of(registry):
        if (name, field) in LIMITS and value in ("inf", "1e400"):
            assert getattr(build(registry, f"{name}({field}={value})"), field) == math.inf
            continue
        with pytest.raises(ScenarioError, match=field):
            build(registry, f"{name}({field}={value})")


def test_the_numbers_of_attacks_and_rules_are_found():
    assert ("scaled-update", "factor") in numbers_of(attacks)
    assert len(numbers_of(attacks)) > 50
    assert len(numbers_of(strategies)) > 25
