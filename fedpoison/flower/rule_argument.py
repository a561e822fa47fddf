"""The rule of a strategy as an argument, and the strategies that it cannot be in."""

from __future__ import annotations

from flwr.serverapp.strategy import Strategy

from fedpoison.errors import ScenarioError
from fedpoison.flower.wrapping import WrappingStrategy
from fedpoison.scenario.aggregation import FlowerStrategy, read_aggregation
from strategies.base import AggregationRule


def read_rule(rule: str | AggregationRule, byzantine: int) -> AggregationRule:
    """Return the rule that a text describes, or the object itself.

    Args:
        rule: A rule, alone or with pre-aggregators and an optimizer, as text or object.
        byzantine: Number of malicious clients to tolerate, for parts of a text that do not set it.

    Raises:
        ScenarioError: the text describes no rule of ours, or the object is none.
    """
    if not isinstance(rule, str):
        if isinstance(rule, type) or not isinstance(rule, AggregationRule):
            raise ScenarioError(
                f"rule: got {rule!r}, expected a name such as 'median', or an object such as "
                "fedpoison.rules.Krum(byzantine=2)."
            )
        return rule
    built = read_aggregation(rule).value.build(byzantine)
    if isinstance(built, FlowerStrategy):
        raise ScenarioError(f"rule: got {rule!r}, expected one of our rules; use Flower's strategy itself.")
    return built


def refuse_wrapper(strategy: Strategy) -> None:
    """Raise ScenarioError if the strategy wraps another one and changes replies or the aggregate."""
    if isinstance(strategy, WrappingStrategy) or isinstance(getattr(strategy, "strategy", None), Strategy):
        name = type(strategy).__name__
        raise ScenarioError(
            f"strategy: got {name}, which wraps a strategy itself, expected the innermost strategy; write "
            f"{name}(RobustStrategy(...)), since RobustStrategy replaces the aggregation of what it wraps."
        )
