"""The strongest attack against a strategy, searched among attacks and their knobs with Optuna."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import optuna

from fedpoison.attack_space import TARGETED, UNTARGETED, Knobs, Range
from fedpoison.batch import BatchOptions, BatchResult, batches
from fedpoison.errors import RunError, ScenarioError
from fedpoison.fleet import Fleet
from fedpoison.registries import canonical_attack
from fedpoison.rounds import Round
from fedpoison.scenario import Scenario
from fedpoison.simulation import prepare
from fedpoison.specs import spell_call, unknown

_log = logging.getLogger(__name__)

TOGETHER = 4
"""Trials that are planned at once, whatever number of processors there is, so that it changes no result."""


@dataclass(frozen=True, eq=False)
class Objective:
    """What the attacker is after."""

    strength: Callable[[Round], float]
    """What of it the last round shows: a share, larger for a stronger attack."""
    space: Mapping[str, Knobs]
    label: int | None = None
    """The class whose accuracy it is, where it is that of one class."""
    stopped: float | None = None
    """How strong an attack is that leaves the server without an answer; None where that serves nobody."""


@dataclass(frozen=True)
class Trial:
    """One attack that was tried."""

    attack: str
    strength: float | None
    """None where the run failed."""
    stopped: bool = False
    """Whether it left the server without an answer."""


@dataclass(frozen=True)
class Repeat:
    """The strongest attack with a seed that had no part in its choice."""

    seed: int
    strength: float | None
    """None where the run failed."""
    stopped: bool
    """Whether it left the server without an answer."""
    clean: float | None
    """What the objective says with that seed and without any attack; None where it has no meaning then."""


@dataclass(frozen=True)
class Found:
    """What a search found."""

    trials: list[Trial]
    """The strongest first."""
    clean: float | None
    """What the objective says without any attack; None where it has no meaning then."""
    repeats: list[Repeat]


def objective(name: str) -> Objective:
    """Return the objective of that name.

    `accuracy` is what is missing of the accuracy, `class` of that of the class that fares worst, `class:3` of
    that of class 3, and `backdoor` is the success on triggered images.

    >>> objective("backdoor").space is TARGETED
    True

    Raises:
        ScenarioError: there is no such objective.
    """
    kind, _, label = name.partition(":")
    if kind == "class" and label.isdecimal():
        return Objective(
            lambda record: 1 - record.per_class_accuracy[int(label)],
            UNTARGETED,
            label=int(label),
            stopped=1.0,
        )
    if name not in _OBJECTIVES:
        raise unknown("objective", name, [*_OBJECTIVES, "class:3"])
    return _OBJECTIVES[name]


_OBJECTIVES = {
    "accuracy": Objective(lambda record: 1 - record.accuracy, UNTARGETED, stopped=1.0),
    "class": Objective(lambda record: 1 - record.worst_class_accuracy, UNTARGETED, stopped=1.0),
    "backdoor": Objective(lambda record: record.success or 0.0, TARGETED),
}


def search(
    base: Scenario,
    aim: Objective,
    *,
    attacks: Sequence[str] = (),
    trials: int = 60,
    confirm: int = 3,
    expect: Callable[[int], None] = lambda _: None,
    **options: Unpack[BatchOptions],
) -> Found:
    """Try attacks on a scenario, each guided by what came of those before.

    Every attack is tried at least once, if there are trials enough. The scenario's seed seeds the search.
    The strongest of many is chosen on the very runs that show its strength, and looks stronger than it is:
    hence it runs again with seeds that had no part in that.

    Args:
        base: the scenario whose attack is varied.
        aim: what the attacker is after.
        attacks: names among those of the objective, each of which counts once; all of them for none.
        trials: how many attacks to try.
        confirm: with how many further seeds, those after the scenario's, the strongest runs again.
        expect: told, before some runs, how many they are: attacks that were tried already are not run again.
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
        if name not in aim.space:
            raise unknown("attack of this objective", name, aim.space)
    others = 0 if aim.label is None else confirm  # a seed's test set may lack the class
    for seed in range(base.seed, base.seed + others + 1):
        _check(prepare(base.but(seed=seed), data_dir=options.get("data_dir")), aim)
    told = options.get("notify", _log.warning)
    with batches(keep_going=True, **options) as made:

        def run(scenarios: Sequence[Scenario]) -> BatchResult:
            expect(len(set(scenarios)))
            batch = made(scenarios)
            for scenario, failure in batch.failures.items():
                if not failure.refused:
                    told(f"{scenario.attack}, seed {scenario.seed}: {failure.reason}")
            return batch

        clean = _clean(base, aim, [base.seed], run)
        tried = _explore(base, aim, list(dict.fromkeys(attacks or aim.space)), trials, run)
        repeats = _repeats(base.but(attack=tried[0].attack), aim, confirm, run)
        return Found(tried, clean.get(base.seed), repeats)


