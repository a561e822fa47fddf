"""Checks of attacks: `check_attack` tests every property that the docstring of `Attack` lists."""

import math
from collections.abc import MutableMapping
from copy import deepcopy
from dataclasses import fields
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackSetting, Knowledge, Range
from clients.attacks.composite import parts_of
from clients.synthetic import (
    ROUNDS,
    SyntheticClients,
    bitwise_equal,
    synthetic_context,
    synthetic_samples,
    synthetic_tokens,
    synthetic_trainer,
)
from clients.training.local_training import LocalTraining
from clients.training.parameters import layout_of
from clients.training.samples import Samples
from fedpoison.errors import CheckError, ensure

__all__ = ["CheckError", "check_attack"]


def check_attack(attack: Attack, *, classes: int = 10, shape: tuple[int, int, int] = (1, 28, 28)) -> None:
    """Check that `attack` has every property that the docstring of `Attack` lists, on synthetic clients.

    Args:
        attack: an instance. Check every setting that you use.
        classes: the number of classes of the synthetic data.
        shape: channels, height and width of the synthetic images. An attack on tokens is checked on
            sequences of as many tokens.

    Raises:
        CheckError: The attack lacks a property. The message names the attack and the property.

    >>> from clients.attacks.updates.simple_updates import SignFlip
    >>> check_attack(SignFlip())
    """
    check_form(attack)
    check_samples(attack, classes=classes, shape=shape)
    for m, h, dtype in product((1, 3), (1, 6), (torch.float32, torch.float64)):
        check_craft(attack, m=m, h=h, dtype=dtype)
    check_knowledge(attack)


def check_form(attack: Attack) -> None:
    """Check that the attack is a frozen dataclass with a card and valid reasons for no effect."""
    parameters = getattr(type(attack), "__dataclass_params__", None)
    ensure(getattr(parameters, "frozen", False), attack, "is not a frozen dataclass")
    ensure(hash(attack) == hash(deepcopy(attack)), attack, "differs from its copy")
    ensure(
        bool(attack.card.paper and attack.card.goal and attack.card.idle_when),
        attack,
        "has a card with empty entries",
    )
    check_search_space(attack)
    for clients, malicious in ((1, 1), (10, 0), (10, 2), (100, 20), (100, 60)):
        reason = attack.no_effect(clients, malicious)
        ensure(reason is None or bool(reason), attack, "has no effect, but an empty reason")


def check_search_space(attack: Attack) -> None:
    """Check that the ends of the search space have an effect, and a target if they are backdoors."""
    space = attack.search_space
    if space is None:
        return
    parameters = {each.name for each in fields(cast("Any", attack))}
    unknown = sorted(space.parameters.keys() - parameters)
    ensure(not unknown, attack, f"has a search space with unknown parameters {unknown}")
    ends = {
        name: (tried.low, tried.high) if isinstance(tried, Range) else tried
        for name, tried in space.parameters.items()
    }
    for position in range(max((len(end) for end in ends.values()), default=1)):
        tried = type(attack)(**{name: end[position % len(end)] for name, end in ends.items()})
        ensure(tried.no_effect(20, 4) is None, tried, "is in the search space, but has no effect")
        targeted = tried.goal(10) is not None
        ensure(targeted == (space.objective == "backdoor"), tried, f"is not an attack on {space.objective}")


def check_craft(attack: Attack, *, m: int, h: int, dtype: torch.dtype) -> None:
    """Check the updates of m malicious and h honest clients, at every level of knowledge."""
    for knowledge in (None, *Knowledge):
        case = f"m={m}, h={h}, {dtype}, knowledge {knowledge}"
        synthetic = SyntheticClients(m=m, h=h, dtype=dtype)
        sent = synthetic.run(attack, knowledge)
        for own, rows in zip(synthetic.own, sent, strict=True):
            ensure(
                rows.shape == own.shape, attack, f"sends {tuple(rows.shape)} for {tuple(own.shape)}: {case}"
            )
            ensure(rows.dtype == own.dtype, attack, f"sends {rows.dtype} for {own.dtype}: {case}")
            if attack.card.finite:
                ensure(bool(rows.isfinite().all()), attack, f"sends non-finite updates: {case}")
        ensure(synthetic.unchanged(), attack, f"writes to its arguments: {case}")
        again = SyntheticClients(m=m, h=h, dtype=dtype).run(attack, knowledge)
        ensure(bitwise_equal(sent, again), attack, f"does not send the same twice: {case}")


