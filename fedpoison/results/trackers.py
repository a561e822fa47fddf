"""Experiment trackers, which receive the measures of each round after the round."""

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
"""End of a run: its last round, an error, or Ctrl-C."""


class Tracker(Protocol):
    """Receiver of the measures of one run."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Store the measures of a round."""

    def close(self, ending: Ending) -> None:
        """Write pending measures and, if the tracker shows it, how the run ended."""


class TensorBoard:
    """Tracker that writes event files for TensorBoard into `folder/RUN ID`, without the end of the run."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        board = _import("torch.utils.tensorboard", "tensorboard")
        # A run that continues logs all its rounds, so TensorBoard hides those of the interrupted process.
        self._writer = board.SummaryWriter(str(folder / scenario.run_id), purge_step=0)
        self._writer.add_text("scenario", f"```toml\n{scenario.to_toml()}```")

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, ending: Ending) -> None:
        self._writer.close()


class WeightsAndBiases:
    """Tracker that reports to a project of Weights & Biases. It requires a login in the environment."""

    def __init__(self, scenario: Scenario, project: str) -> None:
        wandb = _import("wandb", "wandb")
        self._run = wandb.init(project=project, name=scenario.run_id, config=scenario.content())

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self, ending: Ending) -> None:
        # 255 is the exit code of wandb on Ctrl-C
        self._run.finish(exit_code={"finished": 0, "failed": 1, "killed": 255}[ending])


class MLflow:
    """Tracker that reports to an experiment of MLflow at MLFLOW_TRACKING_URI."""

    def __init__(self, scenario: Scenario, experiment: str) -> None:
        self._mlflow = _import("mlflow", "mlflow")
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
    """Return the finite numbers in a round's row of `History.rounds`, and the accuracy of each class."""
    row = History(scenario, [record]).to_frame().iloc[0].astype(float)
    classes = {f"class/{label}": share for label, share in enumerate(record.per_class_accuracy)}
    return {name: value for name, value in {**row, **classes}.items() if math.isfinite(value)}


@contextmanager
def with_trackers(
    scenario: Scenario, opening: Sequence[Callable[[], Tracker]], on_round: OnRound
) -> Iterator[OnRound]:
    """Open trackers, yield a function that passes rounds to them and to `on_round`, and close them."""
    trackers: list[Tracker] = []

    def notify_trackers(record: Round) -> None:
        for tracker in trackers:
            tracker.log(measures(scenario, record), record.round)
        on_round(record)

    ending: Ending = "failed"
    try:
        for opened in opening:
            trackers.append(opened())  # noqa: PERF401  # if one fails, the trackers before it are closed
        yield notify_trackers
        ending = "finished"
    except KeyboardInterrupt:
        ending = "killed"
        raise
    finally:
        with ExitStack() as stack:  # closes all trackers, even if one raises
            for tracker in trackers:
                stack.callback(tracker.close, ending)


def _import(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EngineError(f"{module}: cannot be imported ({error}); run pip install '{package}'.") from None
