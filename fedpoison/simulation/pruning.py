"""Fine-pruning: remove the neurons of a trained model that clean data do not use, then train the rest."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from safetensors.torch import save
from torch import Tensor

from clients.training.local_training import LocalTraining
from clients.training.parameters import ModelState, flatten
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.errors import RunError, ScenarioError, code_errors, file_errors
from fedpoison.federation.evaluation import Evaluator, evaluate
from fedpoison.federation.federation import Federation
from fedpoison.federation.workers import Workers
from fedpoison.models.neurons import Neurons
from fedpoison.results import metrics as measures
from fedpoison.results.checkpoint import replace_durably
from fedpoison.results.display import Displayed
from fedpoison.results.history import History
from fedpoison.results.round import Round, Training
from fedpoison.results.run_frame import percent
from fedpoison.results.store import StoredRun
from fedpoison.rng import generator_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = tuple(tenth / 10 for tenth in range(10))
"""Shares of removed neurons to try."""
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class PrunedModel:
    """The model of the run without some of its neurons, before and after the training on clean data."""

    share: float
    """Share of removed neurons that was asked for."""
    removed: int
    """Number of removed neurons."""
    clean_accuracy: float
    """Accuracy on the server's clean samples before the training."""
    pruned: Round
    """Evaluation on the test set before the training."""
    tuned: Round
    """Evaluation on the test set after the training."""
    state: ModelState
    """Weights and buffers after the training."""


