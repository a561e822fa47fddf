"""Code of other packages that raises, or returns values of another type, ends a run with one clear error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from clients.attacks.base import Attack, AttackCard, Knowledge
from fedpoison.errors import CrashError
from fedpoison.simulation.run import simulate
from strategies.base import Aggregate, Rule, RuleCard


@dataclass(frozen=True, kw_only=True)
class ShortRule(Rule):
    card: ClassVar = RuleCard(paper="-")

    def aggregate(self, updates, shares, context):
        return Aggregate(update=updates[0, :3].clone(), trust=shares)


@dataclass(frozen=True, kw_only=True)
class BareRule:
    card: ClassVar = RuleCard(paper="-")
    minimum: ClassVar = 1

    def __call__(self, updates, weights=None, context=None):
        return updates.mean(dim=0)


@dataclass(frozen=True, kw_only=True)
class ShortAttack(Attack):
    card: ClassVar = AttackCard(paper="-", knowledge=Knowledge.COLLUDING)

    def craft(self, own, seen, context):
        return own[:, :3]


@dataclass(frozen=True, kw_only=True)
class EmptyAttack(Attack):
    card: ClassVar = AttackCard(paper="-", knowledge=Knowledge.OWN)

    def craft(self, own, seen, context):
        return None


@dataclass(frozen=True, kw_only=True)
class RaisingPartition:
    def __call__(self, labels, clients, generator):
        raise ValueError("of all things")


@dataclass(frozen=True, kw_only=True)
class NumberPartition:
    def __call__(self, labels, clients, generator):
        return 5


@dataclass(frozen=True, kw_only=True)
class RaisingSchedule:
    def active(self, server_round):
        raise ValueError("of all things")

    def rotation(self, server_round):
        return None


class RaisingData:
    title = "a set that cannot be read"
    folder = ""

    def fetch(self, root): ...

    def read(self, root):
        raise ValueError("of all things")


class NumberData(RaisingData):
    def read(self, root):
        return 5


class Point:
    """Stands for an entry point of another package."""

    def __init__(self, entry):
        self.entry = entry

    def load(self):
        return self.entry


@pytest.mark.parametrize(
    ("field", "entry", "words"),
    [
        (
            "strategy",
            ShortRule,
            r"strategy theirs: .*ShortRule returned Aggregate with update .* \(3,\)",
        ),
        ("strategy", BareRule, "strategy theirs: .*BareRule returned Tensor with"),
        ("strategy", {"nnm | ": BareRule}, "strategy nnm [|] theirs: .*BareRule returned Tensor with"),
        (
            "attack",
            ShortAttack,
            r"attack theirs: .*ShortAttack returned Tensor of shape \(2, 3\), ex",
        ),
        ("attack", EmptyAttack, "attack theirs: .*EmptyAttack returned NoneType, expected a tensor"),
        ("partition", RaisingPartition, "partition theirs: .*ValueError: of all things"),
        ("partition", NumberPartition, "partition theirs: .*TypeError"),
        ("schedule", RaisingSchedule, "schedule theirs: .*ValueError: of all things"),
        ("dataset", RaisingData(), "data set theirs: .*ValueError: of all things"),
        (
            "dataset",
            NumberData(),
            "data set theirs: .*read returned int, expected two objects of the ",
        ),
    ],
)
def test_code_of_another_package_that_is_wrong_is_named(small, monkeypatch, field, entry, words):
    prefix, entry = next(iter(entry.items())) if isinstance(entry, dict) else ("", entry)
    group = {"strategy": "strategies", "dataset": "datasets"}.get(field, f"{field}s")
    points = {"theirs": Point(entry)}
    monkeypatch.setattr("fedpoison.registry.added", lambda name: points if name.endswith(group) else {})
    attack = {"attack": "sign-flip"} if field == "schedule" else {}
    with pytest.raises(CrashError, match=words):
        simulate(small.replace(**attack, **{field: f"{prefix}theirs"}))
