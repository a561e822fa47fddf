"""Everything that a scenario determines before the first round: data, nodes, model, attacker."""

from __future__ import annotations

import itertools
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from clients.attack import Attack, ClientContext, Goal
from clients.cohort import Job
from clients.dropout import has_dropout
from clients.parameters import Layout, flatten, layout_of
from clients.samples import Samples
from fedpoison import models as model_builders
from fedpoison.attackers import Attackers, aim, idle_reasons
from fedpoison.datasets import AUTO, Dataset, load_dataset
from fedpoison.errors import ScenarioError
from fedpoison.pipelines import FlowerClass, Pipeline, build_pipeline
from fedpoison.registries import build_attack, models
from fedpoison.roles import Role, role_of
from fedpoison.roster import members
from fedpoison.scenario import Scenario
from fedpoison.shared_draws import drawn, spread
from fedpoison.streams import stream


@dataclass(frozen=True)
class Fleet:
    """The nodes of a scenario with their data, and which of them are malicious.

    Raises:
        ScenarioError: the scenario does not fit the data set, such as an attack on a class that it does not
            have, or more clients than samples.
    """

    scenario: Scenario
    dataset: Dataset

    def __post_init__(self) -> None:
        try:
            self.goal  # noqa: B018  # found out before anything is trained
        except ValueError as error:
            raise ScenarioError(str(error)) from None
        self.parts  # noqa: B018  # likewise
        if isinstance(self.pipeline, FlowerClass):
            for group in self.scenario.attackers:
                if build_attack(group.attack).card.knows_rule:
                    raise ScenarioError(
                        f"attack {group.attack} knows the server's rule, but a strategy of Flower's own does "
                        "not show one; choose another attack, or one of our strategies."
                    )
        if self.scenario.dropout_seed is not None and not has_dropout(self.model()):
            raise ScenarioError(
                f"dropout_seed: model {self.scenario.model} has no dropout; unset it, or change the model."
            )

    @classmethod
    def load(cls, scenario: Scenario, *, data_dir: Path | None = None) -> Self:
        """Load the data set of a scenario and return its fleet.

        Args:
            scenario: if its data set is `auto`, the fleet's scenario names the one that was loaded.
            data_dir: as for `simulate`.

        Raises:
            ScenarioError: the scenario does not fit the data set.
            DataError: the data set cannot be had.
        """
        dataset = load_dataset(scenario.dataset, data_dir=data_dir)
        return cls(resolve_dataset(scenario, dataset), dataset)

    @property
    def classes(self) -> int:
        return self.dataset.train.classes

    @cached_property
    def attack(self) -> Attack:
        """What malicious nodes do, where the scenario has a single group of them."""
        return build_attack(self.scenario.attack)

    @cached_property
    def attackers(self) -> tuple[Attackers, ...]:
        """The groups of attackers."""
        if not self.scenario.groups:
            return (Attackers.of(self.scenario.attackers[0], self.attack),)
        return tuple(Attackers.of(group) for group in self.scenario.groups)

    def pools(self, server_round: int) -> tuple[frozenset[int], ...]:
        """Return the nodes of each group in this round, whether they train in it or not."""
        groups = tuple(attackers.group for attackers in self.attackers)
        turns = tuple(attackers.schedule.turn(server_round) for attackers in self.attackers)
        return members(self.scenario.seed, self.scenario.clients, groups, turns)

    def malicious(self, server_round: int) -> frozenset[int]:
        """Return the malicious nodes of this round, whether they attack in it or not."""
        return frozenset[int]().union(*self.pools(server_round))

    def acting(self, server_round: int) -> frozenset[int]:
        """Return the nodes that are not honest in this round, if they train in it."""
        pools = zip(self.attackers, self.pools(server_round), strict=True)
        return frozenset[int]().union(*(pool for attackers, pool in pools if attackers.act(server_round)))

    @cached_property
    def aim(self) -> str | None:
        """The attack whose success is measured: the scenario's goal, or else its first with a target."""
        own = aim([group.attack for group in self.scenario.attackers], self.classes)
        if self.scenario.goal is None:
            return own
        named = aim([self.scenario.goal], self.classes)
        if named is None:
            raise ScenarioError(
                f"goal: {self.scenario.goal} has no target; name an attack that has, such as backdoor."
            )
        return named

    @cached_property
    def goal(self) -> Goal | None:
        """How the success of the attack is measured."""
        return None if self.aim is None else build_attack(self.aim).goal(self.classes)

    @cached_property
    def idle(self) -> list[str]:
        """Why attacks of the scenario cannot do anything, where they cannot."""
        scenario = self.scenario
        return idle_reasons(
            self.attackers, clients=scenario.clients, sampled=scenario.sampled, rounds=scenario.rounds
        )

    @cached_property
    def pipeline(self) -> Pipeline | FlowerClass:
        return build_pipeline(self.scenario.strategy, byzantine=self.scenario.byzantine)

    @cached_property
    def train(self) -> Samples:
        """The training samples that the scenario uses."""
        return drawn(
            self.dataset.name,
            self.dataset.train,
            self.scenario.train_samples,
            self.scenario.seed,
            "train_samples",
        )

    @cached_property
    def test(self) -> Samples:
        """The test samples that the scenario evaluates on."""
        return drawn(
            self.dataset.name,
            self.dataset.test,
            self.scenario.test_samples,
            self.scenario.seed,
            "test_samples",
        )

    @cached_property
    def parts(self) -> list[Tensor]:
        """Each node's partition, as positions in `train`.

        With a partition of their own, malicious nodes hold copies: the honest ones share out all samples
        among themselves, and each malicious one gets a part as large as an honest one would.
        """
        scenario, everybody = self.scenario, range(self.scenario.clients)
        if scenario.malicious_partition is None:
            return spread(scenario.partition, self.train, len(everybody), scenario.seed, "partition")
        malicious = self.malicious(1)
        honest = len(everybody) - len(malicious)
        if not honest or any(attackers.schedule.turn(1) is not None for attackers in self.attackers):
            raise ScenarioError(
                "malicious_partition: wants some honest nodes, and malicious ones that stay the same; "
                "leave it out, or change who is malicious."
            )
        own = iter(spread(scenario.partition, self.train, honest, scenario.seed, "partition"))
        apart = spread(scenario.malicious_partition, self.train, honest, scenario.seed, "malicious partition")
        copies = itertools.cycle(apart)
        return [next(copies if node in malicious else own) for node in everybody]

    @cached_property
    def root(self) -> Samples:
        """The clean samples that the server holds, drawn like a client's."""
        count = min(self.scenario.root_samples, len(self.train))
        order = torch.randperm(len(self.train), generator=stream(self.scenario.seed, "root data"))
        return self.train[order[:count]]

    def model(self) -> nn.Module:
        """Return a model with the initial weights of the run."""
        _, channels, height, width = self.dataset.train.images.shape
        generator = stream(self.scenario.seed, "initial weights")
        return model_builders.build(
            models[self.scenario.model], (channels, height, width), self.classes, generator
        )

    @cached_property
    def layout(self) -> Layout:
        return layout_of(self.model())

    @cached_property
    def initial(self) -> Tensor:
        """The initial global weights, (d,)."""
        return flatten(self.model().parameters())

    def sample(self, server_round: int) -> list[int]:
        """Return the nodes that train in this round, ascending.

        They are drawn at random; a group with a fixed number in every round is drawn from on its own.
        """
        scenario = self.scenario
        order = torch.randperm(scenario.clients, generator=stream(scenario.seed, "sample", server_round))
        others, chosen = order.tolist(), []
        for attackers, pool in zip(self.attackers, self.pools(server_round), strict=True):
            if attackers.group.per_round is not None:
                chosen += [node for node in others if node in pool][: attackers.group.per_round]
                others = [node for node in others if node not in pool]
        return sorted(chosen + others[: scenario.sampled - len(chosen)])

    def role(self, node: int, server_round: int) -> Role:
        """Return what `node` is in this round."""
        return role_of(node, server_round, self.attackers, self.pools(server_round))

    def job(
        self,
        node: int,
        server_round: int,
        model: Tensor,
        previous_model: Tensor | None,
        memory: MutableMapping[str, Tensor],
        *,
        train: Samples | None = None,
    ) -> Job:
        """Return what `node` has to do in this round.

        Args:
            node: which one.
            server_round: counts from 1.
            model: the global weights (d,) that it starts from.
            previous_model: those of the round before, for attacks that look back.
            memory: what it remembers from round to round.
            train: the training samples, wherever they lie; None takes those in main memory.
        """
        seed, role = self.scenario.seed, self.role(node, server_round)
        context = ClientContext(
            generator=stream(seed, "client", node, "round", server_round),
            poison_generator=stream(seed, "poison", node),
            round=server_round,
            node=node,
            rank=role.rank,
            size=role.size,
            model=model,
            previous_model=previous_model,
            layout=self.layout,
            memory=memory,
        )
        return Job(
            samples=self.train if train is None else train,
            attack=role.attack,
            context=context,
            part=self.parts[node],
        )


def resolve_dataset(scenario: Scenario, dataset: Dataset) -> Scenario:
    """Return the scenario with the name of the loaded data set in place of `auto`.

    If `auto` has fewer samples than the scenario asks for, the scenario uses all of them.
    """
    if scenario.dataset != AUTO:
        return scenario
    sizes = {"train_samples": len(dataset.train), "test_samples": len(dataset.test)}
    changes = {field: 0 for field, size in sizes.items() if getattr(scenario, field) > size}
    return scenario.but(dataset=dataset.name, **changes)
