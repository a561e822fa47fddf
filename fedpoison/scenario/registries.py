"""Registries of the attacks, strategies, partitions and models that a scenario can name."""

from __future__ import annotations

from clients import ATTACKS
from clients.attacks.base import Attack
from clients.attacks.composite import Composite, parts_of
from fedpoison.data.flower_partitions import FLOWER_DATASETS, FlowerPartition
from fedpoison.data.partition import Partition
from fedpoison.data.partitions import PARTITIONS
from fedpoison.errors import ScenarioError
from fedpoison.models import MODELS, ModelBuilder
from fedpoison.registry import Registry
from fedpoison.scenario.functions import attack_class, rule_class
from fedpoison.scenario.parsed_spec import READERS, Spec, deferred
from fedpoison.scenario.specs import format_call, parse_call, read, split_outside
from strategies import OPTIMIZERS, PREAGGREGATORS, STRATEGIES
from strategies.base import AggregationRule
from strategies.optimizers import ServerOptimizer
from strategies.preaggregators import PreAggregator

attacks: Registry[type[Attack]] = Registry(
    "attack",
    ATTACKS,
    "fedpoison.attacks",
    "card.paper",
    "poison_data",
    "train",
    "craft",
    from_function=attack_class,
)
strategies: Registry[type[AggregationRule]] = Registry(
    "strategy",
    STRATEGIES,
    "fedpoison.strategies",
    "card.needs",
    "minimum",
    "__call__",
    from_function=rule_class,
)
preaggregators: Registry[type[PreAggregator]] = Registry(
    "pre-aggregator", PREAGGREGATORS, "fedpoison.preaggregators", "card.needs", "minimum", "rows", "__call__"
)
optimizers: Registry[type[ServerOptimizer]] = Registry(
    "optimizer", OPTIMIZERS, "fedpoison.optimizers", "card.needs", "__call__"
)
partitions: Registry[type[Partition]] = Registry("partition", PARTITIONS, "fedpoison.partitions", "__call__")
models: Registry[ModelBuilder] = Registry("model", MODELS, "fedpoison.models", "__call__", dataclass=False)


def read_attack(spec: str | Attack) -> Spec[Attack]:
    """Return an attack's spec in canonical form with its object. `a + b` runs one attack after the other.

    Args:
        spec: A spec, or an object of a registered class, or a `Composite` of such objects.

    >>> read_attack("backdoor(target=3) + scaled-update( factor = 5 )")
    'backdoor(target=3)+scaled-update(factor=5.0)'

    Raises:
        ScenarioError: a name or parameter is unknown, a value is invalid, or the parts do not combine.
    """
    if isinstance(spec, Spec) and spec.kind == attacks.kind:
        return spec
    if (later := deferred(spec, attacks.kind)) is not None:
        return later
    given = split_outside(spec, "+") if isinstance(spec, str) else parts_of(spec)
    parts = [read(attacks, part) for part in given]
    if not parts:
        raise ScenarioError("attack: got an empty text, expected a name such as label-flip, or none.")
    if len(parts) == 1:
        return parts[0]
    try:
        combined = Composite(parts=tuple(part.value for part in parts))
    except ValueError as error:
        raise ScenarioError(f"attack {spec}: {error}") from None
    return Spec("+".join(parts), attacks.kind, combined)


def build_attack(spec: str) -> Attack:
    """Build the attack that `spec` describes.

    >>> build_attack("backdoor(target=3) + scaled-update(factor=5)").parts[0].target
    3

    Raises:
        ScenarioError: as `read_attack`.
    """
    return read_attack(spec).value


def read_partition(spec: str | Partition) -> Spec[Partition]:
    """Return a partition's spec in canonical form with its object.

    >>> read_partition("flwr-datasets:ShardPartitioner( shard_size=20 )")
    'flwr-datasets:ShardPartitioner(shard_size=20)'

    Raises:
        ScenarioError: a name or a parameter is unknown, or a value is invalid. Partitioners of Flower
        Datasets are checked when they divide samples.
    """
    if isinstance(spec, str) and not isinstance(spec, Spec) and spec.startswith(FLOWER_DATASETS):
        name, arguments = parse_call(spec.removeprefix(FLOWER_DATASETS))
        text = format_call(FLOWER_DATASETS + name, arguments)
        return Spec(text, partitions.kind, FlowerPartition(name, tuple(arguments.items())))
    return read(partitions, spec)


READERS.update({attacks.kind: read_attack, partitions.kind: read_partition})
