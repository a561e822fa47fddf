"""Search for the strongest attack against a strategy, over attacks and their parameters, with Optuna."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Unpack

import optuna

from clients.attacks.base import Candidates, Range
from fedpoison.errors import RunError, ScenarioError, unknown
from fedpoison.federation.federation import Federation
from fedpoison.own_code import is_code_name
from fedpoison.results.round import Split, SplitRecord
from fedpoison.scenario.registries import attacks as registered
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.specs import format_call
from fedpoison.simulation.batch import BatchOptions, BatchResult, batch_runner
from fedpoison.studies.search_result import ConfirmationRun, SearchResult, SearchTrial
from fedpoison.studies.validation import with_validation

Parameters = Mapping[str, Candidates]
"""Values of an attack's parameters that a search tries, by name."""

_log = logging.getLogger(__name__)

TRIALS_PER_STEP = 4
"""Trials that are planned together. The number of processors does not change it, nor any result."""


@dataclass(frozen=True, eq=False)
class SearchObjective:
    """Goal of the attacker, as a number to maximize."""

    strength: Callable[[SplitRecord], float]
    """Strength of the attack on one split: a share, larger for a stronger attack."""
    space: Mapping[str, Parameters]
    """Attacks to try, by name."""
    label: int | None = None
    """Class whose accuracy counts. Default: all classes."""
    stopped: float | None = None
    """Strength of an attack that stops the strategy; None if that is no success for the attacker."""


def parse_objective(name: str) -> SearchObjective:
    """Return the objective of that name.

    `accuracy` is 1 minus the accuracy, `class` is 1 minus the lowest accuracy of a class, `class:3` is
    1 minus the accuracy of class 3, and `backdoor` is the success on triggered images.

    An attack belongs to an objective if its `search_space` names it. Attacks of plug-ins count, too.

    >>> parse_objective("backdoor").space["blended"]["alpha"]
    Range(low=0.05, high=0.5, log=False)

    Raises:
        ScenarioError: No objective has the name.
    """
    kind, _, label = name.partition(":")
    number = int(label) if kind == "class" and label.isdecimal() else None
    if name == "backdoor":
        return SearchObjective(lambda record: record.success or 0.0, search_spaces("backdoor"))
    strength: dict[str, Callable[[SplitRecord], float]] = {
        "accuracy": lambda record: 1 - record.accuracy,
        "class": lambda record: 1 - record.worst_class_accuracy,
    }
    if number is not None:
        strength[name] = lambda record: 1 - record.per_class_accuracy[number]
    if name not in strength:
        raise unknown("objective", name, ["accuracy", "class", "backdoor", "class:3"])
    return SearchObjective(strength[name], search_spaces("accuracy"), number, stopped=1.0)


def search_spaces(kind: Literal["accuracy", "backdoor"]) -> dict[str, Parameters]:
    """Return the parameters of every attack for this kind of objective, by name of the attack."""
    return {
        name: space.parameters
        for name, attack in registered.entries().items()
        if (space := attack.search_space) is not None and space.objective == kind
    }


def _own_spaces(names: Iterable[str]) -> dict[str, Parameters]:
    """Return the parameters of attacks in the code of a user. Without a search space, there are none."""
    attacks = {name: registered[name] for name in names if is_code_name(name)}
    return {
        name: {} if attack.search_space is None else attack.search_space.parameters
        for name, attack in attacks.items()
    }


def search(
    base: Scenario,
    objective: SearchObjective,
    *,
    attacks: Sequence[str] = (),
    trials: int = 60,
    confirm: int = 3,
    on_planned: Callable[[int], None] = lambda _: None,
    **options: Unpack[BatchOptions],
) -> SearchResult:
    """Search for the strongest attack on a scenario; results of earlier trials guide later trials.

    If the number of trials allows it, every attack runs at least once. The scenario's seed seeds the search.
    The search selects the strongest attack by its strength on the validation set. The strength of a selected
    attack is overestimated, so the attack runs again with additional seeds, and the test set measures it.

    Args:
        base: Scenario whose attack is varied. Without `validation_samples`, a fifth of the training samples
            is for validation, and 2000 at most.
        objective: Goal of the attacker.
        attacks: Names of the objective's attacks, each counted once, or `my_file.py:MyAttack`. Default: all
            attacks of the objective, without those in files.
        trials: Number of attacks to try.
        confirm: Number of additional seeds, after the scenario's, for re-running the strongest attack.
        on_planned: Callback with the number of runs of the next step. Equal attacks run once.
        options: See `BatchOptions`. No option changes a result. `notify` also reports failed runs.

    Raises:
        ScenarioError: An attack does not belong to the objective, the scenario has groups or no malicious
            client, or no sample of a split has the objective's class.
        EngineError: Ray is not available.
        RunError: The clean run stopped, or the runs of all attacks stopped.
    """
    if base.groups:
        raise ScenarioError("groups: a search varies a single attack; omit the groups.")
    attacks = [registered.canonical(name) for name in attacks]
    objective = replace(objective, space={**objective.space, **_own_spaces(attacks)})
    for name in attacks:
        if name not in objective.space:
            raise unknown("attack of this objective", name, objective.space)
    notify = options.get("notify", _log.warning)
    federation = Federation.load(base, data_dir=options.get("data_dir"))
    base = with_validation(federation, notify)
    federation = Federation(base, federation.dataset)
    _check(federation, objective, "validation")
    others = 0 if objective.label is None else confirm  # a seed's test set may lack the class
    for seed in range(base.seed + 1, base.seed + others + 1):
        _check(Federation(base.replace(seed=seed), federation.dataset), objective, "test")
    with batch_runner(keep_going=True, **options) as made:

        def run(scenarios: Sequence[Scenario]) -> BatchResult:
            on_planned(len(set(scenarios)))
            batch = made(scenarios)
            for scenario, failure in batch.failures.items():
                if not failure.aggregation_failed:
                    notify(f"{scenario.attack}, seed {scenario.seed}: {failure.reason}")
            return batch

        clean = _clean(base, objective, [base.seed], run, "validation")
        tried = _explore(base, objective, list(dict.fromkeys(attacks or objective.space)), trials, run)
        repeats = _repeats(base.replace(attack=tried[0].attack), objective, confirm, run)
        unharmed = clean.get(base.seed, SearchTrial("none", None))
        return SearchResult(
            tried, unharmed.strength, repeats, unharmed.defects, base.validation_samples, base.seed, trials
        )


