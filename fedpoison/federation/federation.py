"""The federation of a scenario before its first round: data, clients, initial model and attack goal."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from clients.attacks.base import AttackGoal, ClientContext
from clients.training.batch import Job
from clients.training.parameters import (
    Buffers,
    Layout,
    ModelState,
    buffers_of,
    flatten,
    layout_of,
    load,
    trainable,
)
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.data import Dataset
from fedpoison.errors import ScenarioError, code_errors
from fedpoison.federation.attack_checks import check_attacks, example_notes
from fedpoison.federation.datasets import data_notes, dataset_of, resolve_dataset
from fedpoison.federation.model_checks import check_model, model_notes
from fedpoison.federation.splits import draw_test, draw_training, draw_validation, partition_samples
from fedpoison.federation.strategy_checks import check_strategy, trust_notes
from fedpoison.rng import generator_for
from fedpoison.scenario.aggregation import FlowerStrategy
from fedpoison.scenario.attackers import first_goal
from fedpoison.scenario.initial import read_initial
from fedpoison.scenario.model_spec import read_model
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.selection import AttackerSelection
from strategies.pipeline import without_guarantee

BUFFER = "buffer "
"""Prefix of the names of a client's own buffers in its memory."""


@dataclass(frozen=True)
class Federation:
    """The clients of a scenario with their data and roles.

    Raises:
        ScenarioError: the scenario does not fit the data set. For example, an attack targets an unknown
            class, or there are more clients than samples.
    """

    scenario: Scenario
    dataset: Dataset

    def __post_init__(self) -> None:
        self._objective  # noqa: B018  # raises before any training
        self.parts  # noqa: B018  # raises before any training
        check_model(self.scenario, self.dataset.train)
        check_strategy(self.scenario, self.train, self.layout)
        check_attacks(self.scenario, self.train, self.layout, self.trainer)

    @classmethod
    def load(cls, scenario: Scenario, *, data_dir: str | Path | None = None) -> Self:
        """Load the data set of a scenario and return its federation.

        Args:
            scenario: Scenario. If its data set is `auto` or own data, the federation names the loaded set.
            data_dir: As for `simulate`.

        Raises:
            ScenarioError: the scenario does not fit the data set.
            DataError: the data set is not available.
        """
        scenario = scenario.with_code()
        dataset = dataset_of(scenario, data_dir=data_dir)
        return cls(resolve_dataset(scenario, dataset), dataset)

    @property
    def classes(self) -> int:
        """Number of classes of the data set."""
        return self.dataset.train.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty if they have none."""
        return self.dataset.train.class_names

    @property
    def selection(self) -> AttackerSelection:
        """Which clients train, are malicious and attack in each round."""
        return self.scenario.selection

    @property
    def goal_attack(self) -> str | None:
        """Attack whose success is measured: the scenario's goal, or its first attack with a target."""
        return None if self._objective is None else self._objective[0]

    @property
    def goal(self) -> AttackGoal | None:
        """Measure of the attack's success."""
        return None if self._objective is None else self._objective[1]

    @cached_property
    def _objective(self) -> tuple[str, AttackGoal] | None:
        scenario = self.scenario
        own = first_goal([group.attack for group in scenario.attackers], self.classes)
        if scenario.goal is None:
            return own
        named = first_goal([scenario.goal], self.classes)
        if named is None:
            raise ScenarioError(
                f"goal: got {scenario.goal}, expected an attack with a target, such as backdoor."
            )
        return named

    @property
    def no_effect(self) -> list[str]:
        """A reason for each attack of the scenario that cannot have an effect."""
        return list(self.selection.no_effect(self.scenario.rounds).values())

    @property
    def warnings(self) -> list[str]:
        """Warnings before the first round, on attacks, rule, data and model."""
        aggregation, notes = self.scenario.aggregation, data_notes(self.scenario, self.dataset)
        notes += example_notes(self.scenario) + trust_notes(self.scenario)
        notes += model_notes(self.scenario, self.dataset.train)
        if isinstance(aggregation, FlowerStrategy):
            return self.no_effect + aggregation.warnings + notes
        with code_errors(f"strategy {self.scenario.strategy}"):
            return self.no_effect + without_guarantee(aggregation, self.scenario.sampled) + notes

    @cached_property
    def train(self) -> Samples:
        """The training samples of the clients, without those for validation."""
        scenario, dataset = self.scenario, self.dataset
        return draw_training(
            dataset.name, dataset.train, scenario.train_samples, scenario.validation_samples, scenario.seed
        )

    @cached_property
    def validation(self) -> Samples | None:
        """Training samples that neither a client nor the server trains on. None: the scenario has none."""
        reserved = self.scenario.validation_samples
        return draw_validation(self.dataset.train, reserved, self.scenario.seed) if reserved else None

    @cached_property
    def test(self) -> Samples:
        """The test samples that the scenario evaluates on."""
        return draw_test(self.dataset.name, self.dataset.test, self.scenario.test_samples, self.scenario.seed)

    @cached_property
    def parts(self) -> Sequence[Tensor]:
        """Positions of each client's samples in `train`.

        With `malicious_partition`, the honest clients divide all samples among themselves. Each malicious
        client gets a copy of a part, of the size that an honest client would get.
        """
        scenario, client_ids = self.scenario, range(self.scenario.clients)
        train, seed = self.train, scenario.seed
        if scenario.malicious_partition is None:
            return partition_samples(scenario.partition, train, len(client_ids), seed, "partition")
        malicious = self.selection.malicious(1)
        honest = len(client_ids) - len(malicious)
        if not honest or any(group.rotation(1) is not None for group in scenario.attackers):
            raise ScenarioError(
                f"malicious_partition: got {honest} honest clients, or a rotating group, expected at least 1 "
                "honest client and no rotating group; remove malicious_partition, or change the attackers."
            )
        parts = iter(partition_samples(scenario.partition, train, honest, seed, "partition"))
        copies = itertools.cycle(
            partition_samples(scenario.malicious_partition, train, honest, seed, "malicious partition")
        )
        return [next(copies if client_id in malicious else parts) for client_id in client_ids]

    @cached_property
    def root(self) -> Samples:
        """Clean samples on the server, drawn at random from the training samples."""
        return self.clean_samples(min(self.scenario.root_samples, len(self.train)))

    def clean_samples(self, count: int) -> Samples:
        """Return the first `count` training samples of the random order from which root data are drawn."""
        order = torch.randperm(len(self.train), generator=generator_for(self.scenario.seed, "root data"))
        return self.train[order[:count]]

    def model(self) -> nn.Module:
        """Return a model with the initial weights of the run."""
        shape = tuple(self.dataset.train.images.shape[1:])
        generator = generator_for(self.scenario.seed, "initial weights")
        model = read_model(self.scenario.model).value.build(shape, self.classes, generator)
        if self.scenario.initial is not None:
            read_initial(self.scenario.initial).value.load_into(model)
        return model

    def trainer(self) -> Trainer:
        """Return a new trainer with the initial model, on the CPU."""
        return Trainer(self.model(), self.scenario.training)

    @cached_property
    def layout(self) -> Layout:
        """Names and shapes of the model's parameters."""
        return layout_of(self.model())

    @cached_property
    def initial(self) -> Tensor:
        """Initial global weights, (d,)."""
        return flatten(trainable(self.model()).values())

    @cached_property
    def initial_buffers(self) -> Buffers:
        """Initial buffers of the model, by name."""
        return buffers_of(self.model())

    @property
    def shared_buffers(self) -> Buffers:
        """Buffers that the server sends and aggregates. Empty if the clients keep their own."""
        return self.initial_buffers if self.scenario.buffers == "average" else {}

    @torch.no_grad()
    def state_dict(self, state: ModelState) -> dict[str, Tensor]:
        """Return the whole model by name, as `load_state_dict` of the model expects it."""
        model = self.model()
        load(state.weights.cpu(), list(trainable(model).values()))
        for name, buffer in model.named_buffers():
            if name in state.buffers:
                buffer.copy_(state.buffers[name])
        return {
            name: value.detach().clone(memory_format=torch.contiguous_format)
            for name, value in model.state_dict().items()
            if isinstance(value, Tensor)
        }

    def job(
        self,
        client_id: int,
        server_round: int,
        model: Tensor,
        previous_model: Tensor | None,
        memory: MutableMapping[str, Tensor],
        *,
        train: Samples | None = None,
        buffers: Buffers | None = None,
    ) -> Job:
        """Return the training job of a client in a round.

        Args:
            client_id: Client to train.
            server_round: Round, counted from 1.
            model: Global weights before the round, (d,).
            previous_model: Global weights before the previous round, for attacks that compare two rounds.
            memory: Memory of the client between rounds.
            train: Training samples on any device. Default: `self.train`.
            buffers: Global buffers before the round. Default: those of the initial model.
        """
        seed, role = self.scenario.seed, self.selection.role(client_id, server_round)
        context = ClientContext(
            generator=generator_for(seed, "client", client_id, "round", server_round),
            poison_generator=generator_for(seed, "poison", client_id),
            round=server_round,
            client_id=client_id,
            rank=role.rank,
            size=role.size,
            model=model,
            previous_model=previous_model,
            buffers=self._buffers_of_client(buffers, memory),
            layout=self.layout,
            memory=memory,
        )
        return Job(
            samples=self.train if train is None else train,
            attack=role.attack,
            context=context,
            part=self.parts[client_id],
        )

    def _buffers_of_client(self, buffers: Buffers | None, memory: Mapping[str, Tensor]) -> Buffers:
        if self.scenario.buffers == "average":
            return buffers or self.initial_buffers
        return {name: memory.get(BUFFER + name, first) for name, first in self.initial_buffers.items()}
