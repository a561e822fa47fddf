"""The strongest attack against a strategy, searched among attacks and their knobs with Optuna."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna

from fedpoison.attack_space import TARGETED, UNTARGETED, Knobs, Range
from fedpoison.batch import batches
from fedpoison.errors import RunError, ScenarioError
from fedpoison.fleet import Fleet
from fedpoison.registries import canonical_attack
from fedpoison.rounds import Round
from fedpoison.scenario import Scenario
from fedpoison.simulation import Notify, prepare
from fedpoison.specs import spell_call, unknown
from fedpoison.watch import Watch

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


@dataclass(frozen=True)
class Trial:
    """One attack that was tried."""

    attack: str
    strength: float | None
    """None where the run had to stop."""


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
            lambda record: 1 - record.per_class_accuracy[int(label)], UNTARGETED, label=int(label)
        )
    if name not in _OBJECTIVES:
        raise unknown("objective", name, [*_OBJECTIVES, "class:3"])
    return _OBJECTIVES[name]


_OBJECTIVES = {
    "accuracy": Objective(lambda record: 1 - record.accuracy, UNTARGETED),
    "class": Objective(lambda record: 1 - record.worst_class_accuracy, UNTARGETED),
    "backdoor": Objective(lambda record: record.success or 0.0, TARGETED),
}


def search(
    base: Scenario,
    aim: Objective,
    *,
    attacks: Sequence[str] = (),
    trials: int = 60,
    out: Path,
    jobs: int | None = None,
    ray_address: str | None = None,
    fresh: bool = False,
    data_dir: Path | None = None,
    watch: Watch | None = None,
    expect: Callable[[int], None] = lambda _: None,
    notify: Notify = _log.warning,
) -> list[Trial]:
    """Try attacks on a scenario, each guided by what came of those before; return them, the strongest first.

    Every attack is tried at least once, if there are trials enough. The scenario's seed seeds the search.

    Args:
        base: the scenario whose attack is varied.
        aim: what the attacker is after.
        attacks: names among those of the objective; all of them for none.
        trials: how many attacks to try.
        out: the run store; runs that it holds complete are read, not made again.
        jobs: how many runs at once, as for `run_all`; changes no result.
        ray_address: a Ray cluster to use.
        fresh: make every run anew.
        data_dir: as for `simulate`.
        watch: is told how the runs go.
        expect: told, before some runs, how many they are: attacks that were tried already are not run again.
        notify: told where the settings make an attack do nothing, once for each reason.

    Raises:
        ScenarioError: an attack is none of the objective's, the scenario has groups or nobody malicious, or
            no test image is of the objective's class.
        EngineError: Ray cannot be had.
        RunError: every run had to stop.
    """
    if base.groups:
        raise ScenarioError("groups: a search varies a single attack; leave the groups out.")
    for name in attacks:
        if name not in aim.space:
            raise unknown("attack of this objective", name, aim.space)
    _check(prepare(base, data_dir=data_dir), aim)
    names = list(attacks or aim.space)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=base.seed))
    for name in names[:trials]:
        study.enqueue_trial({"attack": name})
    found: dict[str, Trial] = {}
    with batches(
        out=out,
        jobs=jobs,
        ray_address=ray_address,
        fresh=fresh,
        data_dir=data_dir,
        watch=watch,
        notify=notify,
    ) as run:
        for begun in range(0, trials, TOGETHER):
            asked = [study.ask() for _ in range(begun, min(begun + TOGETHER, trials))]
            specs = [_suggest(trial, names, aim.space) for trial in asked]
            scenarios = [base.but(attack=spec) for spec in specs]
            expect(len(set(specs) - set(found)))
            batch = run(scenarios)
            for trial, spec, scenario in zip(asked, specs, scenarios, strict=True):
                history = batch.histories.get(scenario)
                strength = None if history is None else aim.strength(history.last)
                found[spec] = Trial(spec, strength)
                failed = optuna.trial.TrialState.FAIL if strength is None else None
                study.tell(trial, strength, state=failed)
    if all(trial.strength is None for trial in found.values()):
        raise RunError(
            "every run had to stop: "
            + " ".join(dict.fromkeys(failure.reason for failure in batch.failures.values()))
        )
    return sorted(found.values(), key=lambda trial: (trial.strength is None, -(trial.strength or 0.0)))


def _check(fleet: Fleet, aim: Objective) -> None:
    if not fleet.malicious(1):
        raise ScenarioError("malicious: got nobody, wanted some malicious nodes to attack with.")
    if aim.label is not None and not bool((fleet.test.labels == aim.label).any()):
        raise ScenarioError(
            f"objective class:{aim.label}: no test image of {fleet.dataset.name} is of that class, of "
            f"{fleet.classes} classes and {len(fleet.test)} images; name another, or test on more."
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
