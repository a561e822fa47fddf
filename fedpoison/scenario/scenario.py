"""The scenario: all settings that determine the result of a run, as one frozen value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clients.training.local_training import LocalTraining
from fedpoison.errors import ScenarioError, unknown
from fedpoison.scenario.aggregation import FlowerStrategy, check_clients, read_aggregation
from fedpoison.scenario.attack_data import attack_identity
from fedpoison.scenario.attackers import (
    ALWAYS,
    NO_ATTACK,
    AttackerGroup,
    AttackSpec,
    Count,
    Groups,
    KnowledgeName,
    Nodes,
    ScheduleSpec,
    Share,
)
from fedpoison.scenario.datasets import DATASET, dataset_identity, dataset_title, read_dataset
from fedpoison.scenario.fields import About, changed, fields_about, read_toml
from fedpoison.scenario.initial import INITIAL
from fedpoison.scenario.model_spec import read_model
from fedpoison.scenario.parsed_spec import DeferredSpec
from fedpoison.scenario.registries import read_partition
from fedpoison.scenario.selection import AttackerSelection
from fedpoison.scenario.specs import validated_by, validation_message
from strategies.base import AggregationRule

Positive = Annotated[int, Field(ge=1)]
ATTACK_FIELDS = ("attack", "goal")
"""Fields of a scenario, or of a group, that name an attack."""
PartitionSpec = Annotated[str, validated_by(read_partition)]
InitialSpec = Annotated[str, INITIAL]


class Scenario(BaseModel):
    """Settings that determine the result of a run. Engines and workers are not part of it.

    Create one with `Scenario(...)`, `Scenario.load(path)` or `Scenario.parse(mapping)`. Fields such as
    `partition` take specs: a name, or a name with parameters such as `dirichlet(alpha=0.1)`. They also take
    objects, such as `Krum(byzantine=2)`.

    >>> Scenario(attack="label-flip(mode=targeted)", strategy="krum", clients=20).attack
    'label-flip(mode=targeted)'

    Raises:
        ScenarioError: from `load` and `parse`, if a name, a value or a combination is wrong. The
            constructor raises pydantic's ValidationError, a ValueError, with the same message.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    seed: Annotated[int, About.COMPARED | About.REFERENCE] = 0
    """Seed of random streams."""
    rounds: Annotated[Positive, About.REFERENCE] = 10
    """Number of training rounds."""
    evaluate_every: Annotated[Positive, About.FEDERATION | About.REFERENCE] = 1
    """Interval between evaluations, in rounds. The last round is always evaluated."""

    dataset: Annotated[str, DATASET, About.REFERENCE] = read_dataset("auto")
    """Data set, or own data as in npz(path=data.npz). auto: mnist if it is available, otherwise digits."""
    train_samples: Count = 0
    """Total number of training samples, drawn at random. 0 means all samples."""
    test_samples: Count = 0
    """Number of test samples. 0 means all samples."""
    validation_samples: Annotated[Count, About.REFERENCE | About.ADDED] = 0
    """Number of training samples that no client gets, for choosing parameters. 0 means no validation set."""
    partition: Annotated[PartitionSpec, About.FEDERATION] = read_partition("iid")
    """Partition of the training data over the clients."""
    malicious_partition: Annotated[PartitionSpec | None, About.FEDERATION] = None
    """Partition of the malicious clients' data. Default: as for honest clients."""
    model: Annotated[str, validated_by(read_model)] = read_model("cnn")
    """Model of the clients: a name, my_file.py:MyNet or package.module:MyNet."""

    initial: InitialSpec | None = None
    """Trained model to start from: a file, or a run as in runs/0123456789ab:20. Default: random weights."""
    buffers: Annotated[Literal["average", "local"], About.FEDERATION | About.ADDED] = "average"
    """Buffers of the model, such as running statistics: sent and averaged, or local to each client."""

    clients: Annotated[Positive, About.FEDERATION] = 100
    """Number of clients."""
    participation: Annotated[float, About.FEDERATION, Field(gt=0, le=1)] = 1.0
    """Share of the clients that train per round."""

    epochs: Annotated[Positive, About.FEDERATION] = 1
    """Local epochs per round."""
    steps: Annotated[Count, About.FEDERATION] = 0
    """Number of local steps per round. 0 means --epochs instead."""
    batch_size: Positive = 32
    """Number of samples per local step."""
    lr: Annotated[float, Field(gt=0)] = 0.1
    """Learning rate of the clients."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of the clients' SGD."""
    persistent_momentum: Annotated[bool, About.FEDERATION] = False
    """Keep each client's momentum buffer between rounds."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the clients."""
    proximal: Annotated[float, About.FEDERATION, Field(ge=0)] = 0.0
    """FedProx's mu. 0 means no proximal term."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format in training."""
    dropout_seed: Count | None = None
    """Seed of one dropout mask for all clients and steps. Default: new masks."""

    malicious: Annotated[Share, About.SIZE | About.MALICIOUS | About.GROUP] = 0.2
    """Share of malicious clients."""
    malicious_count: Annotated[
        Count | None, About.SIZE | About.MALICIOUS | About.GROUP | About.FEDERATION
    ] = None
    """Number of malicious clients. Default: the share --malicious."""
    malicious_nodes: Annotated[Nodes, About.SIZE | About.MALICIOUS | About.GROUP | About.FEDERATION] = ()
    """Ids of the malicious clients, as in 1,4,9. Default: a random choice."""
    malicious_per_round: Annotated[Count | None, About.MALICIOUS | About.GROUP | About.FEDERATION] = None
    """Number of malicious clients that train per round. Default: random."""
    attack: Annotated[AttackSpec, About.GROUP | About.COMPARED] = NO_ATTACK
    """Attack of the malicious clients, or a combination as in backdoor+scaled-update."""
    schedule: Annotated[ScheduleSpec, About.GROUP | About.COMPARED | About.FEDERATION] = ALWAYS
    """Rounds in which the malicious clients attack. In other rounds, they are honest."""
    knowledge: Annotated[KnowledgeName | None, About.GROUP | About.COMPARED | About.FEDERATION] = None
    """Updates that the attack sees. Default: the knowledge that the attack declares."""
    groups: Annotated[Groups, About.MALICIOUS | About.COMPARED | About.FEDERATION] = ()
    """Attacker group, as in 'alie: share=0.1'. Default: one group, by --attack."""
    goal: Annotated[AttackSpec | None, About.COMPARED] = None
    """Attack whose success is measured. Default: the first attack with a target."""

    strategy: Annotated[str, validated_by(read_aggregation), About.COMPARED | About.FEDERATION] = (
        read_aggregation("fedavg")
    )
    """Aggregation on the server: a rule, or pre-aggregators | rule | server optimizer."""
    tolerated: Annotated[Count | None, About.FEDERATION] = None
    """Number of malicious clients per round (f) that the rule is configured for. Default: the true number."""
    weights: Annotated[Literal["examples", "uniform"], About.FEDERATION | About.ADDED] = "examples"
    """Weight of each client for the strategy: its reported number of examples, or the same for all."""
    root_samples: Annotated[Positive, About.FEDERATION] = 100
    """Number of clean samples that rules can use as root data."""

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        single, sizes = changed(self, About.GROUP), changed(self, About.SIZE)
        if self.groups and single:
            raise ValueError(f"groups: got {', '.join(single)} as well; set them in each group.")
        if len(sizes) > 1:
            raise ValueError(f"got {' and '.join(sizes)}, expected at most one of them.")
        self.training  # noqa: B018  # raises if a number is too large for the weights
        self.selection  # noqa: B018  # raises if the federation is too small for the groups
        if not isinstance(self.strategy, DeferredSpec):
            check_clients(self.strategy, self.aggregation, self.sampled, range(self.clients))
        return self

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Self:
        """Create the scenario with these fields.

        Raises:
            ScenarioError: a field is unknown (the message names the choices), or a value is invalid.
        """
        for name in fields:
            if name not in cls.model_fields:
                raise unknown("field", name, cls.model_fields)
        try:
            return cls(**fields)
        except ValidationError as error:
            raise ScenarioError(validation_message(error)) from None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load the scenario from a TOML file.

        Raises:
            ScenarioError: the file cannot be read, is not TOML, or has an invalid field.
        """
        return cls.parse(read_toml(Path(path)))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed. All fields are validated again.

        Raises:
            ScenarioError: as `parse`.
        """
        return self.parse({name: getattr(self, name) for name in type(self).model_fields} | changes)

    def with_code(self) -> Self:
        """Return the scenario of a stored run with the code of users, which loading a run does not execute.

        Raises:
            ScenarioError: the code is not available or raises, or the scenario does not fit it.
        """
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        later: dict[str, Any] = {
            name: str(value) for name, value in values.items() if isinstance(value, DeferredSpec)
        }
        if any(group.deferred for group in self.groups):
            later["groups"] = tuple(group.content() for group in self.groups)
        return self.parse(values | later) if later else self

    def __getstate__(self) -> dict[Any, Any]:
        """Return the fields, without the objects built from them, which may have classes of a user."""
        state = super().__getstate__()
        fields = {name: value for name, value in state["__dict__"].items() if name in type(self).model_fields}
        return state | {"__dict__": fields}

    @classmethod
    def given(cls, scenario: Self | None, fields: Mapping[str, Any]) -> Self:
        """Return the scenario with some fields changed, as `replace`. None: the default scenario."""
        base = cls() if scenario is None else scenario
        return base.replace(**fields) if fields else base

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy. Fields in `update` are validated, as in `replace`."""
        return self.replace(**update) if update else super().model_copy(deep=deep)

    def without_attack(self, goal: str | None) -> Self:
        """Return the scenario of the clean run: the same clients train in the same rounds, and none attacks.

        Args:
            goal: Attack whose success the clean run measures. None: it measures no success.
        """
        fixed = any(group.per_round is not None for group in self.attackers)
        clean = tuple(group.without_attack(keep_schedule=fixed) for group in self.attackers)
        if self.groups:
            return self.replace(groups=clean, goal=goal)
        return self.replace(attack=clean[0].attack, schedule=clean[0].schedule, knowledge=None, goal=goal)

    def content(self) -> dict[str, Any]:
        """Return the fields as plain values, without unset fields and fields that `groups` replaces."""
        unused = set(fields_about(type(self), About.GROUP)) if self.groups else set[str]()
        unused |= set(fields_about(type(self), About.ADDED)) - set(changed(self, About.ADDED))
        values = self.model_dump(mode="json", exclude=unused)
        values["groups"] = [group.content() for group in self.groups]
        return {name: value for name, value in values.items() if value not in (None, [])}

    def to_toml(self) -> str:
        """Return the scenario as TOML. `load` returns an equal scenario from it."""
        return tomli_w.dumps(self.content())

    @property
    def run_id(self) -> str:
        """Hash of the content, which names the run. Equal scenarios have equal ids.

        After own data is loaded, the id depends on its content, not on its path.
        """
        content = self.content() | {"dataset": dataset_identity(self.dataset)}
        for settings in (content, *content.get("groups", ())):
            settings |= {name: attack_identity(settings[name]) for name in ATTACK_FIELDS if name in settings}
        return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=6).hexdigest()

    @property
    def dataset_title(self) -> str:
        """Short name of the data set, such as its file name."""
        return dataset_title(self.dataset)

    @cached_property
    def attackers(self) -> tuple[AttackerGroup, ...]:
        """The attacker groups. Without `groups`, the single-group fields describe the only group."""
        if self.groups:
            return self.groups
        by_share = self.malicious_count is None and not self.malicious_nodes
        return (
            AttackerGroup(
                attack=self.attack,
                share=self.malicious if by_share else None,
                count=self.malicious_count,
                nodes=self.malicious_nodes,
                per_round=self.malicious_per_round,
                schedule=self.schedule,
                knowledge=self.knowledge,
            ),
        )

    @property
    def clean(self) -> bool:
        """Whether no client attacks."""
        groups = [group for group in self.attackers if group.size(self.clients)]
        return not any(group.attacks for group in groups)

    @cached_property
    def selection(self) -> AttackerSelection:
        """Which clients train, are malicious and attack in each round."""
        return AttackerSelection(self.seed, self.clients, self.sampled, self.attackers)

    @cached_property
    def aggregation(self) -> AggregationRule | FlowerStrategy:
        """The aggregation rule, configured for `byzantine` clients, or a strategy of Flower."""
        return read_aggregation(self.strategy).value.build(self.byzantine)

    @property
    def threat(self) -> str:
        """The attacks of all groups, as a short text."""
        return " and ".join(group.attack for group in self.attackers)

    @property
    def sampled(self) -> int:
        """Number of clients that train per round."""
        return max(1, round(self.participation * self.clients))

    def evaluates(self, server_round: int) -> bool:
        """Return whether the model is evaluated after this round. Round 0 is the initial model."""
        return server_round % self.evaluate_every == 0 or server_round == self.rounds

    @property
    def byzantine(self) -> int:
        """Number of malicious clients per round that the rule is configured for."""
        return ceil(sum(self.selection.expected())) if self.tolerated is None else self.tolerated

    @property
    def training(self) -> LocalTraining:
        """Settings of the honest clients' training."""
        return LocalTraining(**{field.name: getattr(self, field.name) for field in fields(LocalTraining)})
