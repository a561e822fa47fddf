"""Attackers: groups of malicious clients, each with an attack, a size, a schedule and knowledge."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from clients.attacks.base import Attack, AttackGoal, Knowledge, checked_type
from clients.attacks.composite import parts_of
from fedpoison.errors import ScenarioError, code_errors, unknown
from fedpoison.scenario.parsed_spec import DeferredSpec
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.schedules import Schedule, read_schedule
from fedpoison.scenario.specs import split_outside, validated_by

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
AttackSpec = Annotated[str, validated_by(read_attack)]
ScheduleSpec = Annotated[str, validated_by(read_schedule)]
KnowledgeName = Literal["own", "colluding", "omniscient"]
NO_ATTACK, ALWAYS = read_attack("none"), read_schedule("always")


def _split_numbers(value: object) -> object:
    """Split a text such as `1, 4, 9`, since run-configs and the command line have no lists."""
    if isinstance(value, str):
        return [part for part in value.strip().strip("()").split(",") if part.strip()]
    return value


Nodes = Annotated[tuple[Count, ...], BeforeValidator(_split_numbers)]


class AttackerGroup(BaseModel):
    """Group of malicious clients with their attack, schedule and knowledge.

    >>> group = AttackerGroup.read("label-flip: share=0.1, schedule=window( start = 5 )")
    >>> group.size(clients=50), group.to_spec()
    (5, 'label-flip: share=0.1, schedule=window(start=5)')
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    attack: AttackSpec
    share: Share | None = None
    """Share of all clients, drawn at random."""
    count: Count | None = None
    """Number of clients, drawn at random."""
    nodes: Nodes = ()
    """Ids of the clients."""
    per_round: Count | None = None
    """Number of the group's clients that train per round. Default: a random number."""
    schedule: ScheduleSpec = ALWAYS
    """Rounds in which the group attacks."""
    knowledge: KnowledgeName | None = None
    """Knowledge of the attack. Default: the knowledge that its metadata card declares."""

    @field_validator("nodes")
    @classmethod
    def _sort(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        given = [name for name in ("share", "count", "nodes") if getattr(self, name) not in (None, ())]
        if len(given) != 1:
            raise ValueError(
                f"group {self.attack}: got {' and '.join(given) or 'no size'}, "
                "expected exactly one of share, count and nodes."
            )
        return self

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse a group from a text of the form `attack: key=value, ...`.

        Raises:
            ScenarioError: the text does not have that form, or a key is unknown.
            ValueError: a value is invalid.
        """
        parts = split_outside(text, ":")  # names such as my_file.py:MyAttack contain colons as well
        starts = (place for place, part in enumerate(parts) if place and re.match(r"\w+\s*=", part))
        start = next(starts, len(parts) - 1)
        attack, listed = parts[:start], ":".join(parts[start:])
        if not attack:
            raise ScenarioError(
                f"group {text!r}: expected an attack and a size, as in 'alie: share=0.1, schedule=once'."
            )
        pairs = [setting.partition("=") for setting in split_outside(listed, ",")]
        return cls(
            **_known({"attack": ":".join(attack)} | {key.strip(): value.strip() for key, _, value in pairs})
        )

    def to_spec(self) -> str:
        """Return the text from which `read` returns an equal group."""
        return f"{self.attack}: {self.settings_spec()}"

    def settings_spec(self) -> str:
        """Return the text of `to_spec` without the attack: size, schedule and knowledge."""
        settings = self.content()
        del settings["attack"]
        if self.nodes:
            settings["nodes"] = f"({', '.join(map(str, self.nodes))})"
        return ", ".join(f"{key}={value}" for key, value in settings.items())

    def without_attack(self, *, keep_schedule: bool) -> Self:
        """Return the group without its attack. Keep its schedule if it affects which clients train."""
        kept = {name: getattr(self, name) for name in ("share", "count", "nodes", "per_round")}
        return type(self)(attack=NO_ATTACK, schedule=self.schedule if keep_schedule else ALWAYS, **kept)

    def content(self) -> dict[str, Any]:
        """Return the fields that are set, as plain values."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def size(self, clients: int) -> int:
        """Return the number of the group's clients in a federation of `clients`."""
        if self.nodes:
            return len(self.nodes)
        return self.count if self.count is not None else round((self.share or 0) * clients)

    @property
    def attacks(self) -> bool:
        """Whether the group has an attack."""
        return self.attack != NO_ATTACK

    @property
    def deferred(self) -> bool:
        """Whether the attack or the schedule is code of a user that was not loaded with its stored run."""
        return isinstance(self.attack, DeferredSpec) or isinstance(self.schedule, DeferredSpec)

    @property
    def built_attack(self) -> Attack:
        """The attack as an object."""
        return read_attack(self.attack).value

    @property
    def built_schedule(self) -> Schedule:
        """The schedule as an object."""
        return read_schedule(self.schedule).value

    @property
    def effective_knowledge(self) -> Knowledge:
        """Knowledge of the attack: the group's setting, or the declaration of the attack's card."""
        return Knowledge(self.knowledge or self.built_attack.card.knowledge)

    def is_active(self, server_round: int) -> bool:
        """Return whether the group attacks in this round."""
        with code_errors(f"round {server_round}, schedule {self.schedule}"):
            return self.attacks and self.built_schedule.active(server_round)

    def rotation(self, server_round: int) -> int | None:
        """Return the number of the draw that selects the group's clients, as `Schedule.rotation` does."""
        with code_errors(f"round {server_round}, schedule {self.schedule}"):
            return self.built_schedule.rotation(server_round)


def first_goal(specs: Iterable[str], classes: int) -> tuple[str, AttackGoal] | None:
    """Return the first attack in `specs` with a measurable goal, and that goal.

    Args:
        specs: Attacks. Each part of a composite counts as an attack.
        classes: Number of classes of the data set.

    Raises:
        ScenarioError: an attack names a class that the data set does not have.
        CrashError: the code of an attack raised another exception than a ValueError.
    """
    found = None
    for spec in specs:
        read = read_attack(spec)
        for text, part in zip(split_outside(read, "+"), parts_of(read.value), strict=True):
            with code_errors(f"attack {spec}"):
                goal = _goal_of(spec, part, classes)
            if found is None and goal is not None:
                found = text, goal
    return found


def _goal_of(spec: str, part: Attack, classes: int) -> AttackGoal | None:
    try:
        goal: object = part.goal(classes)
    except ValueError as error:
        raise ScenarioError(f"attack {spec}: {error}") from None
    return None if goal is None else checked_type("goal", goal, AttackGoal)


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a group, or raise ScenarioError if one is unknown."""
    for name in settings:
        if name not in AttackerGroup.model_fields:
            raise unknown("setting of a group", name, AttackerGroup.model_fields)
    return dict(settings)


def _read_groups(value: object) -> object:
    """Parse groups from tables (TOML), a list of texts (command line) or one text (run-config)."""
    if isinstance(value, str):
        value = split_outside(value, ";")
    if not isinstance(value, list | tuple):
        return value
    return tuple(_read_group(item) for item in value)


def _read_group(item: object) -> object:
    if isinstance(item, str):
        return AttackerGroup.read(item)
    return AttackerGroup(**_known(item)) if isinstance(item, Mapping) else item


Groups = Annotated[tuple[AttackerGroup, ...], BeforeValidator(_read_groups)]
