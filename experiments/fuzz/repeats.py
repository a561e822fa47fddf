"""Second runs of a scenario that must agree with the first: in other batches, continued, stacked, clean."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from flwr.serverapp import Grid
from torch import Tensor

from clients.attacks.base import crafts_updates
from clients.attacks.composite import parts_of
from clients.training.parameters import ModelState
from fedpoison.devices import CPU
from fedpoison.engines.local import device_grid, local_grid
from fedpoison.engines.options import EngineOptions
from fedpoison.errors import FedPoisonError
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import Update
from fedpoison.federation.server import run_server, suppress_flower_logs
from fedpoison.federation.workers import Workers
from fedpoison.results.history import History
from fedpoison.results.round import Round
from fedpoison.results.store import StoredRun
from fedpoison.simulation.run import run_federation, simulate_clean

Repeat = Callable[[Federation, History], Iterator[str]]
"""Function that runs a federation again and yields a text for each difference from its history."""

TAMED = 1.0
"""Largest learning rate at which rounding does not grow to a difference in one round."""


class _StoppedError(BaseException):
    """Stops a run after a round, as Ctrl-C does."""


def other_batches(federation: Federation, history: History) -> Iterator[str]:
    """Run with three workers and client batches of two clients. The bits are the same."""
    with TemporaryDirectory(prefix="fedpoison-fuzz-") as scratch:
        options = EngineOptions(workers=3, clients_per_task=2, device="cpu")
        again = run_federation(_fresh(federation), options, out=Path(scratch), notify=_ignore)
        yield from _differences("with other batches", history, again)


def interrupted(federation: Federation, history: History) -> Iterator[str]:
    """Stop a run after its first round and continue it. The bits are the same."""

    def stop(record: Round) -> None:
        if record.round:
            raise _StoppedError

    options = EngineOptions(workers=1, device="cpu")
    with TemporaryDirectory(prefix="fedpoison-fuzz-") as scratch:
        out = Path(scratch)
        with contextlib.suppress(_StoppedError):
            run_federation(
                _fresh(federation), options, out=out, on_round=stop, checkpoint_every=1, notify=_ignore
            )
        again = run_federation(_fresh(federation), options, out=out, checkpoint_every=1, notify=_ignore)
        yield from _differences("after an interruption", history, again)


def stacked(federation: Federation, _: History) -> Iterator[str]:
    """Train the clients of the first round in a stack. The updates are the same up to rounding."""
    scenario = federation.scenario
    crafted = any(
        crafts_updates(part) for group in scenario.attackers for part in parts_of(group.built_attack)
    )
    if crafted or scenario.lr > TAMED or scenario.precision != "fp32":
        return
    one = Federation(scenario.replace(rounds=1), federation.dataset)
    options = EngineOptions(workers=1, device="cpu")
    with suppress_flower_logs():
        with local_grid(one, options) as (grid, workers):
            alone = _first_updates(one, grid, workers)
        with device_grid(one, CPU, options) as (device, workers):
            together = _first_updates(one, device, workers)
    if len(alone) != len(together):
        yield f"stacked training: got {len(together)} updates, expected {len(alone)}"
        return
    largest = alone.abs().max().item() if alone.numel() else 0.0
    error = (alone - together).abs().max().item() if alone.numel() else 0.0
    if not error <= 1e-3 * largest + 1e-5:
        yield f"stacked training: got a difference of {error:.3g}, expected rounding of {largest:.3g}"


def clean(_: Federation, history: History) -> Iterator[str]:
    """Run the clean run, and compute the damage."""
    try:
        reference = simulate_clean(history.scenario, EngineOptions(workers=1, device="cpu"), notify=_ignore)
    except FedPoisonError:
        return  # a clean run can be impossible, too
    json.dumps(history.summary(reference), allow_nan=False)
    if not reference.scenario.clean:
        yield "the clean run has an attack"


REPEATS: tuple[Repeat, ...] = (other_batches, interrupted, stacked, clean)
EVERY = 3
"""Interval between scenarios that run again."""


def repeats(index: int) -> Iterable[Repeat]:
    """Return the second runs of the scenario with this number: one for every third scenario, in turn."""
    turn, rest = divmod(index, EVERY)
    return [REPEATS[turn % len(REPEATS)]] if rest == 0 else []


def _fresh(federation: Federation) -> Federation:
    """Return the federation without anything that its first run left in it."""
    return Federation(federation.scenario.model_copy(), federation.dataset)


def _first_updates(federation: Federation, grid: Grid, workers: Workers) -> Tensor:
    found: list[Tensor] = []

    def keep(_round: int, _model: ModelState, _replies: Sequence[Update], updates: Tensor) -> None:
        found.append(updates.clone())

    with contextlib.suppress(FedPoisonError):  # the aggregation can stop the round after the updates
        run_server(federation, grid, workers, _ignore, keep)
    return found[0] if found else torch.zeros(0)


def _differences(case: str, history: History, again: History) -> Iterator[str]:
    if list(map(_content, history.records)) != list(map(_content, again.records)):
        yield f"{case}: the records differ"
    weights = [StoredRun(Path(each.path)).weights() for each in (history, again) if each.path]
    if len(weights) == 2 and not all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0]):
        yield f"{case}: the models differ"


def _content(record: Round) -> object:
    content = json.loads(record.to_json())
    del content["training"]["seconds"]
    return content


def _ignore(_: object) -> None:
    """Do nothing with a record or a notice."""
