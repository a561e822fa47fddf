"""Random scenarios: every strategy and every attack in turn, with the rest of the scenario at random."""

from __future__ import annotations

import inspect
import re
import shlex
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import flwr.serverapp.strategy as flower

from experiments.fuzz.values import draw_parameters, draw_value
from fedpoison.data import Dataset
from fedpoison.errors import FedPoisonError
from fedpoison.federation.federation import Federation
from fedpoison.registry import Registry
from fedpoison.scenario.aggregation import FLOWER
from fedpoison.scenario.attackers import AttackerGroup
from fedpoison.scenario.registries import attacks, models, optimizers, partitions, preaggregators, strategies
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.schedules import schedules
from fedpoison.scenario.specs import format_call

SMALL_MODEL = "mlp-small"
CLIENTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)
HUGE = 2**31
WILD = 0.1
"""Share of scenarios that are kept even if they are not valid."""
ATTEMPTS = 12
DRAWN_HERE = frozenset({
    "dataset", "train_samples", "test_samples", "clients", "rounds", "evaluate_every", "model", "epochs",
    "steps", "batch_size", "lr", "dropout_seed", "partition", "malicious_partition", "malicious",
    "malicious_count", "malicious_nodes", "malicious_per_round", "attack", "schedule", "groups", "goal",
    "strategy", "tolerated", "knowledge",
})  # fmt: skip
"""Fields that `draw` chooses. It draws all other fields of the scenario from their types."""


@dataclass(frozen=True)
class Drawn:
    """A random scenario, before any check."""

    seed: int
    index: int
    fields: Mapping[str, Any]
    """Fields of the scenario that differ from their default."""

    @property
    def endless(self) -> bool:
        """Whether a parameter asks for a million steps or more, which no fuzzer waits for."""
        specs = [self.fields.get(name) for name in ("strategy", "attack", "goal", "groups")]
        return re.search(r"=\d{7,}[,)]", str(specs)) is not None

    @property
    def command(self) -> str:
        """The command line that runs the scenario."""
        options = [option for name, value in self.fields.items() for option in _options(name, value)]
        return " ".join(["fedpoison", "run", *options])

    @property
    def repeat(self) -> str:
        """The command line that checks the scenario again."""
        return f"python -m experiments.fuzz --seed {self.seed} --only {self.index}"


def draw(seed: int, index: int, dataset: Dataset) -> Drawn:
    """Return the scenario number `index` of a seed. Consecutive scenarios have all strategies and attacks.

    One in ten is kept even if it is not valid. The others are drawn again until they are, if that is soon.
    """
    source = Random(f"{seed} {index}")
    kept = 1 if source.random() < WILD else ATTEMPTS
    drawn = [_fields(seed, index, source)]
    while len(drawn) < kept and _refused(drawn[-1], dataset):
        drawn.append(_fields(seed, index, source))
    return Drawn(seed, index, drawn[-1])


def _refused(fields: Mapping[str, Any], dataset: Dataset) -> bool:
    try:
        Federation(Scenario.parse(fields), dataset)
    except FedPoisonError:
        return True
    except Exception:  # noqa: BLE001  # the check of the outcome finds it again, and reports it
        return False
    return False


def _fields(seed: int, index: int, source: Random) -> dict[str, Any]:
    model = _model(source)
    fields = {"dataset": "digits", "model": model} | _sizes(source, large=model != SMALL_MODEL)
    fields |= _optional(source)
    fields["strategy"] = _strategy(_turn(strategies, seed, index), source)
    fields |= _attackers(_turn(attacks, seed, index), fields["clients"], source)
    if fields["model"] == "cnn-bucketing" and source.random() < 0.5:
        fields["dropout_seed"] = source.choice([0, 1, HUGE])
    return fields


def _turn(registry: Registry[Any], seed: int, index: int) -> str:
    """Return the name whose turn it is. Each pass over the registry has its own order."""
    names = list(registry.entries())
    turn, place = divmod(index, len(names))
    Random(f"{seed} {registry.kind} {turn}").shuffle(names)
    return names[place]


def _model(source: Random) -> str:
    """Return mostly the smallest model, since a run should take a tenth of a second."""
    return SMALL_MODEL if source.random() < 0.98 else source.choice(list(models.entries()))


