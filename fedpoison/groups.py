"""Who attacks: groups of malicious nodes, each with its attack, its size, its schedule and its knowledge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fedpoison.errors import ScenarioError, unknown
from fedpoison.registries import canonical_attack
from fedpoison.schedules import schedules
from fedpoison.specs import canonical, split_outside

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
SIZES = ("malicious", "malicious_count", "malicious_nodes")
"""Fields of a scenario that say in one way or another how many of its nodes are malicious."""
ONE_GROUP = (
    *SIZES,
    "malicious_per_round",
    "attack",
    "schedule",
    "knowledge",
)
"""The fields of a scenario that describe a single group: the short form."""

KnowledgeName = Literal["own", "colluding", "omniscient"]


class Group(BaseModel):
    """One group of attackers: some nodes of the fleet, and what they do when.

    >>> group = Group.read("label-flip: share=0.1, schedule=window( start = 5 )")
    >>> group.size(clients=50), group.spell()
    (5, 'label-flip: share=0.1, schedule=window(start=5)')
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    attack: str
    share: Share | None = None
    """Share of the fleet's nodes, drawn at random."""
    count: Count | None = None
    """Number of nodes, drawn at random."""
    nodes: tuple[Count, ...] = ()
    """Exactly these nodes."""
    per_round: Count | None = None
    """Exactly so many of them train in each round; None leaves it to chance."""
    schedule: str = "always"
    knowledge: KnowledgeName | None = None
    """What the attack is handed, in place of what its card declares."""

    @field_validator("nodes", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return listed(value)

    @field_validator("nodes")
    @classmethod
    def _ordered(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))

    @field_validator("attack")
    @classmethod
    def _attack(cls, value: str) -> str:
        return canonical_attack(value)

    @field_validator("schedule")
    @classmethod
    def _schedule(cls, value: str) -> str:
        return canonical(schedules, value)

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
        return cls(**known({"attack": parts[0]} | {key.strip(): value.strip() for key, _, value in pairs}))

    def spell(self) -> str:
        """Return the text that `read` turns into an equal group."""
        return f"{self.attack}: {self.spell_settings()}"

    def spell_settings(self) -> str:
        """Return the part of that text which says who attacks when, and not how."""
        settings = self.content()
        del settings["attack"]
        if self.nodes:
            settings["nodes"] = f"({', '.join(map(str, self.nodes))})"
        return ", ".join(f"{key}={value}" for key, value in settings.items())

    def without_attack(self, *, keep_schedule: bool) -> Self:
        """Return the group without its attack; keep its schedule if that decides who trains."""
        kept = {name: getattr(self, name) for name in ("share", "count", "nodes", "per_round")}
        return type(self)(attack="none", schedule=self.schedule if keep_schedule else "always", **kept)

    def content(self) -> dict[str, Any]:
        """Return the fields that are set, as plain values."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def size(self, clients: int) -> int:
        """Return how many of `clients` nodes belong to the group."""
        if self.nodes:
            return len(self.nodes)
        return self.count if self.count is not None else round((self.share or 0) * clients)


def known(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a group, or raise ScenarioError where there is one that no group has."""
    for name in settings:
        if name not in Group.model_fields:
            raise unknown("setting of a group", name, Group.model_fields)
    return dict(settings)


def listed(value: object) -> object:
    """Return the nodes in a text such as `1, 4, 9`: run-configs and the command line have no lists."""
    if isinstance(value, str):
        return [part for part in value.strip().strip("()").split(",") if part.strip()]
    return value


def read_groups(value: object) -> object:
    """Return the groups that TOML, the command line (a list of texts) or a run-config (one text) give."""
    if isinstance(value, str):
        value = split_outside(value, ";")
    if not isinstance(value, list | tuple):
        return value
    return tuple(_group(item) for item in value)


def _group(item: object) -> object:
    if isinstance(item, str):
        return Group.read(item)
    return Group(**known(item)) if isinstance(item, Mapping) else item
