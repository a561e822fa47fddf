"""Replay: aggregate the saved updates of a round with other strategies."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.training.parameters import Buffers
from fedpoison.errors import RunError, ScenarioError, code_errors
from fedpoison.federation.aggregation import RuleAggregator
from fedpoison.federation.buffers import estimate_buffers
from fedpoison.federation.evaluation import RoundEvaluator, evaluate
from fedpoison.federation.federation import Federation
from fedpoison.federation.workers import Workers
from fedpoison.results import metrics as measures
from fedpoison.results.defects import Defects
from fedpoison.results.display import Displayed
from fedpoison.results.history import History
from fedpoison.results.metrics import Counts
from fedpoison.results.round import GroupRecord, Round, Training
from fedpoison.results.run_frame import measured
from fedpoison.results.store import StoredRun
from fedpoison.scenario.aggregation import FlowerStrategy, build_aggregation
from fedpoison.simulation.saved_updates import SavedUpdates
from strategies.base import Aggregate, AggregationRule, InputError, PreconditionError, checked_result
from strategies.kernels.buffers import aggregate_buffer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OnAggregate = Callable[[str, int, int], object]


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """Result of one strategy on the updates of the round."""

    strategy: str
    record: Round
    """Evaluation of the strategy's global model, and its trust per client."""
    weights: Tensor
    """Weights of the global model, (d,)."""
    influence: pd.DataFrame | None
    """Influence of each client (rows) on each class (columns; the last one is `all`): the accuracy minus the
    accuracy of the aggregate without this client. NaN: the rule is not defined without the client. None: not
    requested."""
    from_empty_state: bool
    """Whether the rule uses earlier rounds, which are missing here. It starts as in its first round."""

    @property
    def trust(self) -> Mapping[int, float]:
        """Weight of each client's update."""
        return self.record.training.trust or {}

    @property
    def rejected(self) -> list[int]:
        """Clients that the rule rejected, ascending."""
        return sorted(measures.rejected(dict(self.trust)))

    @property
    def rates(self) -> tuple[float, float]:
        """Rejected shares of the attacking and of the honest clients. NaN: there are none."""
        return measures.trust_rates(dict(self.trust), self.record.training.acting)


