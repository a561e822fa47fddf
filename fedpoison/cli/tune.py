"""`fedpoison tune`: choose the parameters of a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import pandas as pd
import typer

from fedpoison.cli.options import (
    Attacks,
    BatchSettings,
    format_seeds,
    parse_seeds,
    parse_specs,
    with_batch_settings,
    with_scenario,
)
from fedpoison.cli.progress import BatchProgress
from fedpoison.cli.tables import TextTable
from fedpoison.errors import ScenarioError
from fedpoison.results.run_frame import Estimate, coverage_note, format_interval, percent
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.specs import parse_call, split_outside
from fedpoison.studies.tuning import ATTACKS, TRIALS, Measure, tune
from fedpoison.studies.tuning_result import Candidate, Tuning
from strategies.base import Grid

DEFAULT_ATTACKS = ",".join(ATTACKS)
SHOWN = 10
"""Number of settings in the table."""
_MEASURES: dict[str, tuple[Measure, str]] = {
    "accuracy": ("accuracy", "accuracy"),
    "worst-class": ("worst_class_accuracy", "worst-class accuracy"),
}


@with_scenario(without=("attack", "groups", "goal", "seed"))
@with_batch_settings
def tune_command(
    *,
    scenario: Scenario,
    attacks: Attacks = DEFAULT_ATTACKS,
    values: Annotated[
        list[str] | None,
        typer.Option(
            help="Values of a parameter, as in tau=0.1,1,10 or clipping.threshold=1,2. Repeat it for each "
            "parameter. Default: the values that the strategy declares."
        ),
    ] = None,
    measure: Annotated[
        Literal["accuracy", "worst-class"],
        typer.Option(help="Measure to maximize: accuracy, or accuracy of the worst class."),
    ] = "accuracy",
    trials: Annotated[int, typer.Option(min=2, help="Largest number of settings to try.")] = TRIALS,
    seeds: Annotated[str, typer.Option(help="Seeds of the choice, separated by commas.")] = "0",
    confirm: Annotated[
        int, typer.Option(min=1, help="Number of other seeds that measure the result on the test set.")
    ] = 3,
    settings: BatchSettings,
) -> None:
    """Choose the parameters of a strategy that are best under the worst of some attacks.

    The choice uses a validation set. The result is measured on the test set with other seeds. Parameters that
    the strategy sets keep their values.
    """
    column, words = _MEASURES[measure]
    with BatchProgress(0, scenario.rounds) as progress:
        found = tune(
            scenario,
            attacks=parse_specs("attacks", attacks),
            values=_values(values) if values else None,
            measure=column,
            trials=trials,
            seeds=parse_seeds(seeds),
            confirm=confirm,
            on_planned=progress.add_runs,
            **settings.options(progress),
        )
    settings.show(found.as_json, lambda: [_tried(found, words), _tested(found, words)])
    settings.notes.print(
        f"{len(found.candidates)} settings under {len(found.attacks)} attacks, on {found.validation_samples} "
        f"validation samples with {format_seeds(found.seeds)}"
    )
    if confirm > 1:
        settings.notes.print("; ".join(filter(None, ["95 % bootstrap intervals", coverage_note(confirm)])))
    gain = found.clean_gain
    settings.notes.print(
        f"without attack, the choice changes the {words} by "
        f"{format_interval(gain.mean, gain.low, gain.high, signed=True)} points"
    )
    settings.print_notes(found.remarks)
    settings.notes.print(f'chosen: --strategy "{found.strategy}"', markup=False)
    settings.notes.print(f"runs: {settings.out}", markup=False)


def _values(texts: Sequence[str]) -> Grid:
    """Return the values by parameter.

    >>> _values(["tau=0.1,1", "order=fixed"])
    {'tau': (0.1, 1), 'order': ('fixed',)}
    """
    found: dict[str, tuple[float | str, ...]] = {}
    for text in texts:
        name, equals, several = text.partition("=")
        parts = split_outside(several, ",")
        if not equals or not parts:
            raise ScenarioError(
                f"--values: got {text!r}, expected a parameter with values, as in tau=0.1,1,10."
            )
        found[name.strip()] = tuple(parse_call(f"values(x={part})")[1]["x"] for part in parts)
    return found


def _tried(found: Tuning, words: str) -> TextTable:
    ordered = sorted(found.candidates, key=lambda each: -each.score)
    rows = [
        {"strategy": each.strategy, f"{words}, %": _score(each), "worst attack": each.under}
        for each in ordered[:SHOWN]
    ]
    return TextTable("Settings, under the worst attack on the validation set", pd.DataFrame(rows))


def _score(candidate: Candidate) -> str:
    return "stopped" if candidate.stopped else percent(candidate.score)


def _tested(found: Tuning, words: str) -> TextTable:
    rows = []
    for name, strategy in (("chosen", found.strategy), ("as given", found.given.strategy)):
        worst = found.worst_case(strategy)
        rows.append(
            {
                "": name,
                "strategy": strategy,
                "under the worst attack": _interval(worst.value),
                "worst attack": worst.under,
                "without attack": _interval(found.clean(strategy)),
            }
        )
    seeds = format_seeds(found.test.seeds)
    return TextTable(f"{words.capitalize()} on the test set with {seeds}, %", pd.DataFrame(rows))


def _interval(value: Estimate) -> str:
    return "stopped" if pd.isna(value.mean) else format_interval(value.mean, value.low, value.high)
