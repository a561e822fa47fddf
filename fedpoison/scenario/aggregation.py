"""Aggregation on the server, as a spec: `[pre-aggregator | ...] rule [| server optimizer]`."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedpoison.errors import ScenarioError, code_errors, unknown
from fedpoison.own_code import is_code_name
from fedpoison.scenario.parsed_spec import READERS, Spec, deferred
from fedpoison.scenario.registries import optimizers, preaggregators, strategies
from fedpoison.scenario.specs import Call, describe, format_call, parse_call, split_outside
from strategies.base import AggregationRule, PreconditionError, require
from strategies.optimizers import ServerOptimizer
from strategies.pipeline import Pipeline
from strategies.preaggregators import PreAggregator

if TYPE_CHECKING:
    from flwr.serverapp.strategy import FedAvg

FLOWER = "flwr:"
"""Prefix of a spec that names one of Flower's own strategy classes."""
TOLERANCE = ("byzantine",)
"""Parameters whose default depends on the scenario."""
GRAMMAR = "[pre-aggregator | ...] rule [| optimizer], such as nnm | median or clipping | krum | adam"


@dataclass(frozen=True)
class Aggregation:
    """Parsed spec of a rule, alone or in a pipeline with pre-aggregators and a server optimizer."""

    pre: tuple[Call[PreAggregator], ...]
    rule: Call[AggregationRule]
    optimizer: Call[ServerOptimizer] | None

    def build(self, byzantine: int) -> AggregationRule:
        """Build the rule. `byzantine` is the default of each part that has this parameter."""
        rule = self.rule.build(byzantine=byzantine)
        if not self.pre and self.optimizer is None:
            return rule
        pre = tuple(part.build(byzantine=byzantine) for part in self.pre)
        optimizer = None if self.optimizer is None else self.optimizer.build(byzantine=byzantine)
        return Pipeline(pre=pre, rule=rule, optimizer=optimizer)


@dataclass(frozen=True)
class FlowerStrategy:
    """One of Flower's own strategy classes, with its constructor arguments."""

    name: str
    arguments: dict[str, Any]

    def build(self, byzantine: int) -> FlowerStrategy:
        """Return self: in Flower, the number of malicious clients is an argument of some strategies."""
        return self

    def check_clients(self, sampled: int) -> None:
        """Check the arguments that depend on the number of clients that train per round.

        Raises:
            ScenarioError: the strategy would wait for ever, or never aggregate, or ignore an argument.
        """
        for name in ("min_train_nodes", "min_available_nodes", "num_nodes_to_select"):
            if self.arguments.get(name, 1) > sampled:
                raise self._refused(name, f"at most the {sampled} clients of a round")
        byzantine = self.arguments.get("num_malicious_nodes", 0)
        needed = 4 * byzantine + 3 if self.name == "Bulyan" else byzantine + 3 if byzantine else 1
        if needed > sampled:
            formula = "4 f + 3" if self.name == "Bulyan" else "f + 3"
            raise self._refused(
                "num_malicious_nodes", f"f with {formula} of at most the {sampled} clients of a round"
            )

    def check_values(self, flower_class: Callable[..., object]) -> None:
        """Check the arguments that the constructor of Flower's class does not check, then call it.

        Raises:
            ScenarioError: an argument has a wrong type or value, or fedpoison sets it.
        """
        for name, parameter in inspect.signature(flower_class).parameters.items():
            if name not in self.arguments:
                if parameter.default is inspect.Parameter.empty:
                    raise ScenarioError(f"{FLOWER}{self.name}: got no {name}, expected {name}=<value>.")
                continue
            value, kind = self.arguments[name], parameter.annotation
            if name in _SET_BY_US and value != parameter.default:
                raise self._refused(name, f"{parameter.default}, since {_SET_BY_US[name]}")
            if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
                raise self._refused(name, "an integer" if kind is int else f"a {kind.__name__}")
            least = 1 if name in _COUNTS else 0
            if kind is not str and not least <= value < math.inf:
                raise self._refused(name, f"a finite number, {least} or more")
        try:
            self.create()
        except (TypeError, ValueError) as error:
            raise ScenarioError(f"{FLOWER}{self.name}: Flower refuses the arguments: {error}") from None

    def create(self, **settings: object) -> FedAvg:
        """Return the strategy as an object of Flower's class, without the messages that Flower logs.

        Args:
            settings: arguments that the spec does not set.
        """
        import flwr.serverapp.strategy as flower  # noqa: PLC0415  # Flower takes a second to import

        logger = logging.getLogger("flwr")
        logger.addFilter(_refuse_all)
        try:
            created: FedAvg = getattr(flower, self.name)(**settings | self.arguments)
        finally:
            logger.removeFilter(_refuse_all)
        return created

    @property
    def warnings(self) -> list[str]:
        """Arguments without effect."""
        if self.name == "FedProx" and not self.arguments.get("proximal_mu"):
            return [f"the strategy {FLOWER}FedProx is FedAvg: proximal_mu is 0"]
        return []

    def _refused(self, name: str, expected: str) -> ScenarioError:
        return ScenarioError(
            f"{FLOWER}{self.name}: {name}: got {self.arguments.get(name)}, expected {expected}."
        )


def _refuse_all(_: logging.LogRecord) -> bool:
    return False


