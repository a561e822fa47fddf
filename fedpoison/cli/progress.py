"""The live line of a run: round, accuracy, worst class, time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from fedpoison.outcomes import Outcome
from fedpoison.rounds import Failure, Round
from fedpoison.scenario import Scenario
from fedpoison.watch import Watch


class LiveLine:
    """A line on stderr that is kept up to date. Use it as a context manager."""

    def __init__(self, *columns: ProgressColumn, text: str = "{task.fields[news]}") -> None:
        self._progress = Progress(
            *columns,
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn(text, markup=False, table_column=Column(ratio=1, no_wrap=True)),
            console=Console(stderr=True),
            expand=True,  # the text has what the others leave, and is alone to be cut
        )

    def warn(self, warning: str) -> None:
        """Show above the line what the user should know."""
        self._progress.console.print(f"[bold yellow]warning[/]: {escape(warning)}", soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class RoundProgress(LiveLine):
    """Shows on stderr how far the rounds are."""

    def __init__(self, rounds: int, *, title: str, unit: str = "round") -> None:
        told = "{task.fields[news]} - {task.description}"
        super().__init__(TextColumn(unit), MofNCompleteColumn(), text=told)
        self._shown = 0
        self._task = self._progress.add_task(title, total=rounds, news="preparing")

    def describe(self, title: str) -> None:
        """Say what is being run."""
        self._progress.update(self._task, description=title)

    def show(self, record: Round) -> None:
        """Show a round's result; the initial model's does not count as a round."""
        step = record.round - self._shown if record.round else 0
        self._shown = record.round
        self._progress.update(self._task, advance=step, news=describe(record), refresh=True)

    def reach(self, rounds: int) -> None:
        """Set how many rounds are done, those included that need not be run."""
        self._progress.update(self._task, completed=rounds)


class BatchProgress(LiveLine):
    """Shows on stderr how far many runs are."""

    def __init__(self, runs: int, rounds: int) -> None:
        super().__init__(TextColumn("runs:"), TextColumn("{task.fields[ended]}"), BarColumn(bar_width=20))
        self._runs = runs
        self._rounds = rounds
        self._ended = self._failed = self._stopped = 0
        self._started: dict[str, int] = {}
        self._running: set[str] = set()
        self._task = self._progress.add_task(
            "runs", total=runs * rounds, ended=self.tally(), news="preparing"
        )

    def expect(self, runs: int) -> None:
        """Count so many runs more."""
        self._runs += runs
        self._progress.update(self._task, total=self._runs * self._rounds, ended=self.tally())

    def watch(self) -> Watch:
        """Return what tells this display how the runs go."""
        return Watch(on_start=self._start, on_round=self._round, on_end=self._end)

    def _start(self, scenario: Scenario) -> None:
        self._started[scenario.run_id] = 0
        self._running.add(scenario.run_id)
        self._progress.update(self._task, ended=self.tally(), news=run_title(scenario))

    def _round(self, scenario: Scenario, record: Round) -> None:
        step = record.round - self._started[scenario.run_id]
        self._started[scenario.run_id] = record.round
        self._progress.update(
            self._task,
            advance=step,
            news=f"{run_title(scenario)}, round {record.round}: {describe(record)}",
            refresh=True,
        )

    def _end(self, scenario: Scenario, outcome: Outcome) -> None:
        self._ended += 1
        self._running.discard(scenario.run_id)
        if isinstance(outcome, Failure):
            self._stopped += outcome.aggregation_failed
            self._failed += not outcome.aggregation_failed
        rest = self._rounds - self._started.get(scenario.run_id, 0)
        self._progress.update(self._task, advance=rest, ended=self.tally())

    def tally(self) -> str:
        """Return how many runs are done and running, and how many of those done were stopped or failed."""
        counts = {"running": len(self._running), "stopped": self._stopped, "failed": self._failed}
        told = "".join(f", {count} {word}" for word, count in counts.items() if count)
        return f"{self._ended} of {self._runs} done{told}"


def run_title(scenario: Scenario) -> str:
    """Return what a run is, in a few words."""
    return f"{scenario.strategy} under {scenario.threat}"


def describe(record: Round) -> str:
    """Return a round's result in a few words."""
    words = f"accuracy {record.accuracy:.1%}, worst {record.worst_class_accuracy:.1%}"
    return words if record.success is None else f"{words}, attack success {record.success:.1%}"
