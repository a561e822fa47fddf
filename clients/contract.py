"""The contract suite of attacks: `check_attack` holds any attack, ours or yours, to the laws of `Attack`."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from copy import deepcopy
from itertools import product

import torch
from torch import Tensor

from clients.attack import Attack, Knowledge
from clients.composite import Composite
from clients.samples import Samples
from clients.trial import ROUNDS, Trial, same, trial_context, trial_samples, trial_trainer


class ContractError(AssertionError):
    """An attack breaks one of the laws of `clients.attack.Attack`."""


def check_attack(attack: Attack, *, classes: int = 10, shape: tuple[int, int, int] = (1, 28, 28)) -> None:
    """Raise ContractError unless `attack` keeps every law of the `Attack` docstring.

    Args:
        attack: an instance; check each of the settings that you care about.
        classes: how many classes the trial data has.
        shape: channels, height and width of the trial images.

    >>> from clients.sign_flip import SignFlip
    >>> check_attack(SignFlip())
    """
    check_form(attack)
    check_samples(attack, classes=classes, shape=shape)
    for m, h, dtype in product((1, 3), (1, 6), (torch.float32, torch.float64)):
        check_craft(attack, m=m, h=h, dtype=dtype)
    check_knowledge(attack)


def check_form(attack: Attack) -> None:
    """Check that the attack is a frozen dataclass with a card, and says when it is idle."""
    parameters = getattr(type(attack), "__dataclass_params__", None)
    _require(getattr(parameters, "frozen", False), attack, "is no frozen dataclass")
    _require(hash(attack) == hash(deepcopy(attack)), attack, "differs from its copy")
    _require(
        bool(attack.card.paper and attack.card.goal and attack.card.idle_when), attack, "has a bare card"
    )
    for clients, malicious in ((1, 1), (10, 0), (10, 2), (100, 20), (100, 60)):
        reason = attack.idle(clients, malicious)
        _require(reason is None or bool(reason), attack, "is idle for no reason")


def check_craft(attack: Attack, *, m: int, h: int, dtype: torch.dtype) -> None:
    """Check what is sent for m malicious and h honest clients, at every level of knowledge."""
    for knowledge in (None, *Knowledge):
        case = f"m={m}, h={h}, {dtype}, knowledge {knowledge}"
        trial = Trial(m=m, h=h, dtype=dtype)
        sent = trial.play(attack, knowledge)
        for own, rows in zip(trial.own, sent, strict=True):
            _require(
                rows.shape == own.shape, attack, f"sends {tuple(rows.shape)} for {tuple(own.shape)}: {case}"
            )
            _require(rows.dtype == own.dtype, attack, f"sends {rows.dtype} for {own.dtype}: {case}")
            if attack.card.finite:
                _require(bool(rows.isfinite().all()), attack, f"sends what is not finite: {case}")
        _require(trial.untouched(), attack, f"writes to its arguments: {case}")
        again = Trial(m=m, h=h, dtype=dtype).play(attack, knowledge)
        _require(same(sent, again), attack, f"does not give the same twice: {case}")


def check_knowledge(attack: Attack) -> None:
    """Check that what the card does not declare does not change what is sent."""
    for part in attack.parts if isinstance(attack, Composite) else (attack,):
        card = part.card
        trial = Trial()
        usual = trial.play(part)
        if card.knowledge is not Knowledge.OMNISCIENT:
            other = Trial()
            other.honest = [-3 * rows for rows in other.honest]
            _require(same(usual, other.play(part)), part, "depends on honest updates it may not see")
        if card.knowledge is Knowledge.OWN:
            other = Trial()
            other.own = [torch.cat([rows[:1], -3 * rows[1:]]) for rows in other.own]
            first = [rows[:1] for rows in usual]
            _require(
                same(first, [rows[:1] for rows in other.play(part)]),
                part,
                "depends on another client's update",
            )
        if not card.knows_rule:
            other = Trial(rule_sign=-1, tolerated=0)
            _require(same(usual, other.play(part)), part, "depends on a rule it does not know")


def check_samples(attack: Attack, *, classes: int, shape: tuple[int, int, int]) -> None:
    """Check the poisoned data, the training on it, and the goal."""
    samples = trial_samples(40, classes, shape)
    kept = deepcopy(samples)
    outcomes = []
    for _ in range(2):
        trainer = trial_trainer(classes, shape)
        memory: MutableMapping[str, Tensor] = {}
        outcome: list[Tensor] = []
        model = trainer.weights()
        previous = None
        for server_round in range(1, ROUNDS + 1):
            context = trial_context(model, previous, server_round, trainer, memory)
            start = model.clone()
            trainer.load(model)
            poisoned = attack.poison_data(samples, trainer, context)
            _require(torch.equal(trainer.weights(), start), attack, "leaves the trainer off the global model")
            _check_poisoned(attack, poisoned, samples)
            loss = attack.train(trainer, poisoned, context)
            _require(math.isfinite(loss), attack, f"reports a loss of {loss}")
            _require(torch.equal(model, start), attack, "writes to the global model")
            outcome += [poisoned.images, poisoned.labels, trainer.weights()]
            previous, model = model, model + 0.5 * (trainer.weights() - model)
        outcomes.append(outcome)
    _require(same(*outcomes), attack, "does not poison and train the same twice")
    untouched = torch.equal(samples.images, kept.images) and torch.equal(samples.labels, kept.labels)
    _require(untouched, attack, "writes to the client's samples")
    goal = attack.goal(classes)
    if goal is not None:
        named = [goal.target] if goal.source is None else [goal.target, goal.source]
        _require(all(0 <= name < classes for name in named), attack, f"aims at classes {named} of {classes}")
        if goal.trigger is not None:
            _check_poisoned(attack, goal.trigger(samples), samples)


def _check_poisoned(attack: Attack, poisoned: Samples, samples: Samples) -> None:
    images, labels = poisoned.images, poisoned.labels
    _require(
        images.shape[1:] == samples.images.shape[1:], attack, f"makes images of {tuple(images.shape[1:])}"
    )
    _require(len(images) == len(labels), attack, f"makes {len(images)} images and {len(labels)} labels")
    _require(images.dtype == samples.images.dtype, attack, f"makes images of {images.dtype}")
    _require(labels.dtype == samples.labels.dtype, attack, f"makes labels of {labels.dtype}")
    _require(bool(images.isfinite().all()), attack, "makes images that are not finite")
    in_range = bool(((labels >= 0) & (labels < samples.classes)).all())
    _require(in_range, attack, f"makes labels beyond 0 to {samples.classes - 1}")


def _require(condition: object, attack: Attack, fault: str) -> None:
    if not condition:
        raise ContractError(f"{attack!r} {fault}.")
