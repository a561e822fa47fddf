"""Inputs of a rule that a Flower app gives to its server: clean data, and functions that run its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import ArrayRecord
from torch import Tensor

from clients.training.parameters import flatten
from fedpoison.errors import ScenarioError
from fedpoison.flower.arrays import ModelArrays, read_arrays
from strategies.base import AggregationRule, Context

TrainOnRoot = Callable[[ArrayRecord], ArrayRecord]
"""Function that trains on clean data of the server, from the given arrays, and returns the trained arrays."""
Predict = Callable[[ArrayRecord, Tensor], Tensor]
"""Function `predict(arrays, images (m, c, h, w)) -> logits (m, k)`."""
Gradient = Callable[[ArrayRecord, Tensor, Tensor], tuple[Tensor, ArrayRecord]]
"""Function `gradient(arrays, images (m, c, h, w), labels (m,)) -> (loss (), gradient)`.

The loss is the mean cross-entropy in evaluation mode. Its gradient has the names of the weights."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ServerInputs:
    """Inputs of a rule beyond the updates. None: the app does not give it."""

    train_on_root: TrainOnRoot | None
    root_images: Tensor | None
    root_labels: Tensor | None
    predict: Predict | None
    gradient: Gradient | None
    image_shape: tuple[int, int, int] | None

    def check(self, rule: AggregationRule) -> None:
        """Raise ScenarioError if the rule needs an input that the app does not give."""
        needs = rule.card.needs
        if "root data" in needs and self.train_on_root is None:
            raise ScenarioError(
                f"{rule!r}: needs an update of clean data on the server, got no train_on_root, expected "
                "a function that takes an ArrayRecord and returns it trained."
            )
        if "root images" in needs and self.root_images is None:
            raise ScenarioError(
                f"{rule!r}: needs images of clean data on the server, got no root_images, expected a tensor."
            )
        if "root labels" in needs and self.root_labels is None:
            raise ScenarioError(
                f"{rule!r}: needs labels of clean data on the server, got no root_labels, expected a tensor "
                "with one label per image of root_images."
            )
        if "predictions" in needs and (self.predict is None or self.image_shape is None):
            raise ScenarioError(
                f"{rule!r}: compares predictions of models, got no predict or no image_shape, expected a "
                "function that takes an ArrayRecord and inputs, and the shape of one input."
            )
        if "gradients" in needs and self.gradient is None:
            raise ScenarioError(
                f"{rule!r}: trains models on the server, got no gradient, expected a function that takes an "
                "ArrayRecord, inputs and labels, and returns the loss and its gradient."
            )

    def context(
        self,
        model: ModelArrays,
        server_round: int,
        client_ids: tuple[int, ...],
        root_update: Callable[[], Tensor],
    ) -> Context:
        """Return the context of a round.

        Args:
            model: Global model before the round.
            server_round: Round, counted from 1.
            client_ids: Client of each update.
            root_update: Returns `self.root_update(model)`. The context has it only with `train_on_root`.
        """
        predict, gradient = self.predict, self.gradient
        images, labels = self.root_images, self.root_labels
        return Context(
            round=server_round,
            client_ids=client_ids,
            model=model.vector,
            layout=model.layout,
            root_update=None if self.train_on_root is None else root_update,
            root_images=None if images is None else lambda: images,
            root_labels=None if labels is None else lambda: labels,
            predict=None if predict is None else lambda w, inputs: predict(model.to_record(w), inputs),
            gradient=None if gradient is None else lambda *point: _differentiate(gradient, model, *point),
            image_shape=self.image_shape,
        )

    def root_update(self, model: ModelArrays) -> Tensor:
        """Return the update (d,) of the app's training on clean data of the server."""
        assert self.train_on_root is not None  # noqa: S101  # rules have this function only with train_on_root
        trained = self.train_on_root(model.to_record(model.vector))
        return model.read_reply([trained])[0] - model.vector


def _differentiate(
    gradient: Gradient, model: ModelArrays, weights: Tensor, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    loss, record = gradient(model.to_record(weights), images, labels)
    found = read_arrays([record])
    return loss, flatten(found[name].to(weights) for name, _ in model.layout)
