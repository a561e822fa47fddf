"""Everything that a scenario determines before the first round: data, nodes, model, attacker."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from clients.attack import Attack, ClientContext
from clients.cohort import Job
from clients.none import NoAttack
from clients.parameters import Layout, flatten, layout_of
from clients.samples import Samples
from fedpoison import models as model_builders
from fedpoison.datasets import Dataset
from fedpoison.errors import ScenarioError
from fedpoison.pipelines import FlowerClass, Pipeline, build_pipeline
from fedpoison.registries import build_attack, models, partitions
from fedpoison.scenario import Scenario
from fedpoison.specs import build
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
            self.attack.goal(self.classes)
        except ValueError as error:
            raise ScenarioError(f"attack {self.scenario.attack}: {error}") from None
        if len(self.parts) != self.scenario.clients:
            raise ScenarioError(
                f"partition {self.scenario.partition}: got {len(self.parts)} parts, "
                f"wanted one for each of {self.scenario.clients} clients."
            )

    @property
    def classes(self) -> int:
        return self.dataset.train.classes

    @cached_property
    def malicious(self) -> frozenset[int]:
        """The malicious nodes, for the whole run."""
        scenario = self.scenario
        if scenario.malicious_nodes:
            return frozenset(scenario.malicious_nodes)
        order = torch.randperm(scenario.clients, generator=stream(scenario.seed, "malicious"))
        return frozenset(order[: scenario.malicious_count].tolist())

    @cached_property
    def pipeline(self) -> Pipeline | FlowerClass:
        return build_pipeline(self.scenario.strategy, byzantine=self.scenario.byzantine)

    @cached_property
    def attack(self) -> Attack:
        return build_attack(self.scenario.attack)

    @cached_property
    def train(self) -> Samples:
        """The training samples that the scenario uses."""
        return self._some(self.dataset.train, self.scenario.train_samples, "train_samples")

    @cached_property
    def test(self) -> Samples:
        """The test samples that the scenario evaluates on."""
        return self._some(self.dataset.test, self.scenario.test_samples, "test_samples")

    @cached_property
    def parts(self) -> list[Tensor]:
        """Each node's partition, as positions in `train`."""
        spread = build(partitions, self.scenario.partition)
        return spread(self.train.labels, self.scenario.clients, stream(self.scenario.seed, "partition"))

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
        """Return the nodes that train in this round, ascending."""
        order = torch.randperm(
            self.scenario.clients, generator=stream(self.scenario.seed, "sample", server_round)
        )
        return sorted(order[: self.scenario.sampled].tolist())

    def job(
        self,
        node: int,
        server_round: int,
        model: Tensor,
        previous_model: Tensor | None,
        memory: MutableMapping[str, Tensor],
    ) -> Job:
        """Return what `node` has to do in this round, given the global weights (d,) of this and the last."""
        seed = self.scenario.seed
        group = sorted(self.malicious)
        malicious = node in self.malicious
        context = ClientContext(
            generator=stream(seed, "client", node, "round", server_round),
            poison_generator=stream(seed, "poison", node),
            round=server_round,
            node=node,
            rank=group.index(node) if malicious else 0,
            size=len(group),
            model=model,
            previous_model=previous_model,
            layout=self.layout,
            memory=memory,
        )
        attack = self.attack if malicious else NoAttack()
        return Job(samples=self.train[self.parts[node]], attack=attack, context=context)

    def _some(self, samples: Samples, limit: int, field: str) -> Samples:
        if limit in (0, len(samples)):
            return samples
        if limit > len(samples):
            raise ScenarioError(
                f"{field}: got {limit}, wanted at most {len(samples)}, or 0 for all, of {self.dataset.name}."
            )
        order = torch.randperm(len(samples), generator=stream(self.scenario.seed, field))
        return samples[order[:limit]]
