"""What attackers try on the server's rule is what the server does, bit for bit, less its random draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from crafting import context, drawn
from threats import attacked_by, but

from clients.attacks.base import Attack, AttackCard, Knowledge
from clients.attacks.updates.ipm import OptimalIpm
from clients.attacks.updates.rule_search import Probe, as_received
from fedpoison.errors import FedPoisonError, ScenarioError
from fedpoison.federation import aggregation, rule_runner
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import Update
from fedpoison.federation.server_strategy import SimulationStrategy
from fedpoison.federation.workers import Workers
from fedpoison.rng import generator_for
from fedpoison.scenario.registries import optimizers, preaggregators, strategies
from fedpoison.simulation.run import run_federation, simulate
from strategies.rules.monna import MoNNA

PIPELINES = [
    *(name if name != "deepsight" else "deepsight(images=200)" for name in strategies.entries()),
    *(f"{name} | trimmed-mean" for name in preaggregators.entries()),
    *(f"median | {name}" for name in optimizers.entries()),
    "clipping | bucketing | foolsgold | adam",
]
MALICIOUS = (3, 5)


@dataclass(frozen=True)
class Trier(Attack):
    """Sends the negative honest mean, and keeps what the rule gives for all rows of the round."""

    tries: list
    factor: float = -1.0

    card: ClassVar = AttackCard(paper="-", knowledge=Knowledge.OMNISCIENT, knows_rule=True)

    def __hash__(self):
        return 0

    def craft(self, own, seen, context):
        probe = Probe(own, seen, context)
        sent = self.factor * probe.mean
        matrix = torch.empty(context.clients, len(sent))
        rows = dict(zip(context.seen_client_ids, seen, strict=True))
        for place, client_id in enumerate(context.round_client_ids):
            matrix[place] = rows.get(client_id, as_received(sent, context.model))
        self.tries.append((matrix, context.rule(matrix)))
        return sent.expand_as(own).clone()


@pytest.fixture
def served(monkeypatch):
    """What the server aggregates, as (matrix, step, trust), while it draws what the attackers draw."""
    rounds = []
    aggregate = aggregation.RuleAggregator.aggregate

    def kept(self, server_round, model, updates, *rest):
        result = aggregate(self, server_round, model, updates, *rest)
        matrix = rest[0]
        rounds.append((matrix.clone(), model, result))
        return result

    def public(seed, purpose, server_round):
        return generator_for(seed, "rule" if purpose == "attackers' trials" else purpose, server_round)

    monkeypatch.setattr(aggregation.RuleAggregator, "aggregate", kept)
    monkeypatch.setattr(rule_runner, "generator_for", public)
    return rounds


def tried_in(scenario, factor=-1.0):
    """Run the scenario with a trier as its only group, and return what it tried."""
    attack = Trier([], factor)
    run_federation(Federation.load(attacked_by(scenario, attack)))
    return attack.tries


@pytest.mark.parametrize("spec", PIPELINES)
def test_the_trial_of_the_sent_updates_is_the_servers_aggregate(small, served, spec):
    scenario = small.replace(
        strategy=spec,
        rounds=3,
        participation=0.9,
        partition="dirichlet(alpha=1)",
        malicious_nodes=MALICIOUS,
        malicious=0.2,
        tolerated=1,
    )
    tries = tried_in(scenario)
    assert len(tries) == len(served) == 3
    for (matrix, step), (received, model, result) in zip(tries, served, strict=True):
        assert torch.equal(matrix, received)
        assert torch.equal(model + step, result.weights)
    examples = [len(part) for part in Federation.load(scenario).parts]
    assert len(set(examples)) > 1


def test_the_search_tries_the_rows_of_the_server_in_its_order(small, served):
    """The rows of a trial with the factor that was sent are the matrix of the server."""
    rows = []

    @dataclass(frozen=True)
    class Searcher(Trier):
        __hash__ = Trier.__hash__

        def craft(self, own, seen, context):
            rule = context.rule
            context = replace(context, rule=lambda sent: rows.append(sent.clone()) or rule(sent))
            probe = Probe(own, seen, context)
            probe.along(-probe.mean, start=0.0, coordinates=10**9)(0.25)
            return (0.0 * probe.mean + 0.25 * -probe.mean).expand_as(own).clone()

    scenario = small.replace(rounds=2, malicious_nodes=MALICIOUS, malicious=0.2, strategy="fltrust")
    run_federation(Federation.load(attacked_by(scenario, Searcher([]))))
    assert len(rows) == 2
    for tried, (received, _, _) in zip(rows, served, strict=True):
        assert torch.equal(tried, received)


def test_another_active_group_is_replaced_by_honest_updates(small):
    """A group does not see another one, but the rule has as many rows in a trial as on the server."""
    groups = ["optimal-alie: nodes=3", "optimal-alie: share=.3"]
    scenario = but(small, rounds=1, clients=12, strategy="trimmed-mean", groups=groups)
    assert simulate(scenario).last.accuracy > 0


def monna_round(trusted=None):
    """A round of MoNNA with 14 clients, of whom 5, 6 and 7 attack, as (own, honest, context)."""
    n, d, malicious = 14, 20, (5, 6, 7)
    rows = 1 + drawn(n, d, seed=2, dtype=torch.float32)
    others = [row for row in range(n) if row not in malicious]
    rule = MoNNA(byzantine=3, trusted=trusted)
    known = context(
        d,
        model=torch.zeros(d),
        clients=n,
        malicious=3,
        client_ids=malicious,
        group_client_ids=malicious,
        seen_client_ids=tuple(others),
        round_client_ids=tuple(range(n)),
        rule=lambda updates: rule(updates).update,
        rule_kind="turns",
    )
    return rows[list(malicious)], rows[others], known


def test_monna_is_moved_as_far_as_the_line_allows():
    own, honest, known = monna_round()
    mean = honest.mean(dim=0)

    def displacement(sent):
        matrix = torch.empty(14, len(mean))
        matrix[[5, 6, 7]], matrix[list(known.seen_client_ids)] = sent, honest
        return float((known.rule(matrix) - mean).norm())

    best = max(displacement(-factor * mean) for factor in torch.linspace(0, 3, 301).tolist())
    sent = OptimalIpm(evaluations=40, step=0.1).craft(own, honest, known)[0]
    assert displacement(sent) > 0.95 * best > 0.1


def test_foolsgold_gives_three_rounds_of_equal_updates_nothing_in_the_trial_too(small, served):
    scenario = small.replace(
        strategy="foolsgold", rounds=4, clients=12, malicious_nodes=(5, 6, 7), malicious=0.2
    )
    tries = tried_in(scenario)
    (matrix, step), (_, model, result) = tries[-1], served[-1]
    assert result.trust[[5, 6, 7]].max() < 1e-6
    assert torch.equal(model + step, result.weights)
    without = [row for row in range(12) if row not in (5, 6, 7)]
    torch.testing.assert_close(step, result.trust[without].float() @ matrix[without], rtol=1e-4, atol=1e-6)


def test_a_client_with_twenty_times_the_examples_has_this_weight_in_a_trial(small):
    federation = Federation.load(small.replace(strategy="geometric-median"))
    with Workers(federation.model, federation.scenario.training, 1) as workers:
        strategy = SimulationStrategy(federation, {}, workers)
    matrix = torch.randn(10, len(federation.initial), generator=torch.Generator().manual_seed(0))
    examples = [600.0 if client_id == 4 else 30.0 for client_id in range(10)]
    updates = [Update(client_id, matrix[client_id], examples[client_id], 1.0) for client_id in range(10)]
    tried = strategy.known_rule(1, updates)(matrix)
    rule = strategy.aggregator.rule
    given = rule(matrix, torch.tensor(examples))
    assert torch.equal(tried.update, given.update)
    assert torch.equal(tried.trust, given.trust)
    away = float((matrix[4] - tried.update).norm())
    assert float((tried.update - rule(matrix).update).norm()) > 0.5 * away


@pytest.mark.parametrize("attack", ["optimal-alie", "optimal-ipm", "tailored", "identical-coordinate"])
def test_a_trusted_client_that_is_not_there_is_our_error(small, attack):
    with pytest.raises(ScenarioError, match="MoNNA.* gets no update of client 12"):
        small.replace(clients=12, strategy="monna(trusted=12)", attack=attack, malicious=0.25)


def test_updates_of_any_size_are_searched_without_a_traceback():
    own, honest, known = monna_round()
    sent = OptimalIpm().craft(own, honest, known)
    for size in (1e10, 2.0**66, 1e25, 1e37):
        huge = OptimalIpm().craft(size * own, size * honest, known)
        assert huge.isfinite().all() or size > 1e30
    scaled = OptimalIpm().craft(2.0**66 * own, 2.0**66 * honest, known)
    torch.testing.assert_close(scaled / 2.0**66, sent, rtol=1e-4, atol=1e-6)


def test_an_attacker_who_is_trusted_ends_the_run_with_our_error(small):
    scenario = small.replace(
        clients=12, strategy="monna", attack="optimal-ipm", malicious_nodes=(0, 1, 2), malicious=0.2, seed=1
    )
    with pytest.raises(FedPoisonError, match="round 2: MoNNA"):
        simulate(scenario)
