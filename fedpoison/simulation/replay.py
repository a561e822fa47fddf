"""One round again under other rules: what would Krum have made of the same updates?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedpoison.errors import RunError, ScenarioError
from fedpoison.federation.aggregation import RuleAggregator
from fedpoison.federation.evaluation import Evaluator, evaluate
from fedpoison.federation.federation import Federation
from fedpoison.federation.workers import Workers
from fedpoison.results import metrics as measures
from fedpoison.results.history import History
from fedpoison.results.metrics import Counts
from fedpoison.results.round import GroupRecord, Round, Training
from fedpoison.results.store import StoredRun
from fedpoison.scenario.aggregation import FlowerStrategy, build_aggregation
from fedpoison.simulation.saved_updates import SavedUpdates
from strategies.base import Aggregate, AggregationRule, InputError, PreconditionError


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """What one strategy makes of the updates of the round."""

    strategy: str
    record: Round
    """The global model that it gives, evaluated, and whom it trusted."""
    weights: Tensor
    """That model's weights, (d,)."""
    influence: pd.DataFrame | None
    """What each client (rows) did for each class (columns, the last one `all`): the accuracy minus that of
    the aggregate without this client. NaN where the rule is not defined without it; None if not asked for."""
    from_empty_state: bool
    """Whether the rule remembers earlier rounds, which are missing here: it starts as in its first round."""

    @property
    def trust(self) -> Mapping[int, float]:
        """The weight that each node's update got."""
        return self.record.training.trust or {}

    @property
    def rejected(self) -> list[int]:
        """The nodes that the rule rejected, ascending."""
        return sorted(measures.rejected(dict(self.trust)))

    @property
    def rates(self) -> tuple[float, float]:
        """The shares of the attacking and of the honest nodes that it rejected; NaN where there are none."""
        return measures.trust_rates(dict(self.trust), self.record.training.acting)


@dataclass(frozen=True, eq=False)
class Replay:
    """One round of a run under several strategies."""

    history: History
    saved: SavedUpdates
    results: Sequence[ReplayResult]

    @property
    def actual(self) -> Round | None:
        """What happened in that round; None where it was not evaluated."""
        return next((record for record in self.history.records if record.round == self.saved.round), None)


def replay(
    run: Path,
    server_round: int,
    strategies: Sequence[str],
    *,
    influence: bool = True,
    data_dir: Path | None = None,
    workers: int | None = None,
) -> Replay:
    """Aggregate the kept updates of a round under other strategies, and evaluate what comes out.

    Nothing is trained but what a rule trains itself, on root data. A rule that remembers starts with nothing
    to remember, so from the second round on it may differ from what it would have done in a run of its own.

    Args:
        run: the run's folder.
        server_round: a round whose updates it keeps.
        strategies: specs; each part tolerates what the run's does, unless the spec says otherwise.
        influence: whether to aggregate again without each client in turn.
        data_dir: as for `simulate`.
        workers: threads for the evaluation.

    Raises:
        ScenarioError: a strategy is unknown, or one of Flower's own.
        RunError: the updates were not kept, or are too few for a rule.
        DataError: the data set cannot be had.
    """
    history = StoredRun(run).history
    saved = SavedUpdates.read(run, server_round)
    scenario = history.scenario
    rules = {spec: _rule(spec, scenario.byzantine) for spec in strategies}
    federation = Federation.load(scenario, data_dir=data_dir)
    with Workers(federation.model, scenario.training, workers) as pool:
        bench = _Replayer(federation, saved, pool)
        results = [bench.replayed(spec, rule, influence=influence) for spec, rule in rules.items()]
    return Replay(history, saved, results)


class _Replayer:
    """Aggregates and evaluates the updates of one round; equal aggregates are evaluated once."""

    def __init__(self, federation: Federation, saved: SavedUpdates, workers: Workers) -> None:
        goal = federation.goal
        self._goal = None if goal is not None and goal.learned is not None else goal  # triggers are not kept
        self._evaluator = Evaluator(federation.test, self._goal, workers)
        self._federation = federation
        self._kept = saved
        self._workers = workers
        self._counted: dict[bytes, Counts] = {}
        self._root_update: Callable[[], Tensor] | None = None

    def replayed(self, spec: str, rule: AggregationRule, *, influence: bool) -> ReplayResult:
        saved = self._kept
        try:
            aggregate = self._aggregate(rule, slice(None))
        except (PreconditionError, InputError) as error:
            raise RunError(f"{spec}, round {saved.round}: {error}") from None
        weights = saved.model + aggregate.update
        evaluation = self._evaluator(weights)
        self._counted[_digest(weights)] = evaluation.confusion
        trust = dict(zip(saved.nodes.tolist(), aggregate.trust.tolist(), strict=True))
        return ReplayResult(
            strategy=spec,
            record=Round.from_evaluation(saved.round, evaluation, self._goal, self._training(trust)),
            weights=weights,
            influence=self._influence(rule, evaluation.confusion) if influence else None,
            from_empty_state=saved.round > 1 and "history" in rule.card.needs,
        )

    def _aggregate(self, rule: AggregationRule, rows: Tensor | slice) -> Aggregate:
        """Return what the rule makes of these rows, all or those that a mask (n,) tells."""
        saved = self._kept
        client_ids = tuple(saved.nodes[rows].tolist())
        context = RuleAggregator(rule, self._federation, self._workers).context(
            saved.round, saved.model, client_ids
        )
        if self._root_update is None and context.root_update is not None:
            self._root_update = functools.cache(context.root_update)
        return rule(saved.updates[rows], saved.weights[rows], replace(context, root_update=self._root_update))

    def _influence(self, rule: AggregationRule, everybody: Counts) -> pd.DataFrame:
        """Return each node's influence on each class: a row a node."""
        saved = self._kept
        whole = _shares(everybody)
        rows = []
        for row in range(len(saved.nodes)):
            others = torch.ones_like(saved.acting)
            others[row] = False
            try:
                weights = saved.model + self._aggregate(rule, others).update
            except (PreconditionError, InputError):
                rows.append(np.full_like(whole, np.nan))
                continue
            rows.append(whole - _shares(self._count(weights)))
        client_ids = pd.Index(saved.nodes.tolist(), name="node")
        return pd.DataFrame(rows, index=client_ids, columns=[*range(len(everybody)), "all"])

    def _count(self, weights: Tensor) -> Counts:
        key = _digest(weights)
        if key not in self._counted:
            self._counted[key] = evaluate(weights, self._federation.test, self._workers)[0]
        return self._counted[key]

    def _training(self, trust: dict[int, float]) -> Training:
        saved = self._kept
        group = GroupRecord(
            attack=self._federation.scenario.threat, nodes=saved.attacking_clients, acted=True
        )
        return Training(
            sampled=saved.nodes.tolist(),
            malicious=saved.nodes[saved.malicious].tolist(),
            groups=[group] if saved.attacking_clients else [],
            trust=trust,
        )


def _rule(spec: str, byzantine: int) -> AggregationRule:
    rule = build_aggregation(spec, byzantine=byzantine)
    if isinstance(rule, FlowerStrategy):
        raise ScenarioError(f"{spec}: Flower's own strategies cannot be replayed; choose one of ours.")
    return rule


def _shares(confusion: Counts) -> NDArray[np.float64]:
    """Return the accuracy of each class and, last, of the whole test set, (k + 1,)."""
    return np.append(measures.per_class_accuracy(confusion), measures.accuracy(confusion))


def _digest(weights: Tensor) -> bytes:
    return blake2b(weights.numpy().tobytes()).digest()