Run = Callable[[Sequence[Scenario]], BatchResult]


def _clean(base: Scenario, aim: Objective, seeds: Sequence[int], run: Run) -> dict[int, float | None]:
    """Return by seed what the objective says without any attack; nothing where it has no meaning then."""
    if aim.stopped is None:
        return {}
    runs = {seed: base.but(attack="none", seed=seed) for seed in seeds}
    batch = run(list(runs.values()))
    batch.check()
    return {seed: _trial(aim, batch, unharmed).strength for seed, unharmed in runs.items()}


def _explore(base: Scenario, aim: Objective, names: Sequence[str], trials: int, run: Run) -> list[Trial]:
    """Return the attacks that were tried, the strongest first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=base.seed))
    for name in names[:trials]:
        study.enqueue_trial({"attack": name})
    found: dict[Scenario, Trial] = {}
    reasons: dict[str, None] = {}
    for begun in range(0, trials, TOGETHER):
        asked = [study.ask() for _ in range(begun, min(begun + TOGETHER, trials))]
        scenarios = [base.but(attack=_suggest(trial, names, aim.space)) for trial in asked]
        batch = run([scenario for scenario in scenarios if scenario not in found])
        reasons |= dict.fromkeys(failure.reason for failure in batch.failures.values())
        for trial, scenario in zip(asked, scenarios, strict=True):
            if scenario not in found:
                found[scenario] = _trial(aim, batch, scenario)
            strength = found[scenario].strength
            study.tell(trial, strength, state=None if strength is not None else optuna.trial.TrialState.FAIL)
    if all(trial.strength is None for trial in found.values()):
        raise RunError("every run had to stop: " + " ".join(reasons))
    return sorted(found.values(), key=lambda trial: (trial.strength is None, -(trial.strength or 0.0)))


def _repeats(attacked: Scenario, aim: Objective, count: int, run: Run) -> list[Repeat]:
    runs = {seed: attacked.but(seed=seed) for seed in range(attacked.seed + 1, attacked.seed + count + 1)}
    batch = run(list(runs.values()))
    again = {seed: _trial(aim, batch, repeated) for seed, repeated in runs.items()}
    clean = _clean(attacked, aim, list(runs), run)
    return [Repeat(seed, trial.strength, trial.stopped, clean.get(seed)) for seed, trial in again.items()]


def _trial(aim: Objective, batch: BatchResult, scenario: Scenario) -> Trial:
    if scenario in batch.histories:
        return Trial(scenario.attack, aim.strength(batch.histories[scenario].last))
    stopped = batch.failures[scenario].refused
    return Trial(scenario.attack, aim.stopped if stopped else None, stopped)


def _check(fleet: Fleet, aim: Objective) -> None:
    if not fleet.malicious(1):
        raise ScenarioError("malicious: got nobody, wanted some malicious nodes to attack with.")
    if aim.label is not None and not bool((fleet.test.labels == aim.label).any()):
        raise ScenarioError(
            f"objective class:{aim.label}: no test image of {fleet.dataset.name} is of that class, of "
            f"{fleet.classes} classes and {len(fleet.test)} images with seed {fleet.scenario.seed}; name "
            "another, or test on more."
        )


def _suggest(trial: optuna.trial.Trial, names: Sequence[str], space: Mapping[str, Knobs]) -> str:
    """Return the spec of the attack that the search proposes, its numbers short enough to be read."""
    name = trial.suggest_categorical("attack", names)
    knobs: dict[str, object] = {}
    for knob, values in space[name].items():
        label = f"{name}.{knob}"
        if isinstance(values, Range):
            proposed = trial.suggest_float(label, values.low, values.high, log=values.log)
            knobs[knob] = float(f"{proposed:.3g}")
        else:
            knobs[knob] = trial.suggest_categorical(label, values)
    return canonical_attack(spell_call(name, knobs))
