"""The scenario: everything that determines a run, as one frozen value."""

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
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from clients.training.trainer import LocalTraining
from fedpoison.errors import ScenarioError, unknown
from fedpoison.scenario.aggregation import FlowerStrategy, read_aggregation
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
from fedpoison.scenario.fields import About, changed, fields_about, read_toml
from fedpoison.scenario.registries import check_dataset, models, read_partition
from fedpoison.scenario.selection import AttackerSelection
from fedpoison.scenario.specs import reads, validation_message
from strategies.base import AggregationRule, require

Positive = Annotated[int, Field(ge=1)]
PartitionSpec = Annotated[str, reads(read_partition)]


class Scenario(BaseModel):
    """Everything that determines a run; what does not change the result is not in it.

    Load one with `Scenario(...)`, `Scenario.load(path)` or `Scenario.parse(mapping)`. The fields that name
    things take specs: a name, or a name with knobs such as `dirichlet(alpha=0.1)`.

    >>> Scenario(attack="label-flip(mode=targeted)", strategy="krum", clients=20).attack
    'label-flip(mode=targeted)'

    Raises:
        ScenarioError: from `load` and `parse`, where a name, a value or a combination is wrong. The
            constructor raises pydantic's ValidationError, a ValueError, with the same words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: Annotated[
        int, About.COMPARED | About.REFERENCE, Field(description="Root of every random stream.")
    ] = 0
    rounds: Annotated[Positive, About.REFERENCE, Field(description="Federated rounds.")] = 10
    evaluate_every: Annotated[
        Positive,
        About.FEDERATION | About.REFERENCE,
        Field(description="Rounds from one evaluation to the next; the last round always has one."),
    ] = 1

    dataset: Annotated[
        str,
        AfterValidator(check_dataset),
        About.REFERENCE,
        Field(description="Data set, or auto: mnist if it can be had, else digits."),
    ] = "auto"
    train_samples: Annotated[
        Count, Field(description="Training samples to use in all, drawn at random; 0 uses all.")
    ] = 0
    test_samples: Annotated[Count, Field(description="Test samples to evaluate on; 0 uses all.")] = 0
    partition: Annotated[
        PartitionSpec, About.FEDERATION, Field(description="How samples are spread over the clients.")
    ] = read_partition("iid")
    malicious_partition: Annotated[
        PartitionSpec | None,
        About.FEDERATION,
        Field(description="How malicious nodes get samples, beside those of the others; as all do if unset."),
    ] = None
    model: Annotated[
        str, AfterValidator(models.check), Field(description="The model that the fleet trains.")
    ] = "cnn"

    clients: Annotated[Positive, About.FEDERATION, Field(description="Nodes in the fleet.")] = 100
    participation: Annotated[
        float, About.FEDERATION, Field(gt=0, le=1, description="Share of the nodes that train in a round.")
    ] = 1.0

    epochs: Annotated[
        Positive, About.FEDERATION, Field(description="Passes over the local data in a round.")
    ] = 1
    steps: Annotated[
        Count,
        About.FEDERATION,
        Field(description="Mini-batches in a round, in place of epochs; 0 counts epochs."),
    ] = 0
    batch_size: Annotated[Positive, Field(description="Samples in a mini-batch.")] = 32
    lr: Annotated[float, Field(gt=0, description="Clients' learning rate.")] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1, description="Clients' momentum.")] = 0.0
    persistent_momentum: Annotated[
        bool, About.FEDERATION, Field(description="Keep each client's momentum buffer from round to round.")
    ] = False
    weight_decay: Annotated[float, Field(ge=0, description="Clients' weight decay.")] = 0.0
    proximal: Annotated[
        float, About.FEDERATION, Field(ge=0, description="FedProx's mu; 0 is plain local training.")
    ] = 0.0
    precision: Annotated[Literal["fp32", "bf16"], Field(description="Arithmetic of local training.")] = "fp32"
    dropout_seed: Annotated[
        Count | None, Field(description="Dropout of every client and step drops the same; anew if unset.")
    ] = None

    malicious: Annotated[
        Share,
        About.SIZE | About.MALICIOUS | About.GROUP,
        Field(description="Share of the nodes that are malicious."),
    ] = 0.2
    malicious_count: Annotated[
        Count | None,
        About.SIZE | About.MALICIOUS | About.GROUP | About.FEDERATION,
        Field(description="Number of malicious nodes, in place of a share."),
    ] = None
    malicious_nodes: Annotated[
        Nodes,
        About.SIZE | About.MALICIOUS | About.GROUP | About.FEDERATION,
        Field(description="Exactly these nodes are malicious, in place of a random share."),
    ] = ()
    malicious_per_round: Annotated[
        Count | None,
        About.MALICIOUS | About.GROUP | About.FEDERATION,
        Field(description="Malicious nodes in every round; left to chance if unset."),
    ] = None
    attack: Annotated[
        AttackSpec,
        About.GROUP | About.COMPARED,
        Field(description="What malicious nodes do; several combine as in backdoor+scaled-update."),
    ] = NO_ATTACK
    schedule: Annotated[
        ScheduleSpec,
        About.GROUP | About.COMPARED | About.FEDERATION,
        Field(description="When malicious nodes attack; else they are honest."),
    ] = ALWAYS
    knowledge: Annotated[
        KnowledgeName | None,
        About.GROUP | About.COMPARED | About.FEDERATION,
        Field(description="What the attack sees; what its card declares if unset."),
    ] = None
    groups: Annotated[
        Groups,
        About.MALICIOUS | About.COMPARED | About.FEDERATION,
        Field(description="A group of attackers, as in 'alie: share=0.1'; several in place of one attack."),
    ] = ()
    goal: Annotated[
        AttackSpec | None,
        About.COMPARED,
        Field(description="Attack whose success is measured; the first one with a target if unset."),
    ] = None

    strategy: Annotated[
        Annotated[str, reads(read_aggregation)],
        About.COMPARED | About.FEDERATION,
        Field(description="How the server aggregates: a rule, or pre-aggregators | rule | server optimizer."),
    ] = read_aggregation("fedavg")
    tolerated: Annotated[
        Count | None,
        About.FEDERATION,
        Field(description="Malicious clients a round that the rule tolerates; the true number if unset."),
    ] = None
    root_samples: Annotated[
        Positive,
        About.FEDERATION,
        Field(description="Clean samples that the server holds, for rules that need root data."),
    ] = 100

    @model_validator(mode="after")
    def _possible(self) -> Self:
        beside, sizes = changed(self, About.GROUP), changed(self, About.SIZE)
        if self.groups and beside:
            raise ValueError(f"groups: got {', '.join(beside)} beside them; say it in the groups.")
        if len(sizes) > 1:
            raise ValueError(f"got {' and '.join(sizes)}; choose one.")
        self.selection  # noqa: B018  # raises if the groups do not fit
        if not isinstance(self.aggregation, FlowerStrategy):
            require(self.aggregation, self.sampled)
        return self

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Self:
        """Return the scenario with these fields.

        Raises:
            ScenarioError: a field is unknown (the message names the choices), or a value does not fit.
        """
        for name in fields:
            if name not in cls.model_fields:
                raise unknown("field", name, cls.model_fields)
        try:
            return cls(**fields)
        except ValidationError as error:
            raise ScenarioError(validation_message(error)) from None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the scenario in a TOML file.

        Raises:
            ScenarioError: the file cannot be read, is not TOML, or its fields do not fit.
        """
        return cls.parse(read_toml(path))

    def replace(self, **changes: Any) -> Self:
        """Return this scenario with some fields changed, validated again.

        Raises:
            ScenarioError: as `parse`.
        """
        return self.parse({name: getattr(self, name) for name in type(self).model_fields} | changes)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; fields in `update` are validated, as by `replace`."""
        return self.replace(**update) if update else super().model_copy(deep=deep)

    def without_attack(self, goal: str | None) -> Self:
        """Return the clean scenario: the same clients train in the same rounds, but none attacks.

        Args:
            goal: the attack whose success a clean run measures; None measures no success.
        """
        fixed = any(group.per_round is not None for group in self.attackers)
        clean = tuple(group.without_attack(keep_schedule=fixed) for group in self.attackers)
        if self.groups:
            return self.replace(groups=clean, goal=goal)
        return self.replace(attack=clean[0].attack, schedule=clean[0].schedule, knowledge=None, goal=goal)

    def content(self) -> dict[str, Any]:
        """Return the fields that mean something here, as plain values: what is unset is left out."""
        unused = set(fields_about(type(self), About.GROUP)) if self.groups else None
        values = self.model_dump(mode="json", exclude=unused)
        values["groups"] = [group.content() for group in self.groups]
        return {name: value for name, value in values.items() if value not in (None, [])}

    def to_toml(self) -> str:
        """Return the scenario as TOML that `load` reads back to an equal value."""
        return tomli_w.dumps(self.content())

    @property
    def run_id(self) -> str:
        """The content hash that names the run: equal scenarios have equal ids."""
        return blake2b(json.dumps(self.content(), sort_keys=True).encode(), digest_size=6).hexdigest()

    @cached_property
    def attackers(self) -> tuple[AttackerGroup, ...]:
        """The groups of attackers; the fields that describe a single one are the short form of one group."""
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

    @cached_property
    def selection(self) -> AttackerSelection:
        """Which clients train, are malicious and attack in each round."""
        return AttackerSelection.of(self.attackers, self.seed, self.clients, self.sampled)

    @cached_property
    def aggregation(self) -> AggregationRule | FlowerStrategy:
        """How the server aggregates: a rule that tolerates `byzantine` clients, or a class of Flower's."""
        return read_aggregation(self.strategy).value.build(self.byzantine)

    @property
    def threat(self) -> str:
        """What the attackers do, in short."""
        return " and ".join(group.attack for group in self.attackers)

    @property
    def sampled(self) -> int:
        """How many nodes train in a round."""
        return max(1, round(self.participation * self.clients))

    def evaluates(self, server_round: int) -> bool:
        """Return whether the model is evaluated after this round; 0 stands for the initial one."""
        return server_round % self.evaluate_every == 0 or server_round == self.rounds

    @property
    def byzantine(self) -> int:
        """How many malicious clients a round the rule is told to tolerate."""
        return ceil(sum(self.selection.expected())) if self.tolerated is None else self.tolerated

    @property
    def training(self) -> LocalTraining:
        """How honest clients train."""
        return LocalTraining(**{field.name: getattr(self, field.name) for field in fields(LocalTraining)})
