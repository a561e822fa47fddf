"""What the server does with the updates of a round: `[pre-aggregator | ...] rule [| server optimizer]`."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from fedpoison.errors import ScenarioError, unknown
from fedpoison.registries import optimizers, preaggregators, strategies
from fedpoison.specs import build, canonical, parse_call, spell_call, split_outside
from strategies.chain import Chain
from strategies.rule import PreconditionError, Rule, require

FLOWER = "flwr:"
"""Prefix of a strategy that is one of Flower's own classes."""
TOLERANCE = ("byzantine",)
"""The knob whose default is the scenario's."""
GRAMMAR = "[pre-aggregator | ...] rule [| optimizer], such as nnm | median or clipping | krum | adam"


@dataclass(frozen=True)
class Pipeline:
    """Our own rule, alone or in a chain with pre-aggregators and an optimizer."""

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
    """Return what `spec` describes, every part tolerating `byzantine` clients unless the spec says otherwise.

    >>> build_pipeline("nnm | krum(power=1)", byzantine=2).rule.pre
    (NNM(byzantine=2),)

    Raises:
        ScenarioError: a name or a knob is unknown, a value does not fit, or the parts are in a wrong order.
    """
    if _is_flower(spec):
        return _flower_class(spec)
    before, middle, after = _parts(spec)
    rule = build(strategies, middle, byzantine=byzantine)
    if not before and after is None:
        return Pipeline(rule)
    pre = tuple(build(preaggregators, part, byzantine=byzantine) for part in before)
    optimizer = None if after is None else build(optimizers, after, byzantine=byzantine)
    return Pipeline(Chain(pre=pre, rule=rule, optimizer=optimizer))


def canonical_pipeline(spec: str) -> str:
    """Return `spec` with only the knobs that differ from their defaults, and `byzantine` where it is set."""
    if _is_flower(spec):
        built = _flower_class(spec)
        return spell_call(FLOWER + built.name, built.arguments)
    before, middle, after = _parts(spec)
    spelt = [canonical(preaggregators, part, kept=TOLERANCE) for part in before]
    spelt.append(canonical(strategies, middle, kept=TOLERANCE))
    if after is not None:
        spelt.append(canonical(optimizers, after, kept=TOLERANCE))
    return " | ".join(spelt)


def _parts(spec: str) -> tuple[list[str], str, str | None]:
    """Return the specs of the pre-aggregators, of the rule and of the optimizer, or raise ScenarioError."""
    parts = split_outside(spec, "|")
    kinds = [_kind(part, alone=len(parts) == 1) for part in parts]
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
    return parts[:at], parts[at], after[0] if after else None


def _kind(part: str, *, alone: bool) -> str:
    name, _ = parse_call(part)
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


def _is_flower(spec: str) -> bool:
    return spec.startswith(FLOWER) and len(split_outside(spec, "|")) == 1


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
