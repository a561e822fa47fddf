"""The strongest attack against a strategy, searched among attacks and their knobs with Optuna."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Unpack

import optuna

from clients.attacks.base import Candidates, Range
from fedpoison.errors import RunError, ScenarioError, unknown
from fedpoison.federation.federation import Federation
from fedpoison.results.round import Round
from fedpoison.scenario.registries import attacks as registered
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.specs import format_call
from fedpoison.simulation.batch import BatchOptions, BatchResult, batch_runner

Parameters = Mapping[str, Candidates]
"""The values of an attack's parameters that a search tries, by name."""

_log = logging.getLogger(__name__)

TRIALS_PER_STEP = 4
"""Trials that are planned at once, whatever number of processors there is, so that it changes no result."""


@dataclass(frozen=True, eq=False)
class SearchObjective:
    """What the attacker is after."""

    strength: Callable[[Round], float]
    """What of it the last round shows: a share, larger for a stronger attack."""
    space: Mapping[str, Parameters]
    """The attacks to try, by name."""
    label: int | None = None
    """The class whose accuracy it is, where it is that of one class."""
    stopped: float | None = None
    """How strong an attack is that leaves the server without an answer; None where that serves nobody."""


@dataclass(frozen=True)
class SearchTrial:
    """One attack that was tried."""

    attack: str
    strength: float | None
    """None where the run failed."""
    stopped: bool = False
    """Whether it left the server without an answer."""


