"""Attackers: groups of malicious clients, each with an attack, a size, a schedule and knowledge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from clients.attacks.base import Attack, AttackGoal, Knowledge, NoAttack
from clients.attacks.composite import Composite
from fedpoison.errors import ScenarioError, unknown
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.schedules import Schedule, read_schedule
from fedpoison.scenario.specs import reads, split_outside

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
AttackSpec = Annotated[str, reads(read_attack)]
ScheduleSpec = Annotated[str, reads(read_schedule)]
KnowledgeName = Literal["own", "colluding", "omniscient"]
NO_ATTACK, ALWAYS = read_attack("none"), read_schedule("always")


def _listed(value: object) -> object:
    """Return the nodes in a text such as `1, 4, 9`: run-configs and the command line have no lists."""
    if isinstance(value, str):
        return [part for part in value.strip().strip("()").split(",") if part.strip()]
    return value


Nodes = Annotated[tuple[Count, ...], BeforeValidator(_listed)]


class AttackerGroup(BaseModel):
    """One group of attackers: some nodes of the federation, and what they do when.

    >>> group = AttackerGroup.read("label-flip: share=0.1, schedule=window( start = 5 )")
    >>> group.size(clients=50), group.to_spec()
    (5, 'label-flip: share=0.1, schedule=window(start=5)')
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    attack: AttackSpec
    share: Share | None = None
    """Share of the federation's nodes, drawn at random."""
    count: Count | None = None
    """Number of nodes, drawn at random."""
    nodes: Nodes = ()
    """Exactly these nodes."""
    per_round: Count | None = None
    """Exactly so many of them train in each round; None leaves it to chance."""
    schedule: ScheduleSpec = ALWAYS
    knowledge: KnowledgeName | None = None
    """What the attack is handed, in place of what its card declares."""

    @field_validator("nodes")
    @classmethod
    def _ordered(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _sized(self) -> Self:
        given = [name for name in ("share", "count", "nodes") if getattr(self, name) not in (None, ())]
        if len(given) != 1:
            raise ValueError(
                f"group {self.attack}: got {' and '.join(given) or 'no size'}, "
                "wanted exactly one of share, count and nodes."
            )
        return self

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the group that `text` describes: `attack: key=value, ...`.

        Raises:
            ScenarioError: the text is not of that form, or a key is unknown.
            ValueError: a value does not fit.
        """
        parts = split_outside(text, ":")
        if len(parts) != 2:
            raise ScenarioError(
                f"group {text!r}: wanted an attack and its size, like 'label-flip: share=0.1, schedule=once'."
            )
        pairs = [setting.partition("=") for setting in split_outside(parts[1], ",")]
        return cls(**_known({"attack": parts[0]} | {key.strip(): value.strip() for key, _, value in pairs}))

    def to_spec(self) -> str:
        """Return the text that `read` turns into an equal group."""
        return f"{self.attack}: {self.settings_spec()}"

    def settings_spec(self) -> str:
        """Return the part of that text which says who attacks when, and not how."""
        settings = self.content()
        del settings["attack"]
        if self.nodes:
            settings["nodes"] = f"({', '.join(map(str, self.nodes))})"
        return ", ".join(f"{key}={value}" for key, value in settings.items())

    def without_attack(self, *, keep_schedule: bool) -> Self:
        """Return the group without its attack; keep its schedule if that decides who trains."""
        kept = {name: getattr(self, name) for name in ("share", "count", "nodes", "per_round")}
        return type(self)(attack=NO_ATTACK, schedule=self.schedule if keep_schedule else ALWAYS, **kept)

    def content(self) -> dict[str, Any]:
        """Return the fields that are set, as plain values."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def size(self, clients: int) -> int:
        """Return how many of `clients` nodes belong to the group."""
        if self.nodes:
            return len(self.nodes)
        return self.count if self.count is not None else round((self.share or 0) * clients)


@dataclass(frozen=True, eq=False)
class ResolvedGroup:
    """Group of attackers with the objects that its specs describe."""

    group: AttackerGroup
    attack: Attack
    schedule: Schedule
    knowledge: Knowledge | None
    """What the attack sees, in place of what its card declares."""

    @classmethod
    def from_group(cls, group: AttackerGroup) -> ResolvedGroup:
        """Return the attackers of `group`."""
        return cls(
            group=group,
            attack=read_attack(group.attack).value,
            schedule=read_schedule(group.schedule).value,
            knowledge=None if group.knowledge is None else Knowledge(group.knowledge),
        )

    @property
    def effective_knowledge(self) -> Knowledge:
        """What the group's attack sees, by its card or by the override."""
        return self.knowledge or self.attack.card.knowledge

    def is_active(self, server_round: int) -> bool:
        """Return whether the group attacks in this round."""
        return not isinstance(self.attack, NoAttack) and self.schedule.active(server_round)


def first_goal(specs: Iterable[str], classes: int) -> tuple[str, AttackGoal] | None:
    """Return the first attack in `specs` whose success can be measured, with its goal.

    Args:
        specs: attacks; the parts of combined ones count in order.
        classes: classes of the data set.

    Raises:
        ValueError: an attack names a class that the data set does not have; the message says which attack.
    """
    found = None
    for spec in specs:
        read = read_attack(spec)
        parts = read.value.parts if isinstance(read.value, Composite) else (read.value,)
        for text, part in zip(split_outside(read, "+"), parts, strict=True):
            try:
                goal = part.goal(classes)
            except ValueError as error:
                raise ValueError(f"attack {spec}: {error}") from None
            if found is None and goal is not None:
                found = text, goal
    return found


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a group, or raise ScenarioError where there is one that no group has."""
    for name in settings:
        if name not in AttackerGroup.model_fields:
            raise unknown("setting of a group", name, AttackerGroup.model_fields)
    return dict(settings)


def _read_groups(value: object) -> object:
    """Return the groups that TOML, the command line (a list of texts) or a run-config (one text) give."""
    if isinstance(value, str):
        value = split_outside(value, ";")
    if not isinstance(value, list | tuple):
        return value
    return tuple(_group(item) for item in value)


def _group(item: object) -> object:
    if isinstance(item, str):
        return AttackerGroup.read(item)
    return AttackerGroup(**_known(item)) if isinstance(item, Mapping) else item


Groups = Annotated[tuple[AttackerGroup, ...], BeforeValidator(_read_groups)]
