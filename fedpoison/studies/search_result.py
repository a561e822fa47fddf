"""Result of a search for the strongest attack: its trials, and the runs that confirm the strongest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

import pandas as pd

from fedpoison.results.defects import Defects
from fedpoison.results.display import Displayed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class SearchTrial:
    """Result of one attack."""

    attack: str
    strength: float | None
    """Strength on the validation set. None if the run failed."""
    stopped: bool = False
    """Whether the attack stopped the strategy."""
    defects: Defects = field(default_factory=Defects, compare=False)
    """Defects of the run."""


@dataclass(frozen=True)
class ConfirmationRun:
    """Result of the strongest attack with a seed that the search did not use."""

    seed: int
    strength: float | None
    """Strength on the test set. None if the run failed."""
    stopped: bool
    """Whether the attack stopped the strategy."""
    clean: float | None
    """Objective of the clean run with that seed on the test set; None if the objective needs an attack."""
    defects: Defects = field(default_factory=Defects, compare=False)
    """Defects of the run."""
    clean_defects: Defects = field(default_factory=Defects, compare=False)
    """Defects of the clean run."""


@dataclass(frozen=True, repr=False)
class SearchResult(Displayed):
    """Result of a search."""

    trials: list[SearchTrial]
    """Strongest attack first."""
    clean: float | None
    """Objective of the clean run on the validation set; None if the objective needs an attack."""
    repeats: list[ConfirmationRun]
    clean_defects: Defects = field(default_factory=Defects, compare=False)
    """Defects of the clean run."""
    validation_samples: int = 0
    """Number of samples on which the search selected the strongest attack."""
    seed: int = 0
    """Seed of the trials."""
    tries: int = 0
    """Number of trials. Equal attacks ran once."""

    @property
    def no_result(self) -> str | None:
        """Reason why the search says nothing about the strategy. None: it does.

        The clean run is no result, or without a clean run, no trial is a result.
        """
        runs = [trial.defects for trial in self.trials] if self.clean is None else [self.clean_defects]
        reasons = [defects.no_result[0] for defects in runs if defects.no_result]
        return reasons[0] if runs and len(reasons) == len(runs) else None

    @property
    def remarks(self) -> list[str]:
        """One line per defect of the runs, with their attacks."""
        named = [("without attack", self.clean_defects)]
        named += [(trial.attack, trial.defects) for trial in self.trials]
        for repeat in self.repeats:
            named.append((f"repeated with seed {repeat.seed}", repeat.defects))
            named.append((f"without attack, seed {repeat.seed}", repeat.clean_defects))
        places: dict[str, list[str]] = {}
        for name, defects in named:
            for note in defects.notes:
                places.setdefault(note, []).append(name)
        return [f"{_some(names)}: {note}" for note, names in places.items()]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per trial, strongest first: `attack`, `strength` (NaN: failed) and `stopped`.

        Further columns describe the defects of the run: see `Defects.columns`.
        """
        rows = [
            {
                "attack": trial.attack,
                "strength": trial.strength,
                "stopped": trial.stopped,
                **trial.defects.columns(),
            }
            for trial in self.trials
        ]
        return pd.DataFrame(rows).astype({"strength": float})

    def shown_frame(self) -> pd.DataFrame:
        """Return `to_frame` without the columns of the defects, which `remarks` describes."""
        return self.to_frame()[["attack", "strength", "stopped"]]

    @property
    def headline(self) -> str:
        """Number of trials, the objective without attack, and the mean of the confirmation runs."""
        clean = "" if self.clean is None else f", {self.clean:.3f} without attack"
        confirmed = [repeat.strength for repeat in self.repeats if repeat.strength is not None]
        again = f", {fmean(confirmed):.3f} on the test set with {len(confirmed)} other seeds"
        return (
            f"strongest of {len(self.trials)} attacks in {self.tries} trials, on {self.validation_samples} "
            f"validation samples with seed {self.seed}{clean}{again if confirmed else ''}"
        )

    def plot(self) -> Figure:
        """Draw the greatest strength of each attack, over all its parameters."""
        from fedpoison.studies.figures import strength_by_attack  # noqa: PLC0415  # matplotlib takes a second to import

        return strength_by_attack(self.to_frame())


def _some(names: Sequence[str], shown: int = 3) -> str:
    """Return names in words, at most `shown` of them.

    >>> _some(["ipm", "alie"]), _some(["ipm", "alie", "mimic", "none", "lie"])
    ('ipm; alie', 'ipm; alie; mimic; 2 more')
    """
    more = [f"{len(names) - shown} more"] if len(names) > shown else []
    return "; ".join([*names[:shown], *more])
