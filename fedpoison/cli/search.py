"""`fedpoison search`: find the strongest attack against a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer

from fedpoison.cli.options import BatchSettings, format_seeds, with_batch_settings, with_scenario
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.tables import TextTable
from fedpoison.results.run_frame import coverage_note, estimate, format_interval, percent
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.specs import split_outside

if TYPE_CHECKING:
    from fedpoison.studies.search_result import ConfirmationRun, SearchResult, SearchTrial

SHOWN = 10
"""Number of attacks in the table."""


@with_scenario(without=("attack", "groups", "goal"))
@with_batch_settings
def search_command(
    *,
    scenario: Scenario,
    objective: Annotated[
        str,
        typer.Option(
            help="Objective of the attacker: accuracy, class (the worst class), class:3, or backdoor."
        ),
    ] = "accuracy",
    attacks: Annotated[
        str,
        typer.Option(
            help="Attacks to search, separated by commas. Default: all attacks with this objective."
        ),
    ] = "",
    trials: Annotated[int, typer.Option(min=1, help="Number of attacks to try.")] = 60,
    confirm: Annotated[
        int, typer.Option(min=0, help="Number of additional seeds for re-running the strongest attack.")
    ] = 3,
    settings: BatchSettings,
) -> None:
    """Find the attack and the parameters that harm a strategy most."""
    from fedpoison.studies.attack_search import parse_objective, search  # noqa: PLC0415  # Optuna is slow

    with BatchProgress(0, scenario.rounds) as progress:
        found = search(
            scenario,
            parse_objective(objective),
            attacks=split_outside(attacks, ","),
            trials=trials,
            confirm=confirm,
            on_planned=progress.add_runs,
            **settings.options(progress),
        )
    settings.show(
        lambda: _as_json(found, scenario, objective, trials),
        lambda: [_table(found, scenario, objective)],
    )
    clean = ""
    if found.clean is not None:
        share = f"{percent(1 - found.clean, 2)} %"
        clean = f"; {_measured(objective)} without an attack: {found.clean_defects.marked(share)}"
    settings.notes.print(
        f"{trials} trials of {len(found.trials)} different attacks, on {found.validation_samples} validation "
        f"samples with seed {found.seed}{clean}"
    )
    settings.print_notes(found.remarks)
    if found.no_result is None:
        settings.notes.print(f'strongest: --attack "{found.trials[0].attack}"', markup=False)
    if found.repeats and found.no_result is None:
        settings.notes.print(_repeated(found.repeats), markup=False)
    settings.notes.print(f"runs: {settings.out}", markup=False)


def _measured(objective: str) -> str:
    """Return the accuracy that an attack reduces.

    >>> _measured("accuracy"), _measured("class"), _measured("class:3")
    ('accuracy', 'worst-class accuracy', 'accuracy of class 3')
    """
    names = {"accuracy": "accuracy", "class": "worst-class accuracy"}
    return names.get(objective, f"accuracy of {objective.replace(':', ' ')}")


def _repeated(repeats: Sequence[ConfirmationRun]) -> str:
    seeds = [repeat.seed for repeat in repeats]
    stopped = [repeat.seed for repeat in repeats if repeat.stopped]
    failed = [repeat.seed for repeat in repeats if repeat.strength is None and not repeat.stopped]
    repeated = f"on the test set, repeated with {format_seeds(seeds)}"
    if stopped or failed:
        ends = [("the server had to stop", stopped), ("the run failed", failed)]
        text = "; ".join(f"{end} with {format_seeds(some)}" for end, some in ends if some)
        return f"{repeated}: {text}"
    mean = estimate([repeat.strength or 0.0 for repeat in repeats])
    text = f"{repeated}: {format_interval(mean.mean, mean.low, mean.high)} %"
    pairs = [(repeat.strength, repeat.clean) for repeat in repeats]
    more = [strength - clean for strength, clean in pairs if strength is not None and clean is not None]
    if more:
        gain = estimate(more)
        points = format_interval(gain.mean, gain.low, gain.high)
        text = f"{repeated}: accuracy lost {points} points, compared with clean runs"
    few = coverage_note(len(seeds))
    return f"{text} (95 % bootstrap intervals; {few})" if few else text


def _table(found: SearchResult, scenario: Scenario, objective: str) -> TextTable:
    """Return the strongest attacks, with the accuracy that each one costs in percentage points."""
    heading = "success, %" if objective == "backdoor" else f"{_measured(objective)} lost, points"
    rows = [
        {"attack": trial.attack, heading: _strength(trial, found.clean or 0.0)}
        for trial in found.trials[:SHOWN]
    ]
    return TextTable(
        f"Strongest against {scenario.strategy} on the validation set, by {objective}", pd.DataFrame(rows)
    )


def _strength(trial: SearchTrial, clean: float) -> str:
    if trial.stopped:
        return "stopped"
    return trial.defects.marked(percent(None if trial.strength is None else trial.strength - clean, 2))


def _as_json(found: SearchResult, scenario: Scenario, objective: str, trials: int) -> dict[str, object]:
    return {
        "strategy": scenario.strategy,
        "objective": objective,
        "trials": trials,
        "seed": found.seed,
        "validation_samples": found.validation_samples,
        "clean": found.clean,
        "no_result": found.no_result,
        "notes": found.remarks,
        "attacks": [_plain(trial) for trial in found.trials],
        "repeats": [_plain(repeat) for repeat in found.repeats],
    }


def _plain(run: SearchTrial | ConfirmationRun) -> dict[str, object]:
    """Return a run as plain values, with the defects of the attacked run."""
    values = {name: value for name, value in asdict(run).items() if not name.endswith("defects")}
    return values | run.defects.as_json()
