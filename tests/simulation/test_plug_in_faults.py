"""Code of other packages that raises, or returns values of another type, ends a run with one clear error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from clients.attacks.base import TRIGGER, Attack, AttackCard, AttackGoal, Knowledge
from fedpoison.errors import CrashError
from fedpoison.simulation.run import simulate
from strategies.base import Aggregate, Rule, RuleCard
from strategies.optimizers import Adam
from strategies.preaggregators import NNM, PreAggregator
from strategies.rules.krum import Krum
from strategies.rules.median import Median


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


def raising(*_):
    raise KeyError("of all things")


def entry_with(base, member):
    """Return a class of the registry with one member that is wrong."""
    ((name, value),) = member.items()
    value = property(value) if name in ("minimum", "guaranteed") else value
    kind = type("Theirs", (base,), {"__module__": __name__, name: value})
    return dataclass(frozen=True, kw_only=True)(kind)


class AnyAttack(Attack):
    card: ClassVar = AttackCard(paper="-")

    def craft(self, own, seen, context):
        return -own


class LearnedTrigger(AnyAttack):
    """Leaves a trigger, as an attack does that learns one."""

    def poison_data(self, samples, trainer, context):
        context.memory[TRIGGER] = torch.zeros(1)
        return samples


def goal_with(**members):
    return lambda self, classes: AttackGoal(target=0, **members)


@pytest.mark.parametrize(
    ("base", "member", "words"),
    [
        (AnyAttack, {"__post_init__": raising}, "theirs: the code raised KeyError"),
        (AnyAttack, {"goal": raising}, "attack theirs: the code raised KeyError"),
        (AnyAttack, {"goal": lambda self, classes: 3}, "attack theirs: .*goal returned int, expected Att"),
        (AnyAttack, {"goal": goal_with(trigger=raising)}, "attack theirs, trigger of the test set: .*KeyErr"),
        (AnyAttack, {"goal": goal_with(trigger=id)}, "attack theirs, trigger of the test set: .*Attribute"),
        (
            LearnedTrigger,
            {"goal": goal_with(learned=raising)},
            "attack theirs, trigger of the test set: .*Key",
        ),
        (AnyAttack, {"no_effect": raising}, "attack theirs: the code raised KeyError"),
        (AnyAttack, {"check": raising}, "attack theirs: the code raised KeyError"),
        (AnyAttack, {"poison_data": raising}, "round 1, client ., attack theirs: .*KeyError"),
        (
            AnyAttack,
            {"poison_data": lambda *_: None},
            "client ., attack theirs: .*poison_data returned NoneType",
        ),
        (AnyAttack, {"train": raising}, "round 1, client ., attack theirs: .*KeyError"),
        (
            AnyAttack,
            {"train": lambda *_: None},
            "round 1, client ., attack theirs: .*train returned NoneType",
        ),
        (AnyAttack, {"claimed_examples": raising}, "round 1, client ., attack theirs: .*KeyError"),
        (
            AnyAttack,
            {"claimed_examples": lambda *_: "many"},
            "client ., attack theirs: .*examples returned str",
        ),
        (AnyAttack, {"craft": raising}, "round 1, clients ., ., attack theirs: .*KeyError"),
        (Median, {"__post_init__": raising}, "theirs: the code raised KeyError"),
        (Median, {"minimum": raising}, "strategy theirs: the code raised KeyError"),
        (Median, {"minimum": lambda self: "few"}, "strategy theirs: the code raised TypeError"),
        (Median, {"obstacle": raising}, "strategy theirs: the code raised KeyError"),
        (Krum, {"guaranteed": raising}, "strategy theirs: the code raised KeyError"),
        (Median, {"aggregate": raising}, "round 1, strategy theirs: the code raised KeyError"),
        (NNM, {"__post_init__": raising}, r"theirs: the code raised KeyError"),
        (NNM, {"rows": raising}, r"strategy theirs \| median: the code raised KeyError"),
        (NNM, {"minimum": raising}, r"strategy theirs \| median: the code raised KeyError"),
        (NNM, {"__call__": raising}, r"round 1, strategy theirs \| median: the code raised KeyError"),
        (Adam, {"__post_init__": raising}, "theirs: the code raised KeyError"),
        (Adam, {"__call__": raising}, r"round 1, strategy median \| theirs: the code raised KeyError"),
    ],
)
def test_an_exception_in_any_hook_names_the_entry_and_the_cause(small, monkeypatch, base, member, words):
    group, field, spec = next(places for kind, places in PLACES.items() if issubclass(base, kind))
    points = {"theirs": Point(entry_with(base, member))}
    monkeypatch.setattr("fedpoison.registry.added", lambda found: points if found.endswith(group) else {})
    with pytest.raises(CrashError, match=words):
        simulate(small.replace(rounds=1).replace(**{field: spec}))


PLACES = {
    Attack: (".attacks", "attack", "theirs"),
    Rule: (".strategies", "strategy", "theirs"),
    PreAggregator: (".preaggregators", "strategy", "theirs | median"),
    Adam: (".optimizers", "strategy", "median | theirs"),
}
"""Entry-point group of each base class, and the field and spec that name its entry."""


def test_the_command_line_prints_one_line_for_an_exception_in_a_users_file(fedpoison, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    for name, place in (("Goal", r"attack own\.py@\w+:Goal"), ("Built", r"own\.py:Built")):
        code, _, err = fedpoison("run", "--dataset", "digits", "--attack", f"own.py:{name}", "--rounds", 1)
        assert code == 2
        assert re.search(f"error: {place}: the code raised KeyError: 'source'; correct the code", err)
        assert "Traceback" not in err


OWN = """
from dataclasses import dataclass
from fedpoison.attacks import Attack, AttackCard

@dataclass(frozen=True, kw_only=True)
class Goal(Attack):
    card = AttackCard(paper="-")
    def goal(self, classes):
        return {}["source"]

@dataclass(frozen=True, kw_only=True)
class Built(Attack):
    card = AttackCard(paper="-")
    def __post_init__(self):
        {}["source"]
"""