RunBatch = Callable[[Sequence[Scenario]], BatchResult]


def _clean(
    base: Scenario, objective: SearchObjective, seeds: Sequence[int], run: RunBatch, split: Split
) -> dict[int, SearchTrial]:
    """Return the clean runs by seed, measured on a split; empty if the objective needs an attack."""
    if objective.stopped is None:
        return {}
    runs = {seed: base.replace(attack="none", seed=seed) for seed in seeds}
    batch = run(list(runs.values()))
    batch.check()
    return {seed: _trial(objective, batch, unharmed, split) for seed, unharmed in runs.items()}


def _explore(
    base: Scenario, objective: SearchObjective, names: Sequence[str], trials: int, run: RunBatch
) -> list[SearchTrial]:
    """Return the results of all trials, strongest attack first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=base.seed))
    for name in names[:trials]:
        study.enqueue_trial({"attack": name})
    found: dict[Scenario, SearchTrial] = {}
    reasons: dict[str, None] = {}
    for begun in range(0, trials, TRIALS_PER_STEP):
        asked = [study.ask() for _ in range(begun, min(begun + TRIALS_PER_STEP, trials))]
        scenarios = [base.replace(attack=_suggest(trial, names, objective.space)) for trial in asked]
        batch = run([scenario for scenario in scenarios if scenario not in found])
        reasons |= dict.fromkeys(failure.reason for failure in batch.failures.values())
        for trial, scenario in zip(asked, scenarios, strict=True):
            if scenario not in found:
                found[scenario] = _trial(objective, batch, scenario, "validation")
            strength = found[scenario].strength
            study.tell(trial, strength, state=None if strength is not None else optuna.trial.TrialState.FAIL)
    if all(trial.strength is None for trial in found.values()):
        raise RunError("all runs stopped: " + " ".join(reasons))
    return sorted(found.values(), key=lambda trial: (trial.strength is None, -(trial.strength or 0.0)))


def _repeats(
    attacked: Scenario, objective: SearchObjective, count: int, run: RunBatch
) -> list[ConfirmationRun]:
    runs = {seed: attacked.replace(seed=seed) for seed in range(attacked.seed + 1, attacked.seed + count + 1)}
    batch = run(list(runs.values()))
    again = {seed: _trial(objective, batch, repeated, "test") for seed, repeated in runs.items()}
    clean = _clean(attacked, objective, list(runs), run, "test")
    missing = SearchTrial("none", None)
    return [
        ConfirmationRun(
            seed, trial.strength, trial.stopped, unharmed.strength, trial.defects, unharmed.defects
        )
        for seed, trial in again.items()
        for unharmed in [clean.get(seed, missing)]
    ]


def _trial(objective: SearchObjective, batch: BatchResult, scenario: Scenario, split: Split) -> SearchTrial:
    if scenario in batch.histories:
        history = batch.histories[scenario]
        strength = objective.strength(history.last.split(split))
        return SearchTrial(scenario.attack, strength, defects=history.defects)
    stopped = batch.failures[scenario].aggregation_failed
    return SearchTrial(scenario.attack, objective.stopped if stopped else None, stopped)


def _check(federation: Federation, objective: SearchObjective, split: Split) -> None:
    if not federation.selection.malicious(1):
        raise ScenarioError("malicious: got no malicious client, expected at least one.")
    samples = federation.test if split == "test" else federation.validation
    if objective.label is None or samples is None:
        return
    if not bool((samples.labels == objective.label).any()):
        raise ScenarioError(
            f"objective class:{objective.label}: {federation.dataset.name} has no such {split} image, of "
            f"{federation.classes} classes and {len(samples)} images with seed "
            f"{federation.scenario.seed}; choose another class, or use more {split} images."
        )


def _suggest(trial: optuna.trial.Trial, names: Sequence[str], space: Mapping[str, Parameters]) -> str:
    """Return the spec of the attack that the search proposes, with numbers rounded to three digits."""
    name = trial.suggest_categorical("attack", names)
    chosen: dict[str, object] = {}
    for parameter, candidates in space[name].items():
        label = f"{name}.{parameter}"
        if isinstance(candidates, Range):
            proposed = trial.suggest_float(label, candidates.low, candidates.high, log=candidates.log)
            chosen[parameter] = float(f"{proposed:.3g}")
        else:
            chosen[parameter] = trial.suggest_categorical(label, candidates)
    return read_attack(format_call(name, chosen))
