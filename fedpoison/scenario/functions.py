"""Rules and attacks that are bare functions of a user."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, make_dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge
from fedpoison.errors import ScenarioError
from strategies.base import Aggregate, Context, Rule, RuleCard

Base = TypeVar("Base", Rule, Attack)


@dataclass(frozen=True, kw_only=True)
class FunctionRule(Rule):
    """Rule that calls a function `updates (n, d) -> update (d,)`. It reports no trust."""

    function: ClassVar[Callable[..., object]]
    card: ClassVar = RuleCard(
        paper="-",
        permutation_equivariant=False,
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
        reports_trust=False,
    )

    def aggregate(self, updates: Tensor, shares: Tensor, context: Context) -> Aggregate:
        update = _returned(self, updates.shape[1:], updates.clone())
        return Aggregate(update=update.to(updates), trust=shares)


@dataclass(frozen=True, kw_only=True)
class FunctionAttack(Attack):
    """Omniscient attack that calls a function `own (m, d), seen (h, d) -> updates (m, d)`."""

    function: ClassVar[Callable[..., object]]
    card: ClassVar = AttackCard(paper="-", knowledge=Knowledge.OMNISCIENT)

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        honest = own[:0].clone() if seen is None else seen.clone()
        return _returned(self, own.shape, own.clone(), honest).to(own)


def rule_class(function: Callable[..., object]) -> type[Rule]:
    """Return the class of the rule that calls a function. Its fields are the function's other parameters.

    >>> trimmed = rule_class(lambda updates, share=0.1: updates.quantile(share, dim=0))
    >>> trimmed(share=0.5)(torch.tensor([[1.0], [2.0], [9.0]])).update
    tensor([2.])

    Raises:
        ScenarioError: another parameter than the first has no default.
    """
    return _class_of(function, FunctionRule, ("updates",))


def attack_class(function: Callable[..., object]) -> type[Attack]:
    """Return the class of the attack that calls a function. Its fields are the function's other parameters.

    Raises:
        ScenarioError: another parameter than the first two has no default.
    """
    return _class_of(function, FunctionAttack, ("own", "seen"))


def _class_of(function: Callable[..., object], base: type[Base], inputs: tuple[str, ...]) -> type[Base]:
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    settings = parameters[len(inputs) :]
    lacking = [each.name for each in settings if each.default is inspect.Parameter.empty]
    if len(parameters) < len(inputs) or lacking:
        names = ", ".join(each.name for each in parameters)
        raise ScenarioError(
            f"function {function.__name__}({names}): expected the parameters {', '.join(inputs)}, "
            "and defaults for all others."
        )
    return make_dataclass(
        function.__name__,
        [(each.name, _kind(each), each.default) for each in settings],
        bases=(base,),
        namespace={
            "function": staticmethod(function),
            "__doc__": inspect.getdoc(function) or base.__doc__,
            "__module__": function.__module__,
        },
        frozen=True,
        kw_only=True,
    )


def _kind(parameter: inspect.Parameter) -> Any:
    """Return the type of a parameter: its annotation, or else the type of its default."""
    if parameter.annotation is not inspect.Parameter.empty:
        return parameter.annotation
    return Any if parameter.default is None else type(parameter.default)


def _returned(entry: FunctionRule | FunctionAttack, shape: torch.Size, *inputs: Tensor) -> Tensor:
    """Call the function, and return its result.

    Raises:
        TypeError: the result is no tensor of this shape.
    """
    settings = {each.name: getattr(entry, each.name) for each in fields(entry)}
    result = type(entry).function(*inputs, **settings)
    if not isinstance(result, Tensor) or result.shape != shape:
        found = f"shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise TypeError(f"{type(entry).__name__} returned {found}, expected a tensor of shape {tuple(shape)}")
    return result.detach()
