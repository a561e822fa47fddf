"""Everything that a scenario determines before the first round: data, nodes, model, attacker."""

from __future__ import annotations

import itertools
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from clients.attacks.base import AttackGoal, ClientContext
from clients.training.batch import Job
from clients.training.dropout import has_dropout
from clients.training.parameters import Layout, flatten, layout_of
from clients.training.samples import Samples
from fedpoison import models as model_builders
from fedpoison.data import AUTO, Dataset, load_dataset
from fedpoison.errors import ScenarioError
from fedpoison.rng import generator_for
from fedpoison.scenario.aggregation import FlowerStrategy
from fedpoison.scenario.attackers import first_goal
from fedpoison.scenario.registries import models, read_partition
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.selection import AttackerSelection


@dataclass(frozen=True)
class Federation:
    """The nodes of a scenario with their data, and which of them are malicious.

    Raises:
        ScenarioError: the scenario does not fit the data set, such as an attack on a class that it does not
            have, or more clients than samples.
    """

    scenario: Scenario
    dataset: Dataset

    def __post_init__(self) -> None:
        self._objective  # noqa: B018  # raises before anything is trained
        self.parts  # noqa: B018  # the same
        if isinstance(self.scenario.aggregation, FlowerStrategy):
            for attackers in self.attackers.groups:
                if attackers.attack.card.knows_rule:
                    raise ScenarioError(
                        f"attack {attackers.group.attack} knows the server's rule, but a strategy of "
                        "Flower's own does not show one; choose another attack, or one of our strategies."
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

    @property
    def attackers(self) -> AttackerSelection:
        """Which clients train, are malicious and attack in each round."""
        return self.scenario.selection

    @property
    def goal_attack(self) -> str | None:
        """The attack whose success is measured: the scenario's goal, or else its first with a target."""
        return None if self._objective is None else self._objective[0]

    @property
    def goal(self) -> AttackGoal | None:
        """How the success of the attack is measured."""
        return None if self._objective is None else self._objective[1]

    @cached_property
    def _objective(self) -> tuple[str, AttackGoal] | None:
        scenario = self.scenario
        try:
            own = first_goal([group.attack for group in scenario.attackers], self.classes)
            if scenario.goal is None:
                return own
            named = first_goal([scenario.goal], self.classes)
        except ValueError as error:
            raise ScenarioError(str(error)) from None
        if named is None:
            raise ScenarioError(
                f"goal: {scenario.goal} has no target; name an attack that has, such as backdoor."
            )
        return named

    @property
    def no_effect(self) -> list[str]:
        """Why attacks of the scenario cannot do anything, where they cannot."""
        return self.attackers.no_effect(self.scenario.rounds)

    @cached_property
    def train(self) -> Samples:
        """The training samples that the scenario uses."""
        return _drawn(
            self.dataset.name,
            self.dataset.train,
            self.scenario.train_samples,
            self.scenario.seed,
            "train_samples",
        )

    @cached_property
    def test(self) -> Samples:
        """The test samples that the scenario evaluates on."""
        return _drawn(
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
        train, seed = self.train, scenario.seed
        if scenario.malicious_partition is None:
            return _spread(scenario.partition, train, len(everybody), seed, "partition")
        malicious = self.attackers.malicious(1)
        honest = len(everybody) - len(malicious)
        if not honest or any(
            attackers.schedule.rotation(1) is not None for attackers in self.attackers.groups
        ):
            raise ScenarioError(
                "malicious_partition: wants some honest nodes, and malicious ones that stay the same; "
                "leave it out, or change who is malicious."
            )
        own = iter(_spread(scenario.partition, train, honest, seed, "partition"))
        apart = _spread(scenario.malicious_partition, train, honest, seed, "malicious partition")
        copies = itertools.cycle(apart)
        return [next(copies if client_id in malicious else own) for client_id in everybody]

    @cached_property
    def root(self) -> Samples:
        """The clean samples that the server holds, drawn like a client's."""
        count = min(self.scenario.root_samples, len(self.train))
        order = torch.randperm(len(self.train), generator=generator_for(self.scenario.seed, "root data"))
        return self.train[order[:count]]

    def model(self) -> nn.Module:
        """Return a model with the initial weights of the run."""
        _, channels, height, width = self.dataset.train.images.shape
        generator = generator_for(self.scenario.seed, "initial weights")
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

    def job(
        self,
        client_id: int,
        server_round: int,
        model: Tensor,
        previous_model: Tensor | None,
        memory: MutableMapping[str, Tensor],
        *,
        train: Samples | None = None,
    ) -> Job:
        """Return what `client_id` has to do in this round.

        Args:
            client_id: which one.
            server_round: counts from 1.
            model: the global weights (d,) that it starts from.
            previous_model: those of the round before, for attacks that look back.
            memory: what it remembers from round to round.
            train: the training samples, wherever they lie; None takes those in main memory.
        """
        seed, role = self.scenario.seed, self.attackers.role(client_id, server_round)
        context = ClientContext(
            generator=generator_for(seed, "client", client_id, "round", server_round),
            poison_generator=generator_for(seed, "poison", client_id),
            round=server_round,
            client_id=client_id,
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
            part=self.parts[client_id],
        )


def resolve_dataset(scenario: Scenario, dataset: Dataset) -> Scenario:
    """Return the scenario with the name of the loaded data set in place of `auto`.

    If `auto` has fewer samples than the scenario asks for, the scenario uses all of them.
    """
    if scenario.dataset != AUTO:
        return scenario
    sizes = {"train_samples": len(dataset.train), "test_samples": len(dataset.test)}
    changes = {field: 0 for field, size in sizes.items() if getattr(scenario, field) > size}
    return scenario.replace(dataset=dataset.name, **changes)


@lru_cache(maxsize=8)
def _drawn(name: str, samples: Samples, limit: int, seed: int, field: str) -> Samples:
    """Return `limit` random samples of the data set `name`, or all for 0; fleets of one seed share them.

    Raises:
        ScenarioError: there are fewer.
    """
    if limit in (0, len(samples)):
        return samples
    if limit > len(samples):
        raise ScenarioError(f"{field}: got {limit}, wanted at most {len(samples)}, or 0 for all, of {name}.")
    return samples[torch.randperm(len(samples), generator=generator_for(seed, field))[:limit]]


@lru_cache(maxsize=8)
def _spread(partition: str, samples: Samples, client_ids: int, seed: int, name: str) -> list[Tensor]:
    """Return each node's positions in `samples`, drawn from the stream `name`; fleets of one seed share them.

    Raises:
        ScenarioError: the partition does not give one part for each node.
    """
    parts = read_partition(partition).value(samples.labels, client_ids, generator_for(seed, name))
    if len(parts) != client_ids:
        raise ScenarioError(
            f"partition {partition}: got {len(parts)} parts, wanted one for each of {client_ids}."
        )
    return parts
