"""Live progress on stderr: rounds, accuracy, worst class and remaining time."""

from __future__ import annotations

from types import TracebackType

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

from fedpoison.results.round import Failure, Round
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchCallbacks, RunResult


class ProgressLine(Progress):
    """A progress line on stderr. Use it as a context manager."""

    def __init__(self, *columns: ProgressColumn, text: str = "{task.fields[news]}") -> None:
        super().__init__(
            *columns,
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn(text, markup=False, table_column=Column(ratio=1, no_wrap=True)),
            console=Console(emoji=False, stderr=True),
            expand=True,  # the text gets the rest of the width, and only the text is cut
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop. If an error ended the command before any progress, remove the line."""
        if kind is not None and not any(task.completed for task in self.tasks):
            self.live.transient = True
            self.live.stop()  # `Progress.stop` would print an empty line where no line is live
            return
        super().__exit__(kind, error, trace)

    def warn(self, warning: str) -> None:
        """Print a warning above the line."""
        self.console.print(f"[bold yellow]warning[/]: {escape(warning)}", soft_wrap=True)


class RoundProgress(ProgressLine):
    """Progress of the rounds of a run."""

    def __init__(self, rounds: int, *, title: str, unit: str = "round") -> None:
        text = "{task.fields[news]} - {task.description}"
        super().__init__(TextColumn(unit), MofNCompleteColumn(), text=text)
        self._shown = 0
        self._task = self.add_task(title, total=rounds, news="preparing")

    def describe(self, title: str) -> None:
        """Show the title of the current run."""
        self.update(self._task, description=title)

    def show(self, record: Round) -> None:
        """Show the result of a round. The evaluation of the initial model does not count as a round."""
        step = record.round - self._shown if record.round else 0
        self._shown = record.round
        self.update(self._task, advance=step, news=describe(record), refresh=True)

    def set_completed(self, rounds: int) -> None:
        """Set the number of finished rounds, including those of runs that were loaded."""
        self.update(self._task, completed=rounds)


class ReplayProgress(ProgressLine):
    """Progress of the aggregates of a replay."""

    def __init__(self) -> None:
        super().__init__(TextColumn("aggregate"), MofNCompleteColumn())
        self._task = self.add_task("aggregates", total=None, news="preparing")

    def show(self, strategy: str, done: int, total: int) -> None:
        """Show the number of aggregates of a strategy."""
        self.update(self._task, completed=done, total=total, news=strategy)


class BatchProgress(ProgressLine):
    """Progress of many runs."""

    def __init__(self, runs: int, rounds: int) -> None:
        super().__init__(TextColumn("runs:"), TextColumn("{task.fields[ended]}"), BarColumn(bar_width=20))
        self._runs = runs
        self._rounds = rounds
        self._ended = self._failed = self._stopped = 0
        self._started: dict[str, int] = {}
        self._running: set[str] = set()
        self._task = self.add_task("runs", total=runs * rounds, ended=self.status(), news="preparing")

    def add_runs(self, runs: int) -> None:
        """Add a number of runs to the total."""
        self._runs += runs
        self.update(self._task, total=self._runs * self._rounds, ended=self.status())

    def callbacks(self) -> BatchCallbacks:
        """Return callbacks that update this display."""
        return BatchCallbacks(on_start=self._start, on_round=self._round, on_end=self._end)

    def _start(self, scenario: Scenario) -> None:
        self._started[scenario.run_id] = 0
        self._running.add(scenario.run_id)
        self.update(self._task, ended=self.status(), news=run_title(scenario))

    def _round(self, scenario: Scenario, record: Round) -> None:
        step = record.round - self._started[scenario.run_id]
        self._started[scenario.run_id] = record.round
        news = f"{run_title(scenario)}, round {record.round}: {describe(record)}"
        self.update(self._task, advance=step, news=news, refresh=True)

    def _end(self, scenario: Scenario, result: RunResult) -> None:
        self._ended += 1
        self._running.discard(scenario.run_id)
        if isinstance(result, Failure):
            self._stopped += result.aggregation_failed
            self._failed += not result.aggregation_failed
        rest = self._rounds - self._started.get(scenario.run_id, 0)
        self.update(self._task, advance=rest, ended=self.status())

    def status(self) -> str:
        """Return the numbers of finished, running, stopped and failed runs, in words."""
        counts = {"running": len(self._running), "stopped": self._stopped, "failed": self._failed}
        others = "".join(f", {count} {word}" for word, count in counts.items() if count)
        return f"{self._ended} of {self._runs} done{others}"


def run_title(scenario: Scenario) -> str:
    """Return the title of a run: its strategy and its attacks."""
    return f"{scenario.strategy} under {scenario.threat}"


def describe(record: Round) -> str:
    """Return the result of a round in words."""
    words = f"accuracy {record.accuracy:.1%}, worst {record.worst_class_accuracy:.1%}"
    if record.success is not None:
        words += f", attack success {record.success:.1%}"
    reasons = record.training.unchanged
    return f"model unchanged ({'; '.join(reasons)}), {words}" if reasons else words
