"""Trackers of experiments: they are told each round's measures as soon as these are there."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from fedpoison.errors import EngineError
from fedpoison.results.history import History
from fedpoison.results.round import OnRound, Round
from fedpoison.scenario.scenario import Scenario

Ending = Literal["finished", "failed", "killed"]
"""How a run ended: by its last round, by an error, or by Ctrl-C."""


class Tracker(Protocol):
    """Takes the measures of one run."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep the measures of a round."""

    def close(self, ending: Ending) -> None:
        """Write what is not yet written, and how the run ended where that is shown."""


class TensorBoard:
    """Writes event files that TensorBoard shows, into `folder/RUN ID`; it does not show how a run ended."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        board = _imported("torch.utils.tensorboard", "tensorboard")
        self._writer = board.SummaryWriter(str(folder / scenario.run_id))
        self._writer.add_text("scenario", f"```toml\n{scenario.to_toml()}```")

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, ending: Ending) -> None:
        self._writer.close()


class WeightsAndBiases:
    """Reports to a project of Weights & Biases, which the environment has to be logged in to."""

    def __init__(self, scenario: Scenario, project: str) -> None:
        wandb = _imported("wandb", "fedpoison[wandb]")
        self._run = wandb.init(project=project, name=scenario.run_id, config=scenario.content())

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self, ending: Ending) -> None:
        # 255 is what wandb itself gives on Ctrl-C
        self._run.finish(exit_code={"finished": 0, "failed": 1, "killed": 255}[ending])


class MLflow:
    """Reports to an experiment of MLflow, at the place that MLFLOW_TRACKING_URI names."""

    def __init__(self, scenario: Scenario, experiment: str) -> None:
        self._mlflow = _imported("mlflow", "fedpoison[mlflow]")
        self._mlflow.set_experiment(experiment)
        self._mlflow.start_run(run_name=scenario.run_id)
        try:
            self._mlflow.log_params(scenario.content())
        except BaseException:
            self.close("failed")
            raise

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def close(self, ending: Ending) -> None:
        self._mlflow.end_run(ending.upper())


def measures(scenario: Scenario, record: Round) -> dict[str, float]:
    """Return the numbers that `History.rounds` has for a round, and the accuracy of each class.

    What is not a number in this round, such as the success of an attack without a target, is left out.
    """
    row = History(scenario, [record]).rounds().iloc[0].astype(float)
    classes = {f"class/{label}": share for label, share in enumerate(record.per_class_accuracy)}
    return {name: value for name, value in {**row, **classes}.items() if math.isfinite(value)}


@contextmanager
def with_trackers(
    scenario: Scenario, opening: Sequence[Callable[[], Tracker]], on_round: OnRound
) -> Iterator[OnRound]:
    """Open trackers, give what tells them and `on_round` of a round, and close them as the run ended."""
    trackers: list[Tracker] = []

    def notify_trackers(record: Round) -> None:
        for tracker in trackers:
            tracker.log(measures(scenario, record), record.round)
        on_round(record)

    ending: Ending = "failed"
    try:
        for opened in opening:
            trackers.append(opened())  # noqa: PERF401  # those before one that fails are closed
        yield notify_trackers
        ending = "finished"
    except KeyboardInterrupt:
        ending = "killed"
        raise
    finally:
        with ExitStack() as stack:  # that one cannot be closed keeps none of the others open
            for tracker in trackers:
                stack.callback(tracker.close, ending)


def _imported(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EngineError(f"{module}: cannot be imported ({error}); pip install '{package}'.") from None
