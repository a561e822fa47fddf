"""Choice of a strategy's parameters against the worst of a set of attacks, on a validation set."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import product
from statistics import fmean
from typing import Any, Literal, Unpack, get_args

import torch

from fedpoison.errors import RunError, ScenarioError, unknown
from fedpoison.federation.federation import Federation
from fedpoison.results.round import SplitRecord
from fedpoison.rng import generator_for
from fedpoison.scenario.aggregation import Aggregation, FlowerStrategy, read_aggregation
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.specs import Call, format_call
from fedpoison.simulation.batch import BatchOptions, BatchResult, batch_runner
from fedpoison.studies.comparison import CompareCell, Comparison
from fedpoison.studies.tuning_result import NO_ATTACK, Candidate, Tuning
from fedpoison.studies.validation import with_validation
from strategies.base import Grid

_log = logging.getLogger(__name__)

Measure = Literal["accuracy", "worst_class_accuracy"]
"""Measure that the chosen parameters maximize under the worst attack."""
ATTACKS = ("sign-flip", "ipm", "alie", "mimic", "label-flip")
"""Default attacks: a crude one, two that hide, one of copies, and one on the data."""
TRIALS = 30
"""Default of the largest number of settings."""


def tune(
    base: Scenario,
    *,
    attacks: Sequence[str] = ATTACKS,
    values: Grid | None = None,
    measure: Measure = "accuracy",
    trials: int = TRIALS,
    seeds: Sequence[int] = (0,),
    confirm: int = 3,
    on_planned: Callable[[int], None] = lambda _: None,
    **options: Unpack[BatchOptions],
) -> Tuning:
    """Choose the parameters of a strategy that are best under the worst of some attacks.

    Each setting runs under every attack with every seed. Its score is the lowest mean over the seeds under
    an attack, on the validation set after the last round. The setting with the highest score is chosen. Of
    equal ones, it is the earliest, and the strategy as it was given comes first. The chosen setting and the
    given one then run again with other seeds, also without an attack, and the test set measures them.

    This is the protocol of ByzFL (González, Guerraoui, Pinot, Rizk, Stephan, Taïani, "ByzFL: Research
    Framework for Robust Federated Learning", 2025). ByzFL chooses the learning rate, the momentum and the
    weight decay of the clients. It takes the best of all evaluated rounds, which this function does not.

    Args:
        base: Scenario with the strategy. Without `validation_samples`, a fifth of the training samples is for
            validation, and 2000 at most.
        attacks: Specs of attacks, with their parameters.
        values: Values to try by parameter, such as `{"tau": (0.1, 1.0)}`, or by `part.parameter` if several
            parts of a pipeline have the parameter. Default: the `search_space` of each part, without the
            parameters that the strategy sets.
        measure: Measure to maximize.
        trials: Largest number of settings. Of more, a random choice with the first seed is tried.
        seeds: Seeds of the choice.
        confirm: Number of seeds, after the largest of `seeds`, that measure the result.
        on_planned: Callback with the number of runs of each step.
        options: See `BatchOptions`.

    Raises:
        ScenarioError: The strategy has no parameter to choose, a value is invalid, the scenario has groups or
            no malicious client, or a number is too small.
        DataError: The data set is not available.
        EngineError: Ray is not available.
        RunError: A run stopped for another reason than its strategy, or every setting stopped.
    """
    seeds = list(dict.fromkeys(seeds))
    attacks = list(dict.fromkeys(read_attack(attack) for attack in attacks))
    _check(base, attacks, measure, seeds, trials=trials, confirm=confirm)
    notify = options.get("notify", _log.warning)
    federation = Federation.load(base, data_dir=options.get("data_dir"))
    base = with_validation(federation, notify)
    if not federation.selection.malicious(1):
        raise ScenarioError("malicious: got no malicious client, expected at least one.")
    settings, possible = _settings(base, values, trials, seeds[0])
    later = range(max(seeds) + 1, max(seeds) + confirm + 1)
    with batch_runner(**options) as run:

        def run_step(scenarios: Collection[Scenario]) -> BatchResult:
            on_planned(len(scenarios))
            batch = run(scenarios)
            batch.check(ignore=batch.aggregation_failed)
            return batch

        choices = {
            (strategy, attack): [base.replace(strategy=strategy, attack=attack, seed=seed) for seed in seeds]
            for strategy, attack in product(settings, attacks)
        }
        tried = _judge(choices, run_step([each for several in choices.values() for each in several]), measure)
        best = max(tried, key=lambda each: each.score)
        if best.score == -math.inf:
            raise RunError(f"{base.strategy}: an attack stopped every setting. {best.stopped}")
        strategies = list(dict.fromkeys([best.strategy, tried[0].strategy]))
        cells = {
            CompareCell(*labels): base.replace(attack=labels[0], strategy=labels[1], seed=labels[2])
            for labels in product([NO_ATTACK, *attacks], strategies, later)
        }
        batch = run_step(cells.values())
    histories = {cell: batch.histories[each] for cell, each in cells.items() if each in batch.histories}
    stopped = {cell: batch.failures[each].reason for cell, each in cells.items() if each in batch.failures}
    return Tuning(
        candidates=tried,
        measure=measure,
        attacks=attacks,
        seeds=seeds,
        validation_samples=base.validation_samples,
        possible=possible,
        test=Comparison([NO_ATTACK, *attacks], strategies, list(later), histories, "last", stopped),
    )


def _check(
    base: Scenario, attacks: Sequence[str], measure: str, seeds: Sequence[int], *, trials: int, confirm: int
) -> None:
    if base.groups:
        raise ScenarioError("groups: tuning varies a single attack; omit the groups.")
    if measure not in get_args(Measure):
        raise unknown("measure", measure, get_args(Measure))
    if not attacks or NO_ATTACK in attacks:
        raise ScenarioError(
            f"attacks: got {', '.join(attacks) or 'nothing'}, expected attacks; the runs without an attack "
            "are always part of the result."
        )
    for name, number, least in (("seeds", len(seeds), 1), ("trials", trials, 2), ("confirm", confirm, 1)):
        if number < least:
            raise ScenarioError(f"{name}: got {number}, expected at least {least}.")


def _settings(base: Scenario, values: Grid | None, trials: int, seed: int) -> tuple[list[str], int]:
    """Return the strategies to try, the given one first, and the number of settings in the whole grid."""
    parsed = read_aggregation(base.strategy).value
    if isinstance(parsed, FlowerStrategy):
        raise ScenarioError(f"{base.strategy}: has no search space; choose a rule of fedpoison or your own.")
    parts: list[Call[Any]] = [*parsed.pre, parsed.rule, *([parsed.optimizer] if parsed.optimizer else [])]
    space = _declared(parts) if values is None else _given(parts, values)
    if not space:
        raise ScenarioError(
            f"{base.strategy}: has no parameter to choose: {_why_none(parsed)}; give the values to try, as "
            "in tau=0.1,1."
        )
    strategies = dict.fromkeys([base.strategy])
    for chosen in product(*space.values()):
        places = dict(zip(space, chosen, strict=True))
        spec = " | ".join(
            format_call(part.name, {**part.parameters, **_of_part(places, position)})
            for position, part in enumerate(parts)
        )
        strategies[read_aggregation(spec)] = None
    settings = list(strategies)
    if len(settings) > trials:
        order = torch.randperm(len(settings) - 1, generator=generator_for(seed, "settings")).tolist()
        kept = sorted(order[: trials - 1])
        settings = [settings[0], *(settings[1 + position] for position in kept)]
    for strategy in settings:
        base.replace(strategy=strategy)  # raises if a value does not fit the scenario
    return settings, len(strategies)


_Place = tuple[int, str]
"""Position of a part in the pipeline, and the name of its parameter."""


def _declared(parts: Sequence[Call[Any]]) -> dict[_Place, tuple[float | str, ...]]:
    """Return the values that the parts declare, without the parameters that the strategy sets."""
    return {
        (position, name): tuple(values)
        for position, part in enumerate(parts)
        for name, values in getattr(part.chosen_class, "search_space", {}).items()
        if name not in part.parameters
    }


def _given(parts: Sequence[Call[Any]], values: Grid) -> dict[_Place, tuple[float | str, ...]]:
    """Return the values of the user by place."""
    known: dict[str, list[_Place]] = {}
    for position, part in enumerate(parts):
        for name in part.chosen_class.__dataclass_fields__:
            for key in (name, f"{part.name}.{name}"):
                known.setdefault(key, []).append((position, name))
    found: dict[_Place, tuple[float | str, ...]] = {}
    for key, chosen in values.items():
        if key not in known:
            raise unknown("parameter of the strategy", key, known)
        if len(known[key]) > 1:
            names = " or ".join(f"{parts[position].name}.{name}" for position, name in known[key])
            raise ScenarioError(f"values: several parts have {key}; write {names}.")
        if not chosen:
            raise ScenarioError(f"values: got none for {key}, expected at least one.")
        found[known[key][0]] = tuple(chosen)
    return found


def _of_part(places: Mapping[_Place, float | str], position: int) -> dict[str, float | str]:
    return {name: value for (at, name), value in places.items() if at == position}


def _why_none(parsed: Aggregation) -> str:
    spaces = getattr(parsed.rule.chosen_class, "search_space", {})
    if spaces:
        return f"it sets {', '.join(parsed.rule.parameters)}"
    return f"{parsed.rule.name} has no search space"


def _judge(
    runs: Mapping[tuple[str, str], Sequence[Scenario]], batch: BatchResult, measure: Measure
) -> list[Candidate]:
    """Return the settings with their results on the validation set, in order.

    Args:
        runs: Runs of each pair of strategy and attack, one per seed.
        batch: Results of the runs.
        measure: Measure of the score.
    """
    settings, attacks = (list(dict.fromkeys(names)) for names in zip(*runs, strict=True))

    def candidate(strategy: str) -> Candidate:
        scores, reason = {}, None
        for attack in attacks:
            each = runs[strategy, attack]
            failed = next((batch.failures[one] for one in each if one in batch.failures), None)
            if failed is not None:
                reason = reason or failed.reason
                scores[attack] = -math.inf
            else:
                records = [batch.histories[one].last.split("validation") for one in each]
                scores[attack] = fmean(_value(record, measure) for record in records)
        return Candidate(strategy, scores, reason)

    return [candidate(strategy) for strategy in settings]


def _value(record: SplitRecord, measure: Measure) -> float:
    return record.accuracy if measure == "accuracy" else record.worst_class_accuracy
