"""Whole aggregations as a spec: how they are parsed, written and refused, and how a run uses them."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from fedpoison.cli import describe as catalogue
from fedpoison.errors import ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import Update
from fedpoison.federation.server_strategy import SimulationStrategy
from fedpoison.federation.workers import Workers
from fedpoison.scenario.aggregation import build_aggregation, read_aggregation
from fedpoison.scenario.registries import optimizers, preaggregators, strategies
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import simulate
from strategies.base import AggregationRule, Rule, RuleCard, checked
from strategies.checks import check_rule
from strategies.kernels.weighted_sums import weighted
from strategies.optimizers import Adam
from strategies.pipeline import Pipeline
from strategies.preaggregators import NNM, Clipping
from strategies.rules.krum import Krum


def test_a_spec_becomes_a_chain_that_tolerates_the_same_number_everywhere():
    pipeline = build_aggregation("clipping(threshold=3)|nnm | krum(power=4)|adam( lr = 0.1 )", byzantine=2)
    assert pipeline == Pipeline(
        pre=(Clipping(threshold=3.0), NNM(byzantine=2)),
        rule=Krum(byzantine=2, power=4),
        optimizer=Adam(lr=0.1),
    )
    assert build_aggregation("nnm(byzantine=1) | krum", byzantine=2).pre == (NNM(byzantine=1),)
    assert build_aggregation("krum", byzantine=2) == Krum(byzantine=2)


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("nnm|krum( power = 2 )|adam(lr=0.01)", "nnm | krum | adam"),
        ("bucketing(order=fixed, size=3)|fedavg", "bucketing(size=3, order=fixed) | fedavg"),
        ("median | yogi(start=0)", "median | yogi(start=0.0)"),
        ("median", "median"),
        ("bucketing | krum(byzantine=0)", "bucketing | krum(byzantine=0)"),
        ("nnm(byzantine=0)|median", "nnm(byzantine=0) | median"),
    ],
)
def test_equal_aggregations_have_one_spelling(spec, canonical):
    assert read_aggregation(spec) == canonical
    assert read_aggregation(canonical) == canonical
    assert build_aggregation(spec, byzantine=2) == build_aggregation(canonical, byzantine=2)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "got no rule, expected exactly one rule"),
        ("nnm", "got no rule, expected exactly one rule"),
        ("nnm | adam", "Rules are "),
        ("krum | median", "got krum, median, expected exactly one rule"),
        ("adam | krum", "adam is an optimizer, expected last"),
        ("krum | nnm", "nnm is a pre-aggregator, expected before the rule"),
        ("krum | adam | sgd", "got adam, sgd, expected at most one optimizer"),
        ("nmn | krum", "unknown strategy 'nmn': did you mean 'nnm'"),
        ("kurm", "unknown strategy 'kurm': did you mean 'krum'"),
        ("nnm(f=2) | krum", "unknown parameter of nnm 'f'"),
        ("krum | adam(lr=-1)", "lr: got -1"),
        ("nnm | flwr:FedAvg", "cannot be part of a pipeline"),
        ("flwr:FedAvg | adam", "cannot be part of a pipeline"),
    ],
)
def test_what_is_no_aggregation_is_said_with_the_remedy(spec, words):
    for read in (lambda text: build_aggregation(text, byzantine=0), read_aggregation):
        with pytest.raises(ScenarioError) as caught:
            read(spec)
        assert words in str(caught.value)


def test_no_name_stands_for_two_things():
    names = [*strategies.entries(), *preaggregators.entries(), *optimizers.entries()]
    assert len(names) == len(set(names))


def test_a_scenario_is_refused_where_the_rule_gets_too_few_rows(small):
    small.replace(strategy="krum", tolerated=2)
    with pytest.raises(ScenarioError, match=r"Bucketing.*Krum.*at least 13 updates, got 10"):
        small.replace(strategy="bucketing | krum", tolerated=2)


FULL = "clipping(threshold=2) | bucketing | nnm | trimmed-mean | adam(lr=0.02)"


def test_a_full_pipeline_learns_under_attack_and_tells_whom_it_trusts(small):
    scenario = small.replace(
        strategy=FULL, tolerated=1, malicious_nodes="3", attack="scaled-update(factor=-10)", rounds=12
    )
    history, again = simulate(scenario, workers=1), simulate(scenario, workers=2)
    assert history.last.accuracy > 0.6
    assert history.last.accuracy > simulate(scenario.replace(strategy="fedavg")).last.accuracy + 0.2
    for record, other in zip(history.records, again.records, strict=True):
        assert record.confusion == other.confusion
        assert record.training.trust == other.training.trust
    for record in history.records[1:]:
        trust = record.training.trust
        assert set(trust) == set(range(10))
        assert trust[3] < sum(trust.values()) / 10


def test_an_optimizer_that_does_nothing_changes_nothing(small):
    plain = simulate(small.replace(strategy="median"))
    stepped = simulate(small.replace(strategy="median | sgd(momentum=0)"))
    assert [record.confusion for record in plain.records] == [record.confusion for record in stepped.records]


def test_momentum_is_kept_from_round_to_round(small):
    plain = simulate(small.replace(strategy="fedavg | sgd(momentum=0)", malicious=0.0))
    heavy = simulate(small.replace(strategy="fedavg | sgd(momentum=0.9)", malicious=0.0))
    losses = [[record.loss for record in history.records] for history in (plain, heavy)]
    assert losses[0][:2] == losses[1][:2]
    assert losses[1][2] < losses[0][2]


def test_attackers_try_the_whole_aggregation_out_without_moving_it(small):
    federation = Federation.load(small.replace(strategy="bucketing | median | sgd", tolerated=2))
    with Workers(federation.model, federation.scenario.training, 1) as workers:
        strategy = SimulationStrategy(federation, {}, workers)
    updates = torch.randn(10, len(federation.initial), generator=torch.Generator().manual_seed(0))
    clients = [Update(client_id, updates[client_id], examples=30, loss=1.0) for client_id in range(10)]
    tried = strategy.known_rule(1, clients)
    first = tried(updates).update
    assert torch.equal(first, tried(updates).update)
    assert first.shape == federation.initial.shape
    context = strategy.aggregator.context(1, federation.initial, None)
    assert not torch.equal(first, strategy.aggregator.rule(updates, None, context).update)
    assert strategy.aggregator.context(2, federation.initial, None).state == {}


@dataclass(frozen=True, kw_only=True)
class WithoutBase:
    """Average the updates, as a rule of another package that does not use the base class."""

    byzantine: int = 0

    card: ClassVar = RuleCard(paper="-", needs=("byzantine",), uses_weights=True)
    minimum: ClassVar = 3

    def __call__(self, updates, weights=None, context=None):
        updates, shares = checked(self, updates, weights)
        return weighted(shares, updates)


class Point:
    """Stands for an entry point of another package."""

    def load(self):
        return WithoutBase


def test_a_rule_without_the_base_class_works_everywhere(small, monkeypatch):
    points = {"without-base": Point()}
    monkeypatch.setattr("fedpoison.registry.added", lambda group: points if "strategies" in group else {})
    check_rule(WithoutBase())
    assert isinstance(WithoutBase(), AggregationRule)
    assert not isinstance(WithoutBase(), Rule)
    assert build_aggregation("without-base", byzantine=1) == WithoutBase(byzantine=1)
    assert read_aggregation("nnm|without-base( byzantine=2 )") == "nnm | without-base(byzantine=2)"
    with pytest.raises(ScenarioError, match="at least 3 updates, got 2"):
        Scenario.parse({"strategy": "without-base", "clients": 2, "tolerated": 0})
    chain = build_aggregation("clipping(threshold=10) | without-base | sgd", byzantine=1)
    torch.testing.assert_close(chain(torch.ones(4, 2)).update, torch.ones(2))
    (entry,) = [entry for entry in catalogue.entries("strategies") if entry.name == "without-base"]
    assert [parameter.name for parameter in entry.parameters] == ["byzantine"]
    plain, theirs = (simulate(small.replace(strategy=name, rounds=2)) for name in ("fedavg", "without-base"))
    assert [record.confusion for record in plain.records] == [record.confusion for record in theirs.records]
