"""What the server does with the updates of a round: `[pre-aggregator | ...] rule [| server optimizer]`."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from fedpoison.errors import ScenarioError, unknown
from fedpoison.scenario.registries import optimizers, preaggregators, strategies
from fedpoison.scenario.specs import Call, Spec, format_call, parse_call, split_outside
from strategies.base import AggregationRule
from strategies.optimizers import ServerOptimizer
from strategies.pipeline import Pipeline
from strategies.preaggregators import PreAggregator

FLOWER = "flwr:"
"""Prefix of a strategy that is one of Flower's own classes."""
TOLERANCE = ("byzantine",)
"""The knob whose default is the scenario's."""
GRAMMAR = "[pre-aggregator | ...] rule [| optimizer], such as nnm | median or clipping | krum | adam"


@dataclass(frozen=True)
class Aggregation:
    """Parsed aggregation of our own: a rule, alone or with pre-aggregators and an optimizer."""

    pre: tuple[Call[PreAggregator], ...]
    rule: Call[AggregationRule]
    optimizer: Call[ServerOptimizer] | None

    def build(self, byzantine: int) -> AggregationRule:
        """Return the rule, every part tolerating `byzantine` clients unless the spec says otherwise."""
        rule = self.rule.build(byzantine=byzantine)
        if not self.pre and self.optimizer is None:
            return rule
        pre = tuple(part.build(byzantine=byzantine) for part in self.pre)
        optimizer = None if self.optimizer is None else self.optimizer.build(byzantine=byzantine)
        return Pipeline(pre=pre, rule=rule, optimizer=optimizer)


@dataclass(frozen=True)
class FlowerStrategy:
    """One of Flower's own strategy classes, with the arguments to build it."""

    name: str
    arguments: dict[str, Any]

    def build(self, byzantine: int) -> FlowerStrategy:
        """Return this class: Flower's strategies take the number of malicious clients as an argument."""
        return self


def read_aggregation(spec: str) -> Spec[Aggregation | FlowerStrategy]:
    """Return an aggregation's spec in canonical form, with what builds it.

    The form has only the knobs that are not at their default, and `byzantine` where the spec sets it.

    >>> read_aggregation("nnm | krum( power = 2, byzantine = 1 )")
    'nnm | krum(byzantine=1)'

    Raises:
        ScenarioError: a name or a knob is unknown, a value does not fit, or the parts are in a wrong order.
    """
    if isinstance(spec, Spec) and spec.kind == strategies.kind:
        return spec
    if spec.startswith(FLOWER) and len(split_outside(spec, "|")) == 1:
        described = _flower_class(spec)
        return Spec(format_call(FLOWER + described.name, described.arguments), strategies.kind, described)
    read = _parts(spec)
    parts: list[Call[Any]] = [*read.pre, read.rule, *([] if read.optimizer is None else [read.optimizer])]
    text = " | ".join(part.spell(part.build(), kept=TOLERANCE) for part in parts)
    return Spec(text, strategies.kind, read)


def build_aggregation(spec: str, *, byzantine: int) -> AggregationRule | FlowerStrategy:
    """Return what `spec` describes, every part tolerating `byzantine` clients unless the spec says otherwise.

    >>> build_aggregation("nnm | krum(power=1)", byzantine=2).pre
    (NNM(byzantine=2),)

    Raises:
        ScenarioError: as `read_aggregation`.
    """
    return read_aggregation(spec).value.build(byzantine)


def _parts(spec: str) -> Aggregation:
    """Return the parsed pre-aggregators, rule and optimizer, or raise ScenarioError."""
    parts = split_outside(spec, "|")
    calls = [parse_call(part) for part in parts]
    kinds = [_kind(part, name, alone=len(parts) == 1) for part, (name, _) in zip(parts, calls, strict=True)]
    rules = kinds.count("rule")
    if rules != 1:
        given = ", ".join(part for part, kind in zip(parts, kinds, strict=True) if kind == "rule")
        raise ScenarioError(
            f"strategy {spec!r}: got {given or 'no rule'}, wanted exactly one rule: {GRAMMAR}. "
            f"Rules are {', '.join(strategies.entries())}."
        )
    at = kinds.index("rule")
    if "optimizer" in kinds[:at]:
        early = parts[kinds.index("optimizer")]
        raise ScenarioError(f"strategy {spec!r}: {early} is an optimizer and goes last: {GRAMMAR}.")
    if "pre-aggregator" in kinds[at:]:
        late = parts[kinds.index("pre-aggregator", at)]
        raise ScenarioError(f"strategy {spec!r}: {late} goes before the rule: {GRAMMAR}.")
    after = parts[at + 1 :]
    if len(after) > 1:
        raise ScenarioError(f"strategy {spec!r}: got {', '.join(after)}, wanted at most one optimizer.")
    pre = [Call.check(preaggregators, parts[place], *calls[place]) for place in range(at)]
    rule = Call.check(strategies, parts[at], *calls[at])
    optimizer = Call.check(optimizers, parts[-1], *calls[-1]) if after else None
    return Aggregation(tuple(pre), rule, optimizer)


def _kind(part: str, name: str, *, alone: bool) -> str:
    if name.startswith(FLOWER):
        raise ScenarioError(
            f"{part}: one of Flower's own strategies stands alone, without | before or after."
        )
    if name in strategies:
        return "rule"
    if name in preaggregators:
        return "pre-aggregator"
    if name in optimizers:
        return "optimizer"
    choices = [*strategies.entries()]
    if not alone:
        choices += [*preaggregators.entries(), *optimizers.entries()]
    raise unknown("strategy", name, choices)


def _flower_class(spec: str) -> FlowerStrategy:
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
    return FlowerStrategy(name, arguments)
