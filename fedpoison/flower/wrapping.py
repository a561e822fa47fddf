"""The base of strategies that wrap a strategy of Flower's Message API."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, Metadata, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedpoison.errors import AggregationError, ScenarioError
from fedpoison.flower.arrays import ModelArrays

LOGGER = logging.getLogger("flwr.fedpoison")
"""Below Flower's logger, so that its messages are among those of the ServerApp."""
EXAMPLES = "num-examples"


class WrappingStrategy(Strategy):
    """A strategy with the sampling, the messages and the evaluation of another one.

    Args:
        strategy: The strategy to wrap.
        buffers: Names or patterns of the model's buffers.

    Raises:
        ScenarioError: `strategy` is no strategy of the Message API.
    """

    def __init__(self, strategy: Strategy, buffers: Collection[str]) -> None:
        if not isinstance(strategy, Strategy):
            raise ScenarioError(
                f"strategy: got {strategy!r}, expected a strategy of Flower's Message API, such as "
                "flwr.serverapp.strategy.FedAvg()."
            )
        self.wrapped = strategy
        self._buffers = (buffers,) if isinstance(buffers, str) else tuple(buffers)
        self._model: ModelArrays | None = None
        self._sent: dict[int, Metadata] = {}
        """Metadata of the train messages of the round, by node id."""

    @property
    def examples_key(self) -> str:
        """Key of the number of examples in a MetricRecord, as the wrapped strategy names it."""
        inner = self.wrapped
        return (
            inner.examples_key
            if isinstance(inner, WrappingStrategy)
            else str(getattr(inner, "weighted_by_key", EXAMPLES))
        )

    @property
    def model(self) -> ModelArrays:
        """The global model of the round.

        Raises:
            AggregationError: no round has begun.
        """
        if self._model is None:
            raise AggregationError(
                f"{type(self).__name__}: got replies before the first round, expected `configure_train` "
                "before `aggregate_train`; call `start`, or both in this order."
            )
        return self._model

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the train messages of the wrapped strategy."""
        messages = list(self.wrapped.configure_train(server_round, arrays, config, grid))
        self._model = ModelArrays.read([arrays], self._buffers)
        self._sent = {message.metadata.dst_node_id: message.metadata for message in messages}
        return messages

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the evaluation messages of the wrapped strategy."""
        return self.wrapped.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Aggregate the evaluation with the wrapped strategy."""
        return self.wrapped.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        """Log the settings, then those of the wrapped strategy."""
        LOGGER.info("\t├──> %r:", self)
        self.wrapped.summary()
