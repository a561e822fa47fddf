"""Attacks as arguments: a text or an object, and where in a Flower app an attack can act."""

from __future__ import annotations

from collections.abc import Callable

from clients.attacks.base import Attack, NoAttack, crafts_updates
from clients.attacks.composite import parts_of, poisons_data, replaces_training
from fedpoison.errors import ScenarioError
from fedpoison.scenario.registries import read_attack


def read_any_attack(attack: str | Attack) -> Attack:
    """Return the attack that a text describes, or the object itself.

    Raises:
        ScenarioError: the text describes no attack, or the object is none.
    """
    if isinstance(attack, str):
        return read_attack(attack).value
    if not isinstance(attack, Attack):
        raise ScenarioError(
            f"attack: got {attack!r}, expected a text such as 'alie', or an object such as "
            "fedpoison.attacks.Alie(z=1.0)."
        )
    return attack


def read_update_attack(attack: str | Attack) -> Attack:
    """Return an attack on updates.

    Raises:
        ScenarioError: a part of the attack changes the data or the training.
    """
    return _read_where(
        attack,
        lambda part: crafts_updates(part) and not poisons_data(part),
        "changes the data of a client, expected an attack on updates; use fedpoison.flower.poison_dataset in "
        "the ClientApp",
    )


def read_data_attack(attack: str | Attack) -> Attack:
    """Return an attack on data.

    Raises:
        ScenarioError: a part of the attack changes the training or the update.
    """
    return _read_where(
        attack,
        lambda part: poisons_data(part) and not crafts_updates(part),
        "changes the update of a client, expected an attack on data; use fedpoison.flower.AttackedStrategy "
        "in the ServerApp, or update_mod in the ClientApp",
    )


def _read_where(attack: str | Attack, fits: Callable[[Attack], bool], fault: str) -> Attack:
    """Return the attack, or raise ScenarioError with the fault if a part does not fit."""
    read = read_any_attack(attack)
    for part in parts_of(read):
        if isinstance(part, NoAttack):
            continue
        _refuse_other_stages(part)
        if not fits(part):
            raise ScenarioError(f"attack {part!r}: {fault}.")
    return read


def _refuse_other_stages(part: Attack) -> None:
    if poisons_data(part) and crafts_updates(part) and not replaces_training(part):
        raise ScenarioError(
            f"attack {part!r}: changes the data and the update of a client, expected one of the two; combine "
            "poison_dataset and update_mod, or run the attack with fedpoison.simulate."
        )
    if replaces_training(part):
        raise ScenarioError(
            f"attack {part!r}: changes the local training, which is your own code in your own app; choose an "
            "attack on data or updates, or run the attack with fedpoison.simulate."
        )
