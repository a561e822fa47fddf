"""The server's side of a run, shared by all engines."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid

from clients.training.parameters import ModelState
from fedpoison.errors import AggregationError, code_errors
from fedpoison.federation.adversary import AdversaryGrid
from fedpoison.federation.checkpoints import Checkpoints, RunningServer
from fedpoison.federation.evaluation import RoundEvaluator
from fedpoison.federation.federation import Federation
from fedpoison.federation.grids import discover_clients
from fedpoison.federation.messages import CLIENTS, from_record, to_record
from fedpoison.federation.server_strategy import OnUpdates, SimulationStrategy
from fedpoison.federation.unrecorded import Unrecorded
from fedpoison.federation.workers import Workers
from fedpoison.results.round import OnRound, Training


def run_server(
    federation: Federation,
    grid: Grid,
    workers: Workers,
    on_round: OnRound,
    on_updates: OnUpdates | None = None,
    *,
    checkpoints: Checkpoints | None = None,
) -> ModelState:
    """Run all rounds of the scenario on the clients of `grid` and return the final global model.

    Args:
        federation: Federation of the scenario.
        grid: Grid with the clients.
        workers: Trainers for evaluation and for rules that train. The rule runs on their device.
        on_round: Called with the record of each evaluated round. The first is round 0, the initial model.
        on_updates: Called with the updates of each round before the aggregation.
        checkpoints: Saves the state of the run, and contains the state to continue from. Default: none.

    Raises:
        EngineError: the grid does not have the scenario's clients.
        RunError: too few usable updates for the rule, no usable reply of an honest client in most rounds, or
            an exception in the code of an attack, the strategy or a client.
    """
    evaluator = RoundEvaluator(federation, federation.goal, workers)
    client_ids = discover_clients(grid, federation.scenario.clients)
    strategy = SimulationStrategy(federation, client_ids, workers, on_updates)
    adversary = AdversaryGrid(grid, federation, client_ids, strategy.known_rule)

    unrecorded = Unrecorded()
    running = RunningServer(federation, grid, client_ids, strategy, adversary, unrecorded)
    if checkpoints is not None and checkpoints.start is not None:
        running.restore(checkpoints.start)

    def after_round(flower_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        server_round = flower_round + strategy.rounds_done
        if server_round and not flower_round:
            return None  # the record of this round is that of the checkpoint
        metrics = evaluate(server_round, arrays)
        if 2 * unrecorded.rounds_without_update > federation.scenario.rounds:
            raise _nobody_trained(unrecorded.rounds_without_update, federation.scenario.rounds, strategy)
        if checkpoints is not None and 0 < server_round < federation.scenario.rounds:
            checkpoints.after_round(server_round, lambda: running.state(server_round))
        return metrics

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        training = strategy.report if server_round else Training()
        if server_round and adversary.seconds:
            training.seconds["train"] -= adversary.seconds["attack"]  # the server waited for both
            training.seconds.update(adversary.seconds)
        unrecorded.add(training, adversary.effects)
        if not federation.scenario.evaluates(server_round):
            return None
        unrecorded.move_to(training)
        began = time.perf_counter()
        weights = from_record(arrays, federation.layout)
        with code_errors(f"round {server_round}, evaluation of the model {federation.scenario.model}"):
            record = evaluator(server_round, training, weights, adversary.triggers, buffers=strategy.buffers)
        training.seconds["evaluate"] = time.perf_counter() - began
        on_round(record)
        return MetricRecord(
            {"accuracy": record.accuracy, "worst-class-accuracy": record.worst_class_accuracy}
        )

    strategy.start(
        grid=adversary,
        initial_arrays=to_record(strategy.model, federation.layout),
        num_rounds=federation.scenario.rounds - strategy.rounds_done,
        timeout=float("inf"),
        train_config=ConfigRecord({CLIENTS: federation.scenario.clients}),
        evaluate_fn=after_round,
    )
    return ModelState(strategy.model.cpu(), strategy.buffers)


def _nobody_trained(lost: int, rounds: int, strategy: SimulationStrategy) -> AggregationError:
    reasons = ", ".join(dict.fromkeys(strategy.report.dropped.values()))
    return AggregationError(
        f"no honest reply was usable in {lost} of {rounds} rounds ({reasons}), so honest clients did not "
        "train the model in most rounds; lower the learning rate, or change the attack or the strategy."
    )


@contextmanager
def suppress_flower_logs() -> Iterator[None]:
    """Suppress Flower's messages below the level of a warning, and a needless warning, within the context."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.WARNING)
    logger.addFilter(_is_useful)
    try:
        yield
    finally:
        logger.removeFilter(_is_useful)
        logger.setLevel(level)


def _is_useful(record: logging.LogRecord) -> bool:
    """Return whether a message is not about the evaluation by clients, which fedpoison never asks for."""
    return "fraction_evaluate is set to 0" not in record.getMessage()
