"""What the server does with the updates of a round: `[pre-aggregator |] rule [| server optimizer]`."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from fedpoison.errors import ScenarioError
from fedpoison.registries import strategies
from fedpoison.specs import build, canonical, parse_call, spell_call, unknown
from strategies.rule import PreconditionError, Rule, require

FLOWER = "flwr:"
"""Prefix of a strategy that is one of Flower's own classes."""


@dataclass(frozen=True)
class Pipeline:
    """Our own rule."""

    rule: Rule

    def check(self, clients: int) -> None:
        """Raise ScenarioError unless the rule is defined for this number of updates a round."""
        try:
            require(self.rule, clients)
        except PreconditionError as error:
            raise ScenarioError(str(error)) from None


@dataclass(frozen=True)
class FlowerClass:
    """One of Flower's own strategy classes, with the arguments to build it."""

    name: str
    arguments: dict[str, Any]

    def check(self, clients: int) -> None:
        """Flower's strategies check themselves, round by round."""


def build_pipeline(spec: str, *, byzantine: int) -> Pipeline | FlowerClass:
    """Return what `spec` describes, tolerating `byzantine` clients unless the spec says otherwise.

    Raises:
        ScenarioError: a name or a knob is unknown, or a value does not fit.
    """
    if spec.startswith(FLOWER):
        return _flower_class(spec)
    return Pipeline(rule=build(strategies, spec, byzantine=byzantine))


def canonical_pipeline(spec: str) -> str:
    """Return `spec` with only the knobs that differ from their defaults."""
    if spec.startswith(FLOWER):
        built = _flower_class(spec)
        return spell_call(FLOWER + built.name, built.arguments)
    return canonical(strategies, spec)


def _flower_class(spec: str) -> FlowerClass:
    import flwr.serverapp.strategy as flower  # noqa: PLC0415  # Flower takes a second to import

    name, arguments = parse_call(spec.removeprefix(FLOWER))
    classes = {
        known: value
        for known in flower.__all__
        if inspect.isclass(value := getattr(flower, known)) and issubclass(value, flower.FedAvg)
        if "Xgb" not in known  # trees, not models with weights
    }
    if name not in classes:
        raise unknown("Flower strategy", name, classes)
    choices = [
        parameter
        for parameter, described in inspect.signature(classes[name]).parameters.items()
        if "Callable" not in str(described.annotation)
    ]
    for argument in arguments:
        if argument not in choices:
            raise unknown(f"argument of {name}", argument, choices)
    return FlowerClass(name, arguments)
