"""A strategy that aggregates with our rules and leaves all else to the strategy that it wraps."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from fedpoison.errors import AggregationError, ScenarioError, code_errors
from fedpoison.federation.rule_runner import RuleRunner, TriedRule
from fedpoison.flower.arrays import BUFFERS
from fedpoison.flower.replies import Reply, read_round, require_examples, signed
from fedpoison.flower.replies import Round as Replies
from fedpoison.flower.rule_argument import read_rule, refuse_wrapper
from fedpoison.flower.server_inputs import Gradient, Predict, ServerInputs, TrainOnRoot
from fedpoison.flower.wrapping import LOGGER, WrappingStrategy
from strategies.base import Aggregate, AggregationRule, Context
from strategies.kernels.buffers import aggregate_buffer
from strategies.kernels.distances import row_norms

COLUMNS = ("round", "node", "trust", "norm", "dropped")
KEEP, RAISE = "keep", "raise"


class RobustStrategy(WrappingStrategy):
    """Strategy with the aggregation of a rule, and with all else of the strategy that it wraps.

    The rule aggregates updates: the weights that a client returns, minus the global weights that it got. The
    wrapped strategy samples clients, configures them, and aggregates metrics. It then gets replies that
    contain the new global model in place of the clients' models. Its own aggregation is not used.

    Args:
        strategy: Any strategy of Flower's Message API, such as `FedAvg(fraction_train=0.5)`.
        rule: A rule as text or object. The text can have pre-aggregators and a server optimizer:
            `nnm | krum(byzantine=2) | adam`.
        byzantine: Number of malicious clients to tolerate, for parts of a text that do not set it.
        weights: `examples` weights a client by its number of examples, `uniform` weights all equally.
        buffers: Names or patterns of arrays that are statistics, not weights. They become the mean of the
            clients, weighted with the rule's trust. Arrays of integers are always buffers, and become the
            largest value of a trusted client. Default: the statistics of batch normalization.
        too_few: What happens if a round has too few usable replies for the rule. `keep` keeps the model,
            `raise` raises, and a rule, as text or object, aggregates in place of `rule`.
        train_on_root: Trains on clean data of the server, for rules such as FLTrust.
        root_images: Images of the server, (m, c, h, w), as `predict` takes them, for rules such as FLARE.
        root_labels: Labels of `root_images`, (m,) int64, for rules such as MASA.
        predict: Runs the model, for rules such as DeepSight.
        gradient: Differentiates the loss of the model, for rules such as MASA.
        image_shape: Channels, height and width of an image, for rules such as DeepSight.
        seed: Seed of the rule's random draws.

    Raises:
        ScenarioError: the rule is unknown, lacks an argument, or `strategy` cannot be wrapped.
    """

    def __init__(
        self,
        strategy: Strategy,
        rule: str | AggregationRule,
        *,
        byzantine: int = 0,
        weights: Literal["examples", "uniform"] = "examples",
        buffers: Collection[str] = BUFFERS,
        too_few: str | AggregationRule = KEEP,
        train_on_root: TrainOnRoot | None = None,
        root_images: Tensor | None = None,
        root_labels: Tensor | None = None,
        predict: Predict | None = None,
        gradient: Gradient | None = None,
        image_shape: tuple[int, int, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(strategy, buffers)
        refuse_wrapper(strategy)
        if weights not in ("examples", "uniform"):
            raise ScenarioError(f"weights: got {weights!r}, expected 'examples' or 'uniform'.")
        self._runner = RuleRunner(read_rule(rule, byzantine), seed)
        self._fallback: RuleRunner | str = KEEP
        if isinstance(too_few, str) and too_few in (KEEP, RAISE):
            self._fallback = too_few
        else:
            self._fallback = RuleRunner(read_rule(too_few, byzantine), seed)
        self._weights = weights
        self._inputs = ServerInputs(
            train_on_root=train_on_root,
            root_images=root_images,
            root_labels=root_labels,
            predict=predict,
            gradient=gradient,
            image_shape=image_shape,
        )
        for runner in self._runners().values():
            self._inputs.check(runner.rule)
        self._root: Tensor | None = None
        self._round, self._rounds_before = 0, 0
        self._rows: list[tuple[int, int, float, float, str | None]] = []

    @property
    def rule(self) -> AggregationRule:
        """The rule."""
        return self._runner.rule

    def __repr__(self) -> str:
        return f"RobustStrategy({type(self.wrapped).__name__}, {self.rule!r})"

    @property
    def rounds(self) -> pd.DataFrame:
        """One row per round and sampled client.

        Columns: `round`; `node`, the node id; `trust`, the weight of the update in the aggregate; `norm`, the
        Euclidean norm of the update; `dropped`, the reason why the reply was not used, or None. Without a
        usable reply, `trust` and `norm` are NaN.
        """
        return pd.DataFrame(self._rows, columns=[*COLUMNS])

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the train messages of the wrapped strategy."""
        self._round, self._root = server_round + self._rounds_before, None
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate the usable replies with the rule, and the metrics with the wrapped strategy.

        The metrics gain `dropped`, the number of clients without a usable reply. After an aggregation they
        also gain `rejected`, the number of usable updates of trust 0, and `mean-trust`.

        Raises:
            AggregationError: no reply has a number of examples, the result is not finite, or there are too
                few usable replies and `too_few` is `raise`.
            CrashError: the code of the rule raised an exception.
        """
        received = list(replies)
        found = self.read(received)
        for node_id, reason in found.dropped.items():
            LOGGER.warning("round %d: dropped node %d: %s", self._round, node_id, reason)
        result = self._aggregate(found.usable)
        self._note(found, result)
        metrics = self._metrics(server_round, received, found, result.arrays)
        metrics["dropped"] = len(found.dropped)
        if result.trust is not None:
            metrics["rejected"] = int((result.trust == 0).sum())
            metrics["mean-trust"] = float(result.trust.mean())
        return result.arrays, metrics

    def read(self, received: Sequence[Message]) -> Replies:
        """Return the usable replies of a round, and the reasons for the others."""
        found = read_round(received, self._sent, self.model, self.examples_key)
        return (
            found if self._weights == "uniform" else require_examples(self._round, found, self.examples_key)
        )

    def known_rule(self, server_round: int, usable: Sequence[Reply]) -> TriedRule | None:
        """Return the rule of a round as a function that an attacker can try, or None for too few replies.

        Args:
            server_round: Round as Flower counts it.
            usable: The usable replies of the round. Their weights are not read.
        """
        if len(usable) < self._minimum(self.rule):
            return None
        context, weights = self._context(server_round + self._rounds_before, usable), self._shares(usable)

        def try_rule(matrix: Tensor) -> Aggregate:
            return self._runner.apply(matrix, weights, context, purpose="attackers' trials")

        return try_rule

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state of the rules after a round, by name, and the number of rounds."""
        state = {"round": torch.tensor(self._round)}
        for owner, runner in self._runners().items():
            state |= {f"{owner}: {name}": kept for name, kept in runner.state.items()}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue after the round of `state_dict`. The next round of Flower gets the next number.

        Raises:
            ScenarioError: the state has an entry that this strategy does not have.
        """
        runners = self._runners()
        found: dict[str, dict[str, Tensor]] = {owner: {} for owner in runners}
        for key, kept in state.items():
            owner, _, name = key.partition(": ")
            if owner in found and name:
                found[owner][name] = kept
            elif key != "round":
                raise ScenarioError(
                    f"state_dict: got the entry {key!r}, expected the entries of {self!r}; load it into a "
                    "strategy with the rule and the too_few of the strategy that it is from."
                )
        for owner, runner in runners.items():
            runner.state = found[owner]
        self._round = self._rounds_before = int(state["round"])

    def _runners(self) -> dict[str, RuleRunner]:
        fallback = {} if isinstance(self._fallback, str) else {"too few": self._fallback}
        return {"rule": self._runner, **fallback}

    def _aggregate(self, usable: Sequence[Reply]) -> _Result:
        runner = self._runner
        least = self._minimum(runner.rule)
        if len(usable) < least:
            needs = f"{runner.rule!r} needs at least {least}"
            problem = f"round {self._round}: {len(usable)} usable replies, and {needs}"
            if self._fallback == RAISE:
                raise AggregationError(f"{problem}; sample more clients, or set too_few='keep'.")
            if isinstance(self._fallback, str) or len(usable) < self._minimum(self._fallback.rule):
                LOGGER.warning("%s; the model does not change.", problem)
                return _Result(self.model.to_record(self.model.vector))
            runner = self._fallback
            LOGGER.warning("%s; %r aggregates in its place.", problem, runner.rule)
        matrix = torch.stack([reply.weights for reply in usable]).sub_(self.model.vector)
        context = self._context(self._round, usable)
        with code_errors(f"round {self._round}, rule {runner.rule!r}"):
            stepped, aggregate = runner.step(self.model.vector, matrix, self._shares(usable), context)
        buffers = {
            name: aggregate_buffer(
                torch.stack([reply.buffers[name].to(before) for reply in usable]), aggregate.trust, before
            )
            for name, before in self.model.buffers.items()
        }
        return _Result(self.model.to_record(stepped, buffers), aggregate.trust, row_norms(matrix))

    def _minimum(self, rule: AggregationRule) -> int:
        with code_errors(f"round {self._round}, rule {rule!r}"):
            return rule.minimum

    def _shares(self, usable: Sequence[Reply]) -> Tensor:
        uniform = self._weights == "uniform"
        return torch.tensor([1.0 if uniform else reply.examples for reply in usable], dtype=torch.float64)

    def _context(self, server_round: int, usable: Sequence[Reply]) -> Context:
        client_ids = tuple(signed(reply.node_id) for reply in usable)
        return self._inputs.context(self.model, server_round, client_ids, self._root_update)

    def _root_update(self) -> Tensor:
        """Return the update of the root data. The trials of an attacker share one training per round."""
        if self._root is None:
            self._root = self._inputs.root_update(self.model)
        return self._root.clone()

    def _note(self, found: Replies, result: _Result) -> None:
        rows = {node_id: (math.nan, math.nan, reason) for node_id, reason in found.dropped.items()}
        missing = [math.nan] * len(found.usable)
        trust = missing if result.trust is None else result.trust.tolist()
        norms = missing if result.norms is None else result.norms.tolist()
        kept = {
            reply.node_id: (*numbers, None)
            for reply, *numbers in zip(found.usable, trust, norms, strict=True)
        }
        self._rows += [(self._round, node_id, *row) for node_id, row in (kept | rows).items()]

    def _metrics(
        self, server_round: int, received: Sequence[Message], found: Replies, arrays: ArrayRecord
    ) -> MetricRecord:
        """Return the metrics of the wrapped strategy, which sees the new model in each reply."""
        for reply in found.usable:
            reply.message.content = reply.with_model(arrays, self.examples_key)
        usable = {id(reply.message) for reply in found.usable}
        shown = [message for message in received if message.has_error() or id(message) in usable]
        _, metrics = self.wrapped.aggregate_train(server_round, shown)
        return MetricRecord(dict(metrics or {}))


@dataclass(frozen=True, eq=False)
class _Result:
    """Result of an aggregation. Without trust, the model is that before the round."""

    arrays: ArrayRecord
    trust: Tensor | None = None
    norms: Tensor | None = None