def _sizes(source: Random, *, large: bool) -> dict[str, Any]:
    """Draw the numbers of clients, samples, rounds and steps. Some are at their edges."""
    clients = source.choice(CLIENTS[:4] if large else CLIENTS)
    return {
        "clients": clients,
        "train_samples": max(1, source.choice([clients, 2 * clients, 2 * clients, 5 * clients, 60, 1])),
        "test_samples": source.choice([1, 2, 10, 20, 20]),
        "rounds": 1 if large else source.choice([1, 2, 2, 3]),
        "evaluate_every": source.choice([1, 1, 2, 5, HUGE]),
        "epochs": source.choice([1, 1, 1, 2]),
        "steps": source.choice([0, 0, 0, 1, 3]),
        "batch_size": source.choice([1, 2, 4, 8, 32, HUGE]),
        "lr": source.choice([0.05, 0.1, 0.1, 0.5, 2.0, 1e3, 1e30, 1e-30, 5e-324]),
        "partition": _spec(partitions, source),
        "tolerated": source.choice([None, None, 0, 1, 1, clients // 4, clients // 2, clients // 2 + 1, HUGE]),
    } | ({"malicious_partition": _spec(partitions, source)} if source.random() < 0.1 else {})


def _optional(source: Random) -> dict[str, Any]:
    """Draw the fields without an own choice here from their types."""
    hints = typing.get_type_hints(Scenario, include_extras=True)
    return {
        name: draw_value(hints[name], field.default, [], source)
        for name, field in Scenario.model_fields.items()
        if name not in DRAWN_HERE and source.random() < 0.25
    }


def _strategy(name: str, source: Random) -> str:
    if source.random() < 0.05:
        return _flower_strategy(source)
    parts = [_spec(preaggregators, source) for _ in range(source.choice([0, 0, 0, 1, 1, 2]))]
    parts.append(_call(strategies, name, source))
    if source.random() < 0.25:
        parts.append(_spec(optimizers, source))
    return " | ".join(parts)


def _flower_strategy(source: Random) -> str:
    name = source.choice(sorted(flower.__all__))
    known = inspect.signature(getattr(flower, name)).parameters.values()
    numbers = [each for each in known if each.annotation in (int, float)]
    values = {
        each.name: draw_value(each.annotation, each.default, [], source)
        for each in numbers
        if source.random() < 0.2
    }
    return FLOWER + format_call(name, values)


def _attackers(name: str, clients: int, source: Random) -> dict[str, Any]:
    """Draw one group by the fields of the scenario, or several groups, and a goal."""
    goal = {"goal": _spec(attacks, source)} if source.random() < 0.1 else {}
    if source.random() < 0.2:
        names = [name, *source.choices(list(attacks.entries()), k=source.choice([0, 1, 1, 2]))]
        room = max(1, clients // len(names))
        groups = [_group(each, place * room, room, source) for place, each in enumerate(names)]
        return goal | {"groups": groups}
    settings = {f"malicious_{key}": value for key, value in _size(0, clients, source).items()}
    settings |= {key: value for key, value in _settings(source).items() if key != "per_round"}
    if source.random() < 0.15:
        settings["malicious_per_round"] = source.choice([0, 1, 2, clients])
    if "malicious_share" in settings:
        settings["malicious"] = settings.pop("malicious_share")
    return goal | settings | {"attack": _attack(name, source)}


def _group(name: str, first: int, clients: int, source: Random) -> str:
    settings = _size(first, clients, source) | _settings(source)
    if "nodes" in settings:
        settings["nodes"] = f"({', '.join(map(str, settings['nodes']))})"
    written = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"{_attack(name, source)}: {written}"


def _size(first: int, clients: int, source: Random) -> dict[str, Any]:
    """Draw the size of a group: a share, a number or a list of clients. All but one is possible, and all."""
    count = source.choice([1, 1, 2, clients // 4, clients // 2, clients - 1, clients, 0])
    count = min(count, clients)
    return source.choice(
        [
            {"share": source.choice([0.0, 0.1, 0.2, 0.3, 0.5, 1.0])},
            {"count": count},
            {"nodes": tuple(sorted(source.sample(range(first, first + clients), count))) or (first,)},
        ]
    )


def _settings(source: Random) -> dict[str, Any]:
    """Draw the schedule, the knowledge and the number of a group's clients per round."""
    hints = typing.get_type_hints(AttackerGroup, include_extras=True)
    settings: dict[str, Any] = {"schedule": _spec(schedules, source)} if source.random() < 0.4 else {}
    for name, chance in (("knowledge", 0.3), ("per_round", 0.15)):
        if source.random() < chance and (value := draw_value(hints[name], None, [], source)) is not None:
            settings[name] = value
    return settings


def _attack(name: str, source: Random) -> str:
    parts = [_call(attacks, name, source)]
    if source.random() < 0.15:
        parts.append(_spec(attacks, source))
    return "+".join(parts)


def _spec(registry: Registry[Any], source: Random) -> str:
    return _call(registry, source.choice(list(registry.entries())), source)


def _call(registry: Registry[Any], name: str, source: Random) -> str:
    return format_call(name, draw_parameters(registry[name], list(strategies.entries()), source))


def _options(name: str, value: object) -> Iterable[str]:
    """Yield the options of the command line that set a field."""
    option = "--group" if name == "groups" else f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        yield option if value else f"--no-{option[2:]}"
    elif name == "groups":
        for group in typing.cast("Sequence[str]", value):
            yield f"{option}={shlex.quote(group)}"
    elif value is not None:
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        yield f"{option}={shlex.quote(text)}"
