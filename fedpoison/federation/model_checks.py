"""Checks of a model before the run: whether the simulation can train it, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clients.training.dropout import has_dropout
from clients.training.global_stream import draws_globally
from clients.training.local_training import LocalTraining
from clients.training.parameters import trainable
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.errors import ScenarioError, code_errors
from fedpoison.models import Shape
from fedpoison.rng import generator_for
from fedpoison.scenario.model_spec import check_initialised, read_model
from fedpoison.scenario.scenario import Scenario

NOT_IN_MESSAGES = (torch.bfloat16, torch.complex64, torch.complex128)
"""Types of numbers that NumPy or safetensors cannot represent."""
SLOW = (
    "the model {} draws from torch's global random stream, as torch.nn.Dropout does, so one client trains at "
    "a time in each process. Use fedpoison.models.Dropout, or the engine ray."
)


@dataclass(frozen=True)
class ModelFacts:
    """Properties of a model on which settings depend."""

    draws_globally: bool
    """Whether the model draws from torch's global random stream in training."""
    batch_norm: bool
    """Whether the model has batch normalisation, which cannot train on batches of one sample."""
    dropout: bool
    """Whether the model has our dropout layers."""


def check_model(scenario: Scenario, train: Samples) -> None:
    """Raise ScenarioError if the simulation cannot work with the model of a scenario."""
    facts = _facts(scenario, train)
    if scenario.batch_size == 1 and facts.batch_norm:
        raise ScenarioError(
            f"batch_size: got 1 for the model {scenario.model}, which has batch normalisation; expected 2 or "
            "more."
        )
    if scenario.dropout_seed is not None and not (facts.draws_globally or facts.dropout):
        raise ScenarioError(
            f"dropout_seed: got {scenario.dropout_seed} for the model {scenario.model}, which has no "
            "dropout; remove dropout_seed, or choose another model."
        )


def model_notes(scenario: Scenario, train: Samples) -> list[str]:
    """Return a warning if the model slows down the training."""
    return [SLOW.format(scenario.model)] if _facts(scenario, train).draws_globally else []


def _facts(scenario: Scenario, train: Samples) -> ModelFacts:
    return model_facts(scenario.model, tuple(train.images.shape[1:]), train.images.dtype, train.classes)


def _build(spec: str, shape: Shape, classes: int) -> nn.Module:
    return read_model(spec).value.build(shape, classes, generator_for(0, "model check"))


@lru_cache(maxsize=64)
def model_facts(spec: str, shape: Shape, dtype: torch.dtype, classes: int) -> ModelFacts:
    """Check a model on two samples, and return its properties. Equal models are checked once per process.

    Args:
        spec: Model of the scenario.
        shape: Shape of one sample.
        dtype: Type of the samples.
        classes: Number of classes.

    Raises:
        ScenarioError: the simulation cannot train the model. The message names the reason and the remedy.
    """
    place = f"model {spec}"
    model = _build(spec, shape, classes)
    _check_tensors(place, model)
    samples = torch.zeros(2, *shape, dtype=dtype)
    with code_errors(f"{place}, on samples of shape {shape}", ScenarioError):
        draws = draws_globally(model, samples)[0]
        trainer = Trainer(model, LocalTraining())
        output: object = trainer.model(samples)
    if not isinstance(output, Tensor):
        raise ScenarioError(
            f"{place}: returned a {type(output).__name__}, expected one tensor of logits; wrap the model in "
            "a module that returns only the logits."
        )
    if output.shape != (2, classes):
        raise ScenarioError(
            f"{place}: returned a tensor of shape {tuple(output.shape)} for 2 samples, expected "
            f"(2, {classes}), one output for each class of the data set; change its last layer."
        )
    if not output.requires_grad:
        raise ScenarioError(
            f"{place}: the output depends on no trainable parameter, expected at least one; unfreeze a layer "
            "and do not detach the output."
        )
    return ModelFacts(
        draws_globally=draws,
        batch_norm=any(isinstance(layer, _BatchNorm) for layer in model.modules()),
        dropout=has_dropout(model),
    )


def _check_tensors(place: str, model: nn.Module) -> None:
    check_initialised(place, model)
    parameters = trainable(model)
    if not parameters:
        raise ScenarioError(f"{place}: got no trainable parameter, expected at least one; unfreeze a layer.")
    for name, parameter in parameters.items():
        if parameter.dtype != torch.float32:
            raise ScenarioError(
                f"{place}: parameter {name} has the type {parameter.dtype}, expected torch.float32; convert "
                "the model with .float()."
            )
    for name, buffer in model.named_buffers():
        if buffer.dtype in NOT_IN_MESSAGES:
            raise ScenarioError(
                f"{place}: buffer {name} has the type {buffer.dtype}, which messages cannot contain; "
                "expected a real type such as torch.float32. Convert the model with .float()."
            )
