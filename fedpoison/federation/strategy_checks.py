"""Checks before a run that the strategy of a scenario can work on its data, its model and its clients."""

from __future__ import annotations

from clients.training.parameters import Layout
from clients.training.samples import Samples
from fedpoison.errors import ScenarioError, code_errors
from fedpoison.scenario.aggregation import FlowerStrategy, check_clients
from fedpoison.scenario.scenario import Scenario
from strategies.base import Anchored, Limited
from strategies.kernels.layers import output_weights


def check_strategy(scenario: Scenario, samples: Samples, layout: Layout) -> None:
    """Check that the strategy of a scenario can aggregate every round.

    Args:
        scenario: Strategy, and the clients of each round.
        samples: Training samples.
        layout: Names and shapes of the model's parameters.

    Raises:
        ScenarioError: the strategy cannot work. The message names the strategy and the reason.
        CrashError: the code of the strategy raised an exception.
    """
    strategy = scenario.aggregation
    if isinstance(strategy, FlowerStrategy):
        return
    if "predictions" in strategy.card.needs:
        _check_predictions(scenario.strategy, samples, layout)
    _check_sampled(scenario)


def trust_notes(scenario: Scenario) -> list[str]:
    """Return a note if the strategy trusts a client while that client attacks."""
    strategy, selection = scenario.aggregation, scenario.selection
    if not isinstance(strategy, Anchored):
        return []
    with code_errors(f"strategy {scenario.strategy}"):
        trusted = {
            server_round: strategy.trusted_client(selection.sample(server_round))
            for server_round in range(1, scenario.rounds + 1)
        }
    attacked = [each for each, client_id in trusted.items() if client_id in selection.attacking(each)]
    if not attacked:
        return []
    first = attacked[0]
    note = (
        f"the strategy {scenario.strategy} trusts a client that attacks in {len(attacked)} of "
        f"{scenario.rounds} rounds (client {trusted[first]} in round {first}), so its aggregate stays near a "
        "malicious update; trust an honest client"
    )
    return [note]


def _check_predictions(spec: str, samples: Samples, layout: Layout) -> None:
    if not samples.images.is_floating_point():
        raise ScenarioError(
            f"strategy {spec}: compares the predictions of models on random noise, and the samples of the "
            f"data set are tokens ({samples.images.dtype}), expected images or features; choose another "
            "strategy."
        )
    if output_weights(layout) is None:
        raise ScenarioError(
            f"strategy {spec}: compares the output layers of models, and the model has no weight matrix, "
            "expected at least one; choose another strategy or model."
        )


def _check_sampled(scenario: Scenario) -> None:
    """Raise ScenarioError if a round lacks a client that the strategy needs in every round."""
    strategy, sampled = scenario.aggregation, scenario.sampled
    if sampled == scenario.clients or not isinstance(strategy, Limited):
        return
    with code_errors(f"strategy {scenario.strategy}"):
        if strategy.obstacle(sampled, ()) is None:
            return  # the strategy needs no particular client
    for server_round in range(1, scenario.rounds + 1):
        try:
            check_clients(scenario.strategy, strategy, sampled, scenario.selection.sample(server_round))
        except ScenarioError as error:
            raise ScenarioError(f"strategy {scenario.strategy}, round {server_round}: {error}") from None