@dataclass(frozen=True, eq=False, repr=False)
class Replay(Displayed):
    """One round of a run under several strategies."""

    history: History
    saved: SavedUpdates
    results: Sequence[ReplayResult]

    @property
    def actual(self) -> Round | None:
        """Record of the round in the run. None: the round was not evaluated."""
        return next((record for record in self.history.records if record.round == self.saved.round), None)

    @property
    def lost(self) -> dict[int, str]:
        """Sampled clients whose reply was unusable in the round, with the reason. They have no update."""
        used = set(self.saved.nodes.tolist())
        sampled = self.history.scenario.selection.sample(self.saved.round)
        reasons = {} if self.actual is None else self.actual.training.dropped
        unknown = "its reason is not known, because the round was not evaluated"
        return {client_id: reasons.get(client_id, unknown) for client_id in sampled if client_id not in used}

    @property
    def remarks(self) -> list[str]:
        """Unusable replies in the round, in one line."""
        defects = Defects(dropped=Counter(self.lost.values()))
        return [f"round {self.saved.round}: {note}" for note in defects.notes]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per strategy: measures after the round, rejected shares, and class accuracies.

        `true_positive_rate` and `false_positive_rate` are the rejected shares of the attacking and of the
        honest clients. `class_3` is the accuracy of class 3.
        """
        rows = [
            {
                "strategy": result.strategy,
                **dict(zip(("true_positive_rate", "false_positive_rate"), result.rates, strict=True)),
                **measured(result.record),
            }
            for result in self.results
        ]
        return pd.DataFrame(rows).set_index("strategy")

    @property
    def headline(self) -> str:
        """Round and run."""
        return f"round {self.saved.round} of {self.history.title}, {len(self.saved.nodes)} updates"

    def plot(self) -> Figure:
        """Draw the heat map of the accuracy of each class (columns) with each strategy (rows)."""
        from fedpoison.plotting import strategy_heat_map  # noqa: PLC0415  # matplotlib takes a second to import

        classes = self.to_frame().filter(like="class_").drop(columns="worst_class_accuracy")
        labels = classes.set_axis(self.history.class_labels, axis=1)
        return strategy_heat_map(100 * labels, self.headline)


def replay(
    run: str | Path,
    server_round: int,
    strategies: Sequence[str],
    *,
    influence: bool = True,
    data_dir: str | Path | None = None,
    workers: int | None = None,
    on_aggregate: OnAggregate | None = None,
) -> Replay:
    """Aggregate the saved updates of a round with other strategies, and evaluate the results.

    No client trains again. A rule that uses earlier rounds starts without them, so its result may differ
    from its result in a complete run.

    Args:
        run: folder of the run.
        server_round: round whose updates are saved.
        strategies: specs. Default of `byzantine` in each part: the number that the run's strategy tolerates.
        influence: whether to aggregate again without each client in turn. Default: True.
        data_dir: folder of the data sets, as for `simulate`.
        workers: number of threads for the evaluation. Default: one per CPU.
        on_aggregate: callback after each aggregate: strategy, its aggregates so far, and their total.

    Raises:
        ScenarioError: a strategy is unknown, or is a strategy of Flower.
        RunError: the updates were not saved, or are too few for a rule.
        DataError: the data set is not available.
    """
    folder = Path(run)
    history = StoredRun(folder).history
    saved = SavedUpdates.read(folder, server_round)
    scenario = history.scenario
    rules = {spec: _rule(spec, scenario.byzantine) for spec in strategies}
    federation = Federation.load(scenario, data_dir=data_dir)
    with Workers(federation.model, scenario.training, workers) as pool:
        replayer = _Replayer(federation, saved, pool, on_aggregate)
        results = [replayer.replay(spec, rule, influence=influence) for spec, rule in rules.items()]
    return Replay(history, saved, results)


class _Replayer:
    """Replayer of one round. It evaluates equal aggregates once."""

    def __init__(
        self, federation: Federation, saved: SavedUpdates, workers: Workers, on_aggregate: OnAggregate | None
    ) -> None:
        self._on_aggregate = on_aggregate or (lambda *_: None)
        goal = federation.goal
        goal = goal if goal is None or goal.learned is None else None  # learned triggers are not saved
        self._evaluator = RoundEvaluator(federation, goal, workers)
        self._federation = federation
        self._saved = saved
        self._workers = workers
        self._evaluated: dict[bytes, Counts] = {}
        self._root_update: Callable[[], Tensor] | None = None

    def replay(self, spec: str, rule: AggregationRule, *, influence: bool) -> ReplayResult:
        saved = self._saved
        with code_errors(f"round {saved.round}, strategy {spec}"):
            try:
                aggregate = self._aggregate(rule, slice(None))
            except (PreconditionError, InputError) as error:
                raise RunError(f"{spec}, round {saved.round}: {error}") from None
        removed = range(len(saved.nodes) if influence else 0)
        self._on_aggregate(spec, 1, 1 + len(removed))
        weights = saved.model + aggregate.update
        buffers = self._buffers(weights, aggregate.trust, slice(None))
        trust = dict(zip(saved.nodes.tolist(), aggregate.trust.tolist(), strict=True))
        record = self._evaluator(saved.round, self._training(trust), weights, buffers=buffers)
        self._evaluated[_digest(weights, buffers)] = record.counts
        return ReplayResult(
            strategy=spec,
            record=record,
            weights=weights,
            influence=self._influence(spec, rule, record.counts, removed) if influence else None,
            from_empty_state=saved.round > 1 and "history" in rule.card.needs,
        )

    def _aggregate(self, rule: AggregationRule, rows: Tensor | slice) -> Aggregate:
        """Aggregate these rows: all of them, or those in a mask (n,)."""
        saved = self._saved
        client_ids = tuple(saved.nodes[rows].tolist())
        aggregator = RuleAggregator(rule, self._federation, self._workers)
        aggregator.buffers = saved.model_buffers or self._federation.initial_buffers
        context = aggregator.context(saved.round, saved.model, client_ids)
        if self._root_update is None and context.root_update is not None:
            self._root_update = functools.cache(context.root_update)
        updates, context = saved.updates[rows], replace(context, root_update=self._root_update)
        return checked_result(rule, rule(updates, saved.weights[rows], context), updates)

    def _influence(self, spec: str, rule: AggregationRule, confusion: Counts, removed: range) -> pd.DataFrame:
        """Return the influence of clients (rows) on classes, given the confusion matrix with all clients."""
        saved = self._saved
        whole = _accuracies(confusion)
        rows = []
        for row in removed:
            others = torch.ones_like(saved.acting)
            others[row] = False
            try:
                aggregate = self._aggregate(rule, others)
            except (PreconditionError, InputError):
                rows.append(np.full_like(whole, np.nan))
            else:
                weights = saved.model + aggregate.update
                buffers = self._buffers(weights, aggregate.trust, others)
                rows.append(whole - _accuracies(self._evaluate(weights, buffers)))
            self._on_aggregate(spec, row + 2, 1 + len(removed))
        client_ids = pd.Index(saved.nodes.tolist(), name="node")
        return pd.DataFrame(rows, index=client_ids, columns=[*range(len(confusion)), "all"])

    def _buffers(self, weights: Tensor, trust: Tensor, rows: Tensor | slice) -> Buffers:
        """Return the buffers of the aggregate of these rows, given the trust in them."""
        federation, saved = self._federation, self._saved
        if not saved.buffers:
            if not federation.initial_buffers:
                return {}
            return estimate_buffers(weights, federation.initial_buffers, federation.root, self._workers)
        return {
            name: aggregate_buffer(values[rows], trust, saved.model_buffers[name])
            for name, values in saved.buffers.items()
        }

    def _evaluate(self, weights: Tensor, buffers: Buffers) -> Counts:
        key = _digest(weights, buffers)
        if key not in self._evaluated:
            self._evaluated[key] = evaluate(weights, self._federation.test, self._workers, buffers)[0]
        return self._evaluated[key]

    def _training(self, trust: dict[int, float]) -> Training:
        saved = self._saved
        threat, attacking = self._federation.scenario.threat, saved.attacking_clients
        return Training(
            sampled=saved.nodes.tolist(),
            malicious=saved.nodes[saved.malicious].tolist(),
            groups=[GroupRecord(attack=threat, nodes=attacking, acted=True)] if attacking else [],
            trust=trust,
        )


def _rule(spec: str, byzantine: int) -> AggregationRule:
    rule = build_aggregation(spec, byzantine=byzantine)
    if isinstance(rule, FlowerStrategy):
        raise ScenarioError(f"{spec}: strategies of Flower cannot be replayed; choose a built-in rule.")
    return rule


def _accuracies(confusion: Counts) -> NDArray[np.float64]:
    """Return the accuracy of each class and, last, of the whole test set, (k + 1,)."""
    return np.append(measures.per_class_accuracy(confusion), measures.accuracy(confusion))


def _digest(weights: Tensor, buffers: Buffers) -> bytes:
    digest = blake2b(weights.numpy().tobytes())
    for value in buffers.values():
        digest.update(value.numpy().tobytes())
    return digest.digest()
