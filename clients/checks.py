"""Checks of attacks: `check_attack` tests every property that the docstring of `Attack` lists."""

import math
from collections.abc import MutableMapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor, nn

from clients.attacks.base import Attack, ClientContext, CraftContext, Knowledge, OwnTraining, Range
from clients.attacks.composite import craft_updates, parts_of
from clients.training.local_training import LocalTraining
from clients.training.parameters import layout_of
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.errors import CheckError, ensure

ROUNDS = 3


@dataclass(kw_only=True)
class SyntheticClients:
    """Malicious and honest clients with random updates, on which an attack runs for a few rounds."""

    m: int = 3
    h: int = 6
    d: int = 24
    """Number of coordinates, a multiple of 4 of at least 8: those of a linear model with 4 classes."""
    dtype: torch.dtype = torch.float32
    rule_sign: int = 1
    tolerated: int = 2
    own: list[Tensor] = field(init=False)
    honest: list[Tensor] = field(init=False)
    models: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(7)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(self.dtype)

        drift = draw(self.d)
        self.own = [drift + draw(self.m, self.d) for _ in range(ROUNDS)]
        self.honest = [drift + draw(self.h, self.d) for _ in range(ROUNDS)]
        self.models = [draw(self.d) for _ in range(ROUNDS)]
        self._kept = deepcopy((self.own, self.honest, self.models))
        features = self.d // 4 - 1
        model = nn.Sequential(nn.Flatten(), nn.Linear(features, 4))
        self._trainer = Trainer(model, LocalTraining(batch_size=4))
        self._data = synthetic_samples(12, 4, (1, 1, features))

    def unchanged(self) -> bool:
        """Return whether all tensors still have their initial values."""
        return all(map(bitwise_equal, (self.own, self.honest, self.models), self._kept))

    def _at(self, index: int) -> Trainer:
        """Return the trainer with the global model of a round."""
        self._trainer.load(self.models[index])
        return self._trainer

    def _samples(self, client_id: int) -> Samples:
        """Return samples of a client, a third of them poisoned."""
        return replace(self._data, poisoned=torch.arange(len(self._data)) % self.m == client_id % self.m)

    def run(self, attack: Attack, knowledge: Knowledge | None = None) -> list[Tensor]:
        """Return the malicious clients' updates per round, (m, d) each."""
        memories: dict[tuple[Attack, int | None], dict[str, Tensor]] = {}
        client_ids = tuple(range(self.m))

        def run_round(index: int) -> Tensor:
            def build_context(part: Attack, client_id: int | None) -> CraftContext:
                seed = 100 * index + (99 if client_id is None else client_id)
                return CraftContext(
                    generator=torch.Generator().manual_seed(seed),
                    round=index + 1,
                    client_ids=client_ids if client_id is None else (client_id,),
                    seen_client_ids=tuple(range(self.m, self.m + self.h)),
                    group_client_ids=client_ids,
                    round_client_ids=tuple(range(self.m + self.h)),
                    clients=self.m + self.h,
                    malicious=self.m,
                    model=self.models[index],
                    previous_model=self.models[index - 1] if index else None,
                    initial_model=self.models[0],
                    layout=layout_of(self._trainer.model),
                    rule=lambda updates: self.rule_sign * updates.median(dim=0).values,
                    trust=self._trust,
                    tolerated=self.tolerated,
                    memory=memories.setdefault((part, client_id), {}),
                    own_training=OwnTraining(trainer=partial(self._at, index), samples=self._samples),
                )

            return craft_updates(
                attack,
                self.own[index],
                self.honest[index],
                build_context,
                client_ids=client_ids,
                knowledge=knowledge,
            )

        return [run_round(index) for index in range(ROUNDS)]

    def _trust(self, updates: Tensor) -> Tensor:
        """Return larger weights for updates near the median. The rule's sign reverses the order."""
        distances: Tensor = torch.linalg.vector_norm((updates - updates.median(dim=0).values).double(), dim=1)
        return (-self.rule_sign * distances).softmax(dim=0)


def synthetic_samples(count: int, classes: int, shape: tuple[int, int, int]) -> Samples:
    """Sample normalised random images, with labels of every class."""
    generator = torch.Generator().manual_seed(11)
    images = torch.rand((count, *shape), generator=generator)
    channels = shape[0]
    empty = Samples(
        images, torch.arange(count) % classes, classes, mean=(0.1,) * channels, std=(0.3,) * channels
    )
    return empty.with_pixels(images)


def synthetic_trainer(classes: int, shape: tuple[int, int, int]) -> Trainer:
    """Build a trainer of a small network with fixed weights."""
    pixels = shape[0] * shape[1] * shape[2]
    model = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 8), nn.ReLU(), nn.Linear(8, classes))
    weights = torch.randn(
        sum(p.numel() for p in model.parameters()), generator=torch.Generator().manual_seed(13)
    )
    trainer = Trainer(model, LocalTraining(batch_size=16))
    trainer.load(0.05 * weights)
    return trainer


def synthetic_context(
    model: Tensor,
    previous: Tensor | None,
    server_round: int,
    trainer: Trainer,
    memory: MutableMapping[str, Tensor],
) -> ClientContext:
    """Build the context of one malicious client."""
    return ClientContext(
        generator=torch.Generator().manual_seed(server_round),
        poison_generator=torch.Generator().manual_seed(0),
        round=server_round,
        client_id=2,
        rank=1,
        size=3,
        model=model,
        previous_model=previous,
        layout=layout_of(trainer.model),
        memory=memory,
    )


def bitwise_equal(first: list[Tensor], second: list[Tensor]) -> bool:
    """Return whether the tensors have the same bits. NaN equals NaN."""
    return all(
        torch.equal(a, b) or torch.allclose(a, b, 0, 0, equal_nan=True)
        for a, b in zip(first, second, strict=True)
    )


__all__ = ["CheckError", "check_attack"]


def check_attack(attack: Attack, *, classes: int = 10, shape: tuple[int, int, int] = (1, 28, 28)) -> None:
    """Check that `attack` has every property that the docstring of `Attack` lists, on synthetic clients.

    Args:
        attack: an instance. Check every setting that you use.
        classes: the number of classes of the synthetic data.
        shape: channels, height and width of the synthetic images.

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
    kept = deepcopy(samples)
    outcomes = []
    for _ in range(2):
        trainer = synthetic_trainer(classes, shape)
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


def _check_poisoned(attack: Attack, poisoned: Samples, samples: Samples) -> None:
    images, labels = poisoned.images, poisoned.labels
    ensure(
        images.shape[1:] == samples.images.shape[1:], attack, f"creates images of {tuple(images.shape[1:])}"
    )
    ensure(len(images) == len(labels), attack, f"creates {len(images)} images and {len(labels)} labels")
    ensure(images.dtype == samples.images.dtype, attack, f"creates images of {images.dtype}")
    ensure(labels.dtype == samples.labels.dtype, attack, f"creates labels of {labels.dtype}")
    ensure(bool(images.isfinite().all()), attack, "creates images that are not finite")
    in_range = bool(((labels >= 0) & (labels < samples.classes)).all())
    ensure(in_range, attack, f"creates labels beyond 0 to {samples.classes - 1}")
