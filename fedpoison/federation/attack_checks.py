"""Checks before a run that the attacks of a scenario can work on its data, its model and its clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from clients.attacks.base import Attack, AttackSetting
from clients.attacks.composite import parts_of
from clients.training.parameters import Layout
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.errors import ScenarioError, code_errors
from fedpoison.scenario.aggregation import FlowerStrategy
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.scenario import Scenario

SOME = 10**6
"""A number of examples for which an attack says what it would report."""


def check_attacks(
    scenario: Scenario, samples: Samples, layout: Layout, trainer: Callable[[], Trainer]
) -> None:
    """Check that each attack of a scenario, and its goal, can work.

    Args:
        scenario: Attacks, goal and other settings.
        samples: Training samples of all clients.
        layout: Names and shapes of the model's parameters.
        trainer: Creates a trainer of the model.

    Raises:
        ScenarioError: an attack cannot work. The message names the attack and the reason.
        CrashError: the code of an attack raised another exception than a ValueError.
    """
    if isinstance(scenario.aggregation, FlowerStrategy):
        for group in scenario.attackers:
            if group.built_attack.card.knows_rule:
                raise ScenarioError(
                    f"attack {group.attack}: needs the server's rule, and Flower's strategies have none; "
                    "choose another attack, or one of our strategies."
                )
    counts = tuple(samples.labels.bincount(minlength=samples.classes).tolist())
    for spec, attack, malicious in _attacks(scenario):
        setting = AttackSetting(
            samples=samples,
            class_counts=counts,
            training=scenario.training,
            layout=layout,
            clients=scenario.clients,
            malicious=malicious,
            trainer=trainer,
        )
        check_attack_in(setting, attack, spec)


def check_attack_in(setting: AttackSetting, attack: Attack, spec: str) -> None:
    """Check one attack in a setting. Errors as `check_attacks`."""
    for part in parts_of(attack):
        with code_errors(f"attack {spec}"):
            try:
                part.check(setting)
            except ValueError as error:
                raise ScenarioError(f"attack {spec}: {error}") from None


def _attacks(scenario: Scenario) -> Iterator[tuple[str, Attack, int]]:
    """Yield each attack with its spec and its number of malicious clients: 0 for that of the goal."""
    for group in scenario.attackers:
        yield group.attack, group.built_attack, group.size(scenario.clients)
    if scenario.goal is not None:
        yield scenario.goal, read_attack(scenario.goal).value, 0


def example_notes(scenario: Scenario) -> list[str]:
    """Return a note for each attack that lies about its number of examples to a server that ignores it."""
    aggregation = scenario.aggregation
    if scenario.weights == "uniform":
        reason = "all weights are uniform"
    elif isinstance(aggregation, FlowerStrategy) or aggregation.card.uses_weights:
        return []
    else:
        reason = f"the strategy {scenario.strategy} does not weight the updates"
    return [
        f"the attack {group.attack} reports false numbers of examples, which have no effect: {reason}"
        for group in scenario.attackers
        if _lies(group.attack, group.built_attack)
    ]


def _lies(spec: str, attack: Attack) -> bool:
    """Return whether an attack reports another number of examples than a client has."""
    with code_errors(f"attack {spec}"):
        return attack.claimed_examples(SOME) != SOME
