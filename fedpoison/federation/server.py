"""The server's side of a run, the same on every engine."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid
from torch import Tensor

from fedpoison.federation.adversary import AdversaryGrid
from fedpoison.federation.evaluation import Evaluator
from fedpoison.federation.federation import Federation
from fedpoison.federation.grids import discover_clients
from fedpoison.federation.messages import from_record, to_record
from fedpoison.federation.server_strategy import OnUpdates, SimulationStrategy
from fedpoison.federation.workers import Workers
from fedpoison.results.round import OnRound, Round, Training


def run_server(
    federation: Federation,
    grid: Grid,
    workers: Workers,
    on_round: OnRound,
    on_updates: OnUpdates | None = None,
) -> Tensor:
    """Run every round of the scenario on the nodes of `grid` and return the final global weights (d,).

    Args:
        federation: the scenario's nodes.
        grid: where they are.
        workers: trainers for evaluation and for rules that train. Where they lie, the rule computes.
        on_round: called with the record of each round that is evaluated, the initial model's (round 0) first.
        on_updates: called with the updates of each round, before they are aggregated.

    Raises:
        EngineError: the grid does not have the scenario's nodes.
        RunError: too few usable updates are left for the rule.
    """
    goal = federation.goal
    evaluator = Evaluator(federation.test, goal, workers)
    client_ids = discover_clients(grid, federation.scenario.clients)
    strategy = SimulationStrategy(federation, client_ids, workers, on_updates)
    adversary = AdversaryGrid(grid, federation, client_ids, strategy.known_rule)

    spent: defaultdict[str, float] = defaultdict(float)

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        training = strategy.report if server_round else Training()
        for phase, seconds in (training.seconds | (adversary.seconds if server_round else {})).items():
            spent[phase] += seconds
        if not federation.scenario.evaluates(server_round):
            return None
        began = time.perf_counter()
        evaluation = evaluator(from_record(arrays, federation.layout), adversary.triggers)
        training.seconds.update(spent, evaluate=time.perf_counter() - began)
        spent.clear()
        record = Round.from_evaluation(server_round, evaluation, goal, training)
        on_round(record)
        return MetricRecord(
            {"accuracy": record.accuracy, "worst-class-accuracy": record.worst_class_accuracy}
        )

    strategy.start(
        grid=adversary,
        initial_arrays=to_record(strategy.model, federation.layout),
        num_rounds=federation.scenario.rounds,
        timeout=float("inf"),
        evaluate_fn=evaluate,
    )
    return strategy.model.cpu()


@contextmanager
def suppress_flower_logs() -> Iterator[None]:
    """Hold back what Flower reports of itself, warnings excepted."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