def check_knowledge(attack: Attack) -> None:
    """Check that undeclared knowledge does not change the updates."""
    for part in parts_of(attack):
        card = part.card
        synthetic = SyntheticClients()
        usual = synthetic.run(part)
        if card.knowledge is not Knowledge.OMNISCIENT:
            other = SyntheticClients()
            other.honest = [-3 * rows for rows in other.honest]
            ensure(bitwise_equal(usual, other.run(part)), part, "depends on honest updates it may not see")
        if card.knowledge is Knowledge.OWN:
            other = SyntheticClients()
            other.own = [torch.cat([rows[:1], -3 * rows[1:]]) for rows in other.own]
            first = [rows[:1] for rows in usual]
            ensure(
                bitwise_equal(first, [rows[:1] for rows in other.run(part)]),
                part,
                "depends on another client's update",
            )
        if not card.knows_rule:
            other = SyntheticClients(rule_sign=-1, tolerated=0)
            ensure(bitwise_equal(usual, other.run(part)), part, "depends on a rule it does not know")


def check_samples(attack: Attack, *, classes: int, shape: tuple[int, int, int]) -> None:
    """Check the poisoned data, the training on it, and the goal."""
    samples = synthetic_samples(40, classes, shape)
    if attack.card.on_tokens:
        check_refusal(attack, samples)
        samples = synthetic_tokens(40, classes, shape)
    kept = deepcopy(samples)
    outcomes = []
    for _ in range(2):
        trainer = synthetic_trainer(samples)
        memory: MutableMapping[str, Tensor] = {}
        outcome: list[Tensor] = []
        model = trainer.weights()
        previous = None
        for server_round in range(1, ROUNDS + 1):
            context = synthetic_context(model, previous, server_round, trainer, memory)
            start = model.clone()
            trainer.load(model)
            poisoned = attack.poison_data(samples, trainer, context)
            ensure(torch.equal(trainer.weights(), start), attack, "changes the trainer's global model")
            _check_poisoned(attack, poisoned, samples)
            loss = attack.train(trainer, poisoned, context)
            ensure(math.isfinite(loss), attack, f"reports a loss of {loss}")
            ensure(torch.equal(model, start), attack, "writes to the global model")
            outcome += [poisoned.images, poisoned.labels, trainer.weights()]
            previous, model = model, model + 0.5 * (trainer.weights() - model)
        outcomes.append(outcome)
    ensure(bitwise_equal(*outcomes), attack, "does not poison and train the same twice")
    untouched = torch.equal(samples.images, kept.images) and torch.equal(samples.labels, kept.labels)
    ensure(untouched, attack, "writes to the client's samples")
    goal = attack.goal(classes)
    if goal is not None:
        named = [goal.target] if goal.source is None else [goal.target, goal.source]
        ensure(all(0 <= name < classes for name in named), attack, f"aims at classes {named} of {classes}")
        if goal.trigger is not None:
            _check_poisoned(attack, goal.trigger(samples), samples)


def check_refusal(attack: Attack, images: Samples) -> None:
    """Check that an attack on tokens refuses images before the run."""
    trainer = synthetic_trainer(images)
    setting = AttackSetting(
        samples=images,
        class_counts=None,
        training=LocalTraining(),
        layout=layout_of(trainer.model),
        clients=10,
        malicious=2,
        trainer=lambda: trainer,
    )
    try:
        attack.check(setting)
    except ValueError:
        return
    ensure(False, attack, "is an attack on tokens, but its check accepts images")  # noqa: FBT003


def _check_poisoned(attack: Attack, poisoned: Samples, samples: Samples) -> None:
    images, labels = poisoned.images, poisoned.labels
    ensure(
        images.shape[1:] == samples.images.shape[1:], attack, f"creates images of {tuple(images.shape[1:])}"
    )
    ensure(len(images) == len(labels), attack, f"creates {len(images)} images and {len(labels)} labels")
    ensure(images.dtype == samples.images.dtype, attack, f"creates images of {images.dtype}")
    ensure(labels.dtype == samples.labels.dtype, attack, f"creates labels of {labels.dtype}")
    ensure(bool(images.isfinite().all()), attack, "creates images that are not finite")
    ensure(bool((images >= 0).all() or samples.has_pixels), attack, "creates negative tokens")
    in_range = bool(((labels >= 0) & (labels < samples.classes)).all())
    ensure(in_range, attack, f"creates labels beyond 0 to {samples.classes - 1}")