@dataclass(frozen=True, eq=False, repr=False)
class FinePruning(Displayed):
    """The model of a run with more and more neurons removed."""

    history: History
    layer: str
    """Layer whose neurons are removed, by position and kind."""
    neurons: int
    """Number of neurons of the layer."""
    samples: int
    """Number of clean samples of the server."""
    points: float
    """Largest loss of accuracy on the clean samples, in percentage points."""
    models: Sequence[PrunedModel]
    """One model per share, ascending. The first one has all neurons."""
    names: dict[str, Tensor]
    """The chosen model after the training, by name, as `initial` of a scenario takes it."""

    @property
    def chosen(self) -> PrunedModel:
        """Model with the most neurons removed before the clean accuracy falls by more than `points`."""
        return _chosen(self.models, self.points)

    @property
    def headline(self) -> str:
        """The run and the chosen model."""
        chosen, whole = self.chosen, self.models[0]
        success = ""
        if chosen.tuned.success is not None:
            before, after = percent(whole.pruned.success), percent(chosen.tuned.success)
            success = f", attack success {before} -> {after} %"
        return (
            f"fine-pruning of {self.history.title}: {chosen.removed} of {self.neurons} neurons removed, "
            f"accuracy {percent(whole.pruned.accuracy)} -> {percent(chosen.tuned.accuracy)} %{success}"
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row per share of removed neurons.

        `clean_accuracy` is the accuracy on the server's clean samples before the training. The other measures
        are those of the test set, before the training and, with the prefix `tuned_`, after it.
        """
        rows = [
            {
                "share": model.share,
                "removed": model.removed,
                "clean_accuracy": model.clean_accuracy,
                **_measures(model.pruned),
                **{f"tuned_{name}": value for name, value in _measures(model.tuned).items()},
                "chosen": model is self.chosen,
            }
            for model in self.models
        ]
        frame = pd.DataFrame(rows).set_index("share")
        return frame.astype({"success": float, "tuned_success": float})

    def plot(self) -> Figure:
        """Draw accuracy and attack success by the share of removed neurons, before and after the training."""
        from fedpoison.plotting import legend, new_figure, style  # noqa: PLC0415  # matplotlib is slow to import

        frame = self.to_frame()
        figure = new_figure(5, 3.5)
        axes = figure.add_subplot()
        shown = {
            "accuracy": "accuracy, pruned",
            "tuned_accuracy": "accuracy, pruned and trained",
            "success": "attack success, pruned",
            "tuned_success": "attack success, pruned and trained",
        }
        for position, (column, label) in enumerate(shown.items()):
            if frame[column].notna().any():
                axes.plot(100 * frame.index, 100 * frame[column], label=label, **style(position))
        axes.axvline(100 * self.chosen.share, color="0.7", linewidth=1)
        axes.set(xlabel="removed neurons, %", ylabel="%", ylim=(-3, 103))
        legend(figure, axes, columns=2)
        return figure

    def save(self, path: str | Path) -> None:
        """Write the chosen model after the training as safetensors, which `initial` of a scenario takes.

        Raises:
            RunError: the file cannot be written.
        """
        path = Path(path)
        with file_errors(path):
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_bytes(save(self.names))
            replace_durably(unfinished, path)


def fine_prune(
    run: str | Path,
    *,
    shares: Sequence[float] = SHARES,
    points: float = 4.0,
    samples: int = 500,
    epochs: int = 10,
    lr: float | None = None,
    data_dir: str | Path | None = None,
    workers: int | None = None,
) -> FinePruning:
    """Remove the neurons of a stored run's model that clean samples do not use, then train it on them.

    Liu, Dolan-Gavitt, Garg, "Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural Networks",
    RAID 2018. The neurons are the channels of the last convolution, or without a convolution, the units of
    the last hidden linear layer. They are removed in the order of their mean activation on the server's clean
    samples. The chosen model is the last one before the accuracy on these samples falls by more than
    `points`. Each model is then trained on the samples, and the removed neurons stay 0. The paper removes
    neuron by neuron: for this, give as many shares as the layer has neurons.

    Args:
        run: Folder of a complete run.
        shares: Shares of removed neurons, from 0 to less than 1. 0 is always measured.
        points: Largest loss of accuracy on the clean samples, in percentage points.
        samples: Number of clean samples of the server, drawn from the training samples as root data are.
        epochs: Passes over the clean samples in the training. 0: only remove neurons.
        lr: Learning rate of the training. Default: that of the run.
        data_dir: Folder of the data sets, as for `simulate`.
        workers: Number of threads. Default: one per CPU.

    Raises:
        ScenarioError: an argument is out of range, or the model has no layer whose neurons can be removed.
        RunError: the run is not complete.
        DataError: the data set is not available.
    """
    shares = sorted({0.0, *shares})
    if not 0 <= shares[0] <= shares[-1] < 1:
        raise ScenarioError(f"shares: got {shares[0]} to {shares[-1]}, expected 0 or more and less than 1.")
    if epochs < 0 or not 0 <= points <= 100:
        raise ScenarioError(
            f"epochs, points: got {epochs}, {points}, expected 0 or more epochs, and 0 to 100 points."
        )
    stored = StoredRun(Path(run))
    history = stored.history
    if not stored.complete:
        raise RunError(
            f"{stored.path}: the run is not complete, so it has no final model; run it to its end."
        )
    federation = Federation.load(history.scenario, data_dir=data_dir)
    if not 1 <= samples <= len(federation.train):
        raise ScenarioError(f"samples: got {samples}, expected from 1 to {len(federation.train)}.")
    clean, trained = federation.clean_samples(samples), _trained_state(stored, federation)
    training = _training(history.scenario.training, max(1, epochs), lr)
    with Workers(federation.model, training, workers) as pool, code_errors(f"model {history.scenario.model}"):
        order, layer = pool.run(partial(_ranking, trained, clean))
        removed = [order[: round(share * len(order))] for share in shares]
        tuner = _Tuner(federation.scenario.seed, trained, clean, train=epochs > 0)
        states = list(pool.map(tuner, removed))
        measured = _Measured(federation, clean, pool)
        models = [
            PrunedModel(share, len(positions), *measured(*pair), pair[1])
            for share, positions, pair in zip(shares, removed, states, strict=True)
        ]
    names = federation.state_dict(_chosen(models, points).state)
    return FinePruning(history, layer, len(order), samples, points, models, names)


def _chosen(models: Sequence[PrunedModel], points: float) -> PrunedModel:
    least = models[0].clean_accuracy - points / 100 - ROUNDING
    for last, model in itertools.pairwise(models):
        if model.clean_accuracy < least:
            return last
    return models[-1]


def _measures(record: Round) -> dict[str, float | None]:
    return {
        "accuracy": record.accuracy,
        "worst_class_accuracy": record.worst_class_accuracy,
        "success": record.success,
    }


def _training(training: LocalTraining, epochs: int, lr: float | None) -> LocalTraining:
    """Return the settings of the training on clean samples: those of the run, for other epochs."""
    rate = training.lr if lr is None else lr
    try:
        return replace(training, epochs=epochs, steps=0, proximal=0.0, persistent_momentum=False, lr=rate)
    except ValueError as error:
        raise ScenarioError(str(error)) from None


def _trained_state(stored: StoredRun, federation: Federation) -> ModelState:
    named = stored.weights()
    return ModelState(
        flatten(named[name] for name, _ in federation.layout),
        {name: named[name] for name in federation.initial_buffers},
    )


def _ranking(state: ModelState, clean: Samples, trainer: Trainer) -> tuple[Tensor, str]:
    """Return the neurons from the least to the most active one, and their layer."""
    trainer.load(state.weights, state.buffers)
    neurons = Neurons.of(trainer.model)
    return neurons.activations(clean.images).sort(stable=True).indices, neurons.layer


@dataclass(frozen=True, eq=False)
class _Tuner:
    """Removes neurons from a model, and trains it on clean samples."""

    seed: int
    state: ModelState
    clean: Samples
    train: bool

    def __call__(self, trainer: Trainer, removed: Tensor) -> tuple[ModelState, ModelState]:
        """Return the model without the neurons at `removed` (p,), before and after the training."""
        trainer.load(self.state.weights, self.state.buffers)
        neurons = Neurons.of(trainer.model)
        neurons.remove(removed)
        pruned = ModelState(trainer.weights(), trainer.buffers())
        if not self.train:
            return pruned, pruned
        generator = generator_for(self.seed, "fine-pruning")
        trainer.fit(self.clean, generator, on_step=lambda _: neurons.remove(removed))
        return pruned, ModelState(trainer.weights(), trainer.buffers())


class _Measured:
    """Measures models on the clean samples of the server and on the test set."""

    def __init__(self, federation: Federation, clean: Samples, workers: Workers) -> None:
        goal = federation.goal
        self._goal = goal if goal is None or goal.learned is None else None  # learned triggers are not saved
        self._test = Evaluator(federation.test, self._goal, workers, attack=federation.goal_attack)
        self._rounds, self._clean, self._workers = federation.scenario.rounds, clean, workers

    def __call__(self, pruned: ModelState, tuned: ModelState) -> tuple[float, Round, Round]:
        """Return the clean accuracy of the pruned model, and the records of both on the test set."""
        confusion, _ = evaluate(pruned.weights, self._clean, self._workers, pruned.buffers)
        first = self._record(pruned)
        return measures.accuracy(confusion), first, first if tuned is pruned else self._record(tuned)

    def _record(self, state: ModelState) -> Round:
        found = self._test(state.weights, buffers=state.buffers)
        return Round.from_evaluation(self._rounds, found, self._goal, Training())