@dataclass(frozen=True)
class ConfirmationRun:
    """The strongest attack with a seed that had no part in its choice."""

    seed: int
    strength: float | None
    """None where the run failed."""
    stopped: bool
    """Whether it left the server without an answer."""
    clean: float | None
    """What the objective says with that seed and without any attack; None where it has no meaning then."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    trials: list[SearchTrial]
    """The strongest first."""
    clean: float | None
    """What the objective says without any attack; None where it has no meaning then."""
    repeats: list[ConfirmationRun]


def parse_objective(name: str) -> SearchObjective:
    """Return the objective of that name.

    `accuracy` is what is missing of the accuracy, `class` of that of the class that fares worst, `class:3` of
    that of class 3, and `backdoor` is the success on triggered images.

    The objective's attacks are those whose `search_space` says so, of other packages too.

    >>> parse_objective("backdoor").space["blended"]["alpha"]
    Range(low=0.05, high=0.5, log=False)

    Raises:
        ScenarioError: there is no such objective.
    """
    kind, _, label = name.partition(":")
    if kind == "class" and label.isdecimal():
        return SearchObjective(
            lambda record: 1 - record.per_class_accuracy[int(label)],
            search_spaces("accuracy"),
            label=int(label),
            stopped=1.0,
        )
    if name == "accuracy":
        return SearchObjective(lambda record: 1 - record.accuracy, search_spaces("accuracy"), stopped=1.0)
    if name == "class":
        return SearchObjective(
            lambda record: 1 - record.worst_class_accuracy, search_spaces("accuracy"), stopped=1.0
        )
    if name == "backdoor":
        return SearchObjective(lambda record: record.success or 0.0, search_spaces("backdoor"))
    raise unknown("objective", name, ["accuracy", "class", "backdoor", "class:3"])


def search_spaces(kind: Literal["accuracy", "backdoor"]) -> dict[str, Parameters]:
    """Return what a search with this kind of objective tries: the parameters of every attack, by name."""
    spaces = {name: attack.search_space for name, attack in registered.entries().items()}
    return {
        name: space.parameters
        for name, space in spaces.items()
        if space is not None and space.objective == kind
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
    """Try attacks on a scenario, each guided by what came of those before.

    Every attack is tried at least once, if there are trials enough. The scenario's seed seeds the search.
    The strongest of many is chosen on the very runs that show its strength, and looks stronger than it is:
    hence it runs again with seeds that had no part in that.

    Args:
        base: the scenario whose attack is varied.
        objective: what the attacker is after.
        attacks: names among those of the objective, each of which counts once; all of them for none.
        trials: how many attacks to try.
        confirm: with how many further seeds, those after the scenario's, the strongest runs again.
        on_planned: callback with the number of runs that follow. Attacks that were tried are not run again.
        options: see `BatchOptions`; none changes a result. `notify` is told of attacks whose run failed, too.

    Raises:
        ScenarioError: an attack is none of the objective's, the scenario has groups or nobody malicious, or
            no test image is of the objective's class.
        EngineError: Ray cannot be had.
        RunError: every attack's run had to stop, or the one without an attack.
    """
    if base.groups:
        raise ScenarioError("groups: a search varies a single attack; leave the groups out.")
    for name in attacks:
        if name not in objective.space:
            raise unknown("attack of this objective", name, objective.space)
    others = 0 if objective.label is None else confirm  # a seed's test set may lack the class
    for seed in range(base.seed, base.seed + others + 1):
        _check(Federation.load(base.replace(seed=seed), data_dir=options.get("data_dir")), objective)
    told = options.get("notify", _log.warning)
    with batch_runner(keep_going=True, **options) as made:

        def run(scenarios: Sequence[Scenario]) -> BatchResult:
            on_planned(len(set(scenarios)))
            batch = made(scenarios)
            for scenario, failure in batch.failures.items():
                if not failure.aggregation_failed:
                    told(f"{scenario.attack}, seed {scenario.seed}: {failure.reason}")
            return batch

        clean = _clean(base, objective, [base.seed], run)
        tried = _explore(base, objective, list(dict.fromkeys(attacks or objective.space)), trials, run)
        repeats = _repeats(base.replace(attack=tried[0].attack), objective, confirm, run)
        return SearchResult(tried, clean.get(base.seed), repeats)


RunBatch = Callable[[Sequence[Scenario]], BatchResult]


def _clean(
    base: Scenario, objective: SearchObjective, seeds: Sequence[int], run: RunBatch
) -> dict[int, float | None]:
    """Return by seed what the objective says without any attack; nothing where it has no meaning then."""
    if objective.stopped is None:
        return {}
    runs = {seed: base.replace(attack="none", seed=seed) for seed in seeds}
    batch = run(list(runs.values()))
    batch.check()
    return {seed: _trial(objective, batch, unharmed).strength for seed, unharmed in runs.items()}


def _explore(
    base: Scenario, objective: SearchObjective, names: Sequence[str], trials: int, run: RunBatch
) -> list[SearchTrial]:
    """Return the attacks that were tried, the strongest first."""
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
                found[scenario] = _trial(objective, batch, scenario)
            strength = found[scenario].strength
            study.tell(trial, strength, state=None if strength is not None else optuna.trial.TrialState.FAIL)
    if all(trial.strength is None for trial in found.values()):
        raise RunError("every run had to stop: " + " ".join(reasons))
    return sorted(found.values(), key=lambda trial: (trial.strength is None, -(trial.strength or 0.0)))


def _repeats(
    attacked: Scenario, objective: SearchObjective, count: int, run: RunBatch
) -> list[ConfirmationRun]:
    runs = {seed: attacked.replace(seed=seed) for seed in range(attacked.seed + 1, attacked.seed + count + 1)}
    batch = run(list(runs.values()))
    again = {seed: _trial(objective, batch, repeated) for seed, repeated in runs.items()}
    clean = _clean(attacked, objective, list(runs), run)
    return [
        ConfirmationRun(seed, trial.strength, trial.stopped, clean.get(seed)) for seed, trial in again.items()
    ]


def _trial(objective: SearchObjective, batch: BatchResult, scenario: Scenario) -> SearchTrial:
    if scenario in batch.histories:
        return SearchTrial(scenario.attack, objective.strength(batch.histories[scenario].last))
    stopped = batch.failures[scenario].aggregation_failed
    return SearchTrial(scenario.attack, objective.stopped if stopped else None, stopped)


def _check(federation: Federation, objective: SearchObjective) -> None:
    if not federation.selection.malicious(1):
        raise ScenarioError("malicious: got nobody, wanted some malicious nodes to attack with.")
    if objective.label is not None and not bool((federation.test.labels == objective.label).any()):
        raise ScenarioError(
            f"objective class:{objective.label}: no test image of {federation.dataset.name}, of "
            f"{federation.classes} classes and {len(federation.test)} images with seed "
            f"{federation.scenario.seed}; name another, or test on more."
        )


def _suggest(trial: optuna.trial.Trial, names: Sequence[str], space: Mapping[str, Parameters]) -> str:
    """Return the spec of the attack that the search proposes, its numbers short enough to be read."""
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