_COUNTS = ("min_train_nodes", "min_available_nodes", "num_nodes_to_select")
"""Arguments of Flower's strategies that are numbers of clients, at least 1."""
_SET_BY_US = {
    "fraction_train": "the field participation of the scenario sets the share of clients per round",
    "fraction_evaluate": "the server evaluates the model, not the clients",
    "min_evaluate_nodes": "the server evaluates the model, not the clients",
    "weighted_by_key": "the clients' replies use this key",
    "arrayrecord_key": "the clients' replies use this key",
    "configrecord_key": "the messages to clients use this key",
    "train_loss_key": "the clients' replies use this key",
}
"""Arguments of Flower's strategies with a fixed value, and the reason."""


def read_aggregation(spec: str | AggregationRule) -> Spec[Aggregation | FlowerStrategy]:
    """Return an aggregation's spec in canonical form, with its parsed form.

    Parameters at their default are left out, except a `byzantine` that the spec sets. An object, which is a
    rule or a `Pipeline` of registered classes, sets its `byzantine`.

    >>> read_aggregation("nnm | krum( power = 2, byzantine = 1 )")
    'nnm | krum(byzantine=1)'

    Raises:
        ScenarioError: a name or a parameter is unknown, or a value or the order of the parts is invalid.
    """
    if isinstance(spec, Spec) and spec.kind == strategies.kind:
        return spec
    if (later := deferred(spec, strategies.kind)) is not None:
        return later
    if not isinstance(spec, str):
        return read_aggregation(_describe(spec))
    if spec.startswith(FLOWER) and len(split_outside(spec, "|")) == 1:
        described = _flower_class(spec)
        return Spec(format_call(FLOWER + described.name, described.arguments), strategies.kind, described)
    parsed = _parse_pipeline(spec)
    parts: list[Call[Any]] = [*parsed.pre, parsed.rule, *filter(None, [parsed.optimizer])]
    text = " | ".join(part.to_spec(part.build(), kept=TOLERANCE) for part in parts)
    return Spec(text, strategies.kind, parsed)


READERS[strategies.kind] = read_aggregation


def build_aggregation(spec: str, *, byzantine: int) -> AggregationRule | FlowerStrategy:
    """Build the rule or pipeline that `spec` describes, or return the Flower strategy that it names.

    `byzantine` is the default of each part that has this parameter.

    >>> build_aggregation("nnm | krum(power=1)", byzantine=2).pre
    (NNM(byzantine=2),)

    Raises:
        ScenarioError: as `read_aggregation`.
    """
    return read_aggregation(spec).value.build(byzantine)


def check_clients(
    spec: str, aggregation: AggregationRule | FlowerStrategy, sampled: int, client_ids: Container[int]
) -> None:
    """Check that a strategy can aggregate the updates of this number of clients, of any of `client_ids`.

    Raises:
        ScenarioError: the clients are too few, or do not suit the strategy.
        CrashError: the code of the strategy raised an exception.
    """
    if isinstance(aggregation, FlowerStrategy):
        aggregation.check_clients(sampled)
        return
    with code_errors(f"strategy {spec}"):
        try:
            require(aggregation, sampled, client_ids)
        except PreconditionError as error:
            raise ScenarioError(str(error)) from None


def _describe(rule: AggregationRule) -> str:
    parts: list[object] = [rule]
    if isinstance(rule, Pipeline):
        parts = [*rule.pre, rule.rule, *filter(None, [rule.optimizer])]
    return " | ".join(
        describe(part, strategies, preaggregators, optimizers, kept=TOLERANCE) for part in parts
    )


def _parse_pipeline(spec: str) -> Aggregation:
    """Return the parsed pre-aggregators, rule and optimizer, or raise ScenarioError."""
    parts = split_outside(spec, "|")
    calls = [parse_call(part) for part in parts]
    kinds = [_kind(part, name, alone=len(parts) == 1) for part, (name, _) in zip(parts, calls, strict=True)]
    rules = kinds.count("rule")
    if rules != 1:
        given = ", ".join(part for part, kind in zip(parts, kinds, strict=True) if kind == "rule")
        raise ScenarioError(
            f"strategy {spec!r}: got {given or 'no rule'}, expected exactly one rule: {GRAMMAR}. "
            f"Rules are {', '.join(strategies.entries())}."
        )
    at = kinds.index("rule")
    if "optimizer" in kinds[:at]:
        early = parts[kinds.index("optimizer")]
        raise ScenarioError(f"strategy {spec!r}: {early} is an optimizer, expected last: {GRAMMAR}.")
    if "pre-aggregator" in kinds[at:]:
        late = parts[kinds.index("pre-aggregator", at)]
        raise ScenarioError(
            f"strategy {spec!r}: {late} is a pre-aggregator, expected before the rule: {GRAMMAR}."
        )
    after = parts[at + 1 :]
    if len(after) > 1:
        raise ScenarioError(f"strategy {spec!r}: got {', '.join(after)}, expected at most one optimizer.")
    pre = [Call.check(preaggregators, parts[place], *calls[place]) for place in range(at)]
    rule = Call.check(strategies, parts[at], *calls[at])
    optimizer = Call.check(optimizers, parts[-1], *calls[-1]) if after else None
    return Aggregation(tuple(pre), rule, optimizer)


def _kind(part: str, name: str, *, alone: bool) -> str:
    if name.startswith(FLOWER):
        raise ScenarioError(
            f"{part}: a strategy of Flower cannot be part of a pipeline; remove the other parts."
        )
    if name in preaggregators:  # first, since a pre-aggregator of a user has all members of a rule
        return "pre-aggregator"
    if name in strategies:
        return "rule"
    if name in optimizers:
        return "optimizer"
    if is_code_name(name):
        strategies[name]  # raises: the message names the members of a rule
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
    found = FlowerStrategy(name, arguments)
    found.check_values(classes[name])
    return found
