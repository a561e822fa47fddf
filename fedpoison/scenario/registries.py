"""Every kind of thing that a scenario can name: ours, and what other packages add."""

from __future__ import annotations

from clients import ATTACKS
from clients.attacks.base import Attack
from clients.attacks.composite import Composite
from fedpoison.data import AUTO, datasets
from fedpoison.data.partitions import PARTITIONS, Partition
from fedpoison.errors import ScenarioError, unknown
from fedpoison.models import MODELS, ModelBuilder
from fedpoison.registry import Registry
from fedpoison.scenario.specs import Spec, read, split_outside
from strategies import OPTIMIZERS, PREAGGREGATORS, STRATEGIES
from strategies.base import AggregationRule
from strategies.optimizers import ServerOptimizer
from strategies.preaggregators import PreAggregator

attacks: Registry[type[Attack]] = Registry("attack", ATTACKS, "fedpoison.attacks")
strategies: Registry[type[AggregationRule]] = Registry("strategy", STRATEGIES, "fedpoison.strategies")
preaggregators: Registry[type[PreAggregator]] = Registry(
    "pre-aggregator", PREAGGREGATORS, "fedpoison.preaggregators"
)
optimizers: Registry[type[ServerOptimizer]] = Registry("optimizer", OPTIMIZERS, "fedpoison.optimizers")
partitions: Registry[type[Partition]] = Registry("partition", PARTITIONS, "fedpoison.partitions")
models: Registry[ModelBuilder] = Registry("model", MODELS, "fedpoison.models")


def read_attack(spec: str) -> Spec[Attack]:
    """Return an attack's spec in canonical form with its object; parts joined by + act one after the other.

    >>> read_attack("backdoor(target=3) + scaled-update( factor = 5 )")
    'backdoor(target=3)+scaled-update(factor=5.0)'

    Raises:
        ScenarioError: a name or knob is unknown, a value does not fit, or the parts do not combine.
    """
    if isinstance(spec, Spec) and spec.kind == attacks.kind:
        return spec
    parts = [read(attacks, part) for part in split_outside(spec, "+")]
    if not parts:
        raise ScenarioError("attack: got an empty text, wanted a name such as label-flip, or none.")
    if len(parts) == 1:
        return parts[0]
    try:
        combined = Composite(parts=tuple(part.value for part in parts))
    except ValueError as error:
        raise ScenarioError(f"attack {spec}: {error}") from None
    return Spec("+".join(parts), attacks.kind, combined)


def build_attack(spec: str) -> Attack:
    """Return the attack that `spec` describes.

    >>> build_attack("backdoor(target=3) + scaled-update(factor=5)").parts[0].target
    3

    Raises:
        ScenarioError: as `read_attack`.
    """
    return read_attack(spec).value


def read_partition(spec: str) -> Spec[Partition]:
    """Return a partition's spec in canonical form with its object."""
    return read(partitions, spec)


def check_dataset(name: str) -> str:
    """Return `name`, or raise ScenarioError unless it is a data set's or auto."""
    if name != AUTO and name not in datasets:
        raise unknown("data set", name, [AUTO, *datasets.entries()])
    return name
