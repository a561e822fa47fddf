"""The live line of a run: round, accuracy, worst class, time left."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from fedpoison.rounds import Round


class RoundProgress:
    """Shows on stderr how far the rounds are. Use it as a context manager."""

    def __init__(self, rounds: int, *, title: str = "round") -> None:
        self._progress = Progress(
            TextColumn("{task.description}:"),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(title, total=rounds, news="preparing")

    def describe(self, title: str) -> None:
        """Say what is being run."""
        self._progress.update(self._task, description=title)

    def show(self, record: Round) -> None:
        """Show a round's result; the initial model's does not count as a round."""
        self._progress.update(
            self._task, advance=1 if record.round else 0, news=describe(record), refresh=True
        )

    def warn(self, warning: str) -> None:
        """Show above the line what the user should know."""
        self._progress.console.print(f"[bold yellow]warning[/]: {escape(warning)}", soft_wrap=True)

    def reach(self, rounds: int) -> None:
        """Set how many rounds are done, those included that need not be run."""
        self._progress.update(self._task, completed=rounds)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def describe(record: Round) -> str:
    """Return a round's result in a few words."""
    words = f"accuracy {record.accuracy:.1%}, worst {record.worst_class_accuracy:.1%}"
    return words if record.success is None else f"{words}, attack success {record.success:.1%}"
