"""Several runs as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import pandas as pd

from fedpoison.results.defects import Defects, Pair, pair_notes, used_marks
from fedpoison.results.display import Displayed
from fedpoison.results.history import History
from fedpoison.results.run_frame import measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Runs(Displayed, Sequence[History]):
    """Histories of several runs."""

    histories: tuple[History, ...]

    @overload
    def __getitem__(self, index: int) -> History: ...

    @overload
    def __getitem__(self, index: slice) -> Runs: ...

    def __getitem__(self, index: int | slice) -> History | Runs:
        return Runs(self.histories[index]) if isinstance(index, slice) else self.histories[index]

    def __len__(self) -> int:
        return len(self.histories)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per run: its scenario in short, rounds, measures after the last one, and defects.

        `Defects.columns` describes the columns of the defects.
        """
        rows = [
            {
                "run_id": history.scenario.run_id,
                "dataset": history.scenario.dataset,
                "attack": history.scenario.threat,
                "strategy": history.scenario.strategy,
                "seed": history.scenario.seed,
                "rounds": history.last.round,
                **measured(history.last),
                **history.defects.columns(),
            }
            for history in self
        ]
        return pd.DataFrame(rows).set_index("run_id")

    @property
    def remarks(self) -> list[str]:
        """One line per defect of the runs, with their attacks and strategies."""
        runs: dict[Pair, list[Defects]] = {}
        for history in self:
            runs.setdefault((history.scenario.threat, history.scenario.strategy), []).append(history.defects)
        return pair_notes({pair: Defects.sum(parts) for pair, parts in runs.items()})

    @property
    def headline(self) -> str:
        """Number of the runs."""
        return f"{len(self)} {'run' if len(self) == 1 else 'runs'}"

    def shown_frame(self) -> pd.DataFrame:
        """Return `to_frame` up to the accuracies."""
        return self.to_frame().loc[:, :"worst_class_accuracy"]

    def plot(self) -> Figure:
        """Draw a panel per attack: accuracy after each round, one line per strategy, mean over its runs.

        Runs that are no result are left out. A mark follows the name of a strategy with other defects.
        """
        from fedpoison.plotting import accuracy_by_round  # noqa: PLC0415  # matplotlib takes a second to import

        marks = {history.scenario.strategy: "" for history in self}
        for history in self:
            marks[history.scenario.strategy] = max(marks[history.scenario.strategy], history.defects.mark)
        names = {strategy: f"{strategy} {mark}".rstrip() for strategy, mark in marks.items()}
        rows = [
            (history.scenario.threat, names[history.scenario.strategy], record.round, 100 * record.accuracy)
            for history in self
            if not history.defects.no_result
            for record in history.records
        ]
        frame = pd.DataFrame(rows, columns=["attack", "strategy", "round", "accuracy"])
        titles = {history.scenario.threat: history.scenario.threat for history in self}
        used = used_marks(marks.values())
        return accuracy_by_round(frame, "attack", titles, list(names.values()), used)[0]
