"""How much each client counts: its own number of examples, a claimed number, or the same for all."""

import pytest
import torch

from clients.attacks.data.edge_case import EdgeCase
from clients.attacks.data.inject import Inject
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import Update
from fedpoison.federation.server_strategy import SimulationStrategy
from fedpoison.federation.workers import Workers
from fedpoison.scenario.registries import preaggregators, strategies
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.replay import replay
from fedpoison.simulation.run import simulate


def malicious_mass(scenario):
    return simulate(scenario.replace(rounds=1)).to_frame()["malicious_mass"].iloc[-1]


@pytest.mark.parametrize(
    ("attack", "weights", "mass"),
    [
        ("inject", "examples", 0.2),
        ("inject(share=4)", "examples", 0.2),
        ("edge-case", "examples", 0.2),
        ("inject(claimed=2)", "examples", 4 / 12),
        ("inject(claimed=5, share=0)", "examples", 10 / 18),
        ("inject(claimed=0.5)", "examples", 1 / 9),
        ("edge-case(claimed=3)", "examples", 6 / 14),
        ("inject(claimed=2) + label-flip", "examples", 4 / 12),
        ("inject(claimed=2)", "uniform", 0.2),
    ],
)
def test_poisoned_data_buys_no_weight_but_a_claim_does(small, attack, weights, mass):
    assert malicious_mass(small.replace(attack=attack, weights=weights)) == pytest.approx(mass)


def test_a_claim_is_rounded_and_at_least_one():
    assert Inject(claimed=0.001).claimed_examples(40) == 1
    assert EdgeCase(claimed=1.51).claimed_examples(3) == 5
    assert Inject(share=0).no_effect(10, 2)
    assert Inject(share=0, claimed=2).no_effect(10, 2) is None
    with pytest.raises(ValueError, match="claimed: got 0"):
        Inject(claimed=0)


def aggregated(scenario, examples):
    """Return what the server makes of the same updates, from clients with these numbers of examples."""
    federation = Federation.load(scenario)
    with Workers(federation.model, federation.scenario.training, 1) as workers:
        strategy = SimulationStrategy(federation, {}, workers)
        matrix = torch.randn(10, len(federation.initial), generator=torch.Generator().manual_seed(0))
        rows = zip(matrix, examples, strict=True)
        updates = [Update(client_id, row, count, 1.0) for client_id, (row, count) in enumerate(rows)]
        return strategy.aggregator.aggregate(1, federation.initial, updates, matrix, []).weights


@pytest.mark.parametrize(
    "spec",
    [
        *(name if name != "deepsight" else "deepsight(images=200)" for name in strategies.entries()),
        *(f"{name} | fedavg" for name in preaggregators.entries()),
    ],
)
def test_uniform_weights_are_those_of_equal_clients_for_every_rule(small, spec):
    scenario = small.replace(strategy=spec, weights="uniform", malicious=0.1)
    unequal = aggregated(scenario, [float(10 + 40 * client_id) for client_id in range(10)])
    equal = aggregated(scenario.replace(weights="examples"), [30.0] * 10)
    assert torch.equal(unequal, equal)


def test_uniform_weights_reach_flowers_strategies(small):
    uneven = small.replace(partition="dirichlet(alpha=0.3)", weights="uniform", rounds=2)
    ours, theirs = (simulate(uneven.replace(strategy=spec)) for spec in ("fedavg", "flwr:FedAvg"))
    assert theirs.last.loss == pytest.approx(ours.last.loss, rel=1e-4)
    weighted = simulate(uneven.replace(weights="examples"))
    assert weighted.last.loss != pytest.approx(ours.last.loss, rel=1e-3)


def test_a_replay_has_the_weights_of_the_run(small, tmp_path):
    uneven = small.replace(partition="dirichlet(alpha=0.3)", weights="uniform", rounds=1)
    saved = simulate(uneven, out=tmp_path, keep_updates=[1])
    (result,) = replay(saved.path, 1, ["fedavg"]).results
    assert set(result.trust.values()) == {0.1}
    assert result.record.confusion == saved.last.confusion


def test_the_default_leaves_run_ids_as_they_were():
    assert "weights" not in Scenario().content()
    assert Scenario(weights="examples").run_id == Scenario().run_id
    assert Scenario().run_id == "b76acbac63ad"
    uniform = Scenario(weights="uniform")
    assert uniform.content()["weights"] == "uniform"
    assert uniform.run_id != Scenario().run_id
