"""Time of a round by phase on the `local` engine, with one worker and one thread."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

import clients.training.trainer
import fedpoison.engines.base
import fedpoison.federation.aggregation
import fedpoison.federation.evaluation
import fedpoison.federation.server_strategy
from clients.training.linear_stack import LinearStack
from clients.training.trainer import Trainer
from experiments.benchmarks.work import Work
from fedpoison.errors import ScenarioError
from fedpoison.federation.aggregation import RuleAggregator
from fedpoison.federation.federation import Federation
from fedpoison.results.round import Round
from fedpoison.scenario.aggregation import FlowerStrategy
from fedpoison.simulation.run import run_in_process

MACHINERY = ("wire", "data", "matrix", "measures", "rest")
"""Phase outside training, aggregation and evaluation."""


class Phases:
    """Sum of the processor time of functions over all threads. Nested functions count separately."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open: list[float] = []

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, whose time is added to the phase `name`."""

        def run(*arguments: Any, **keywords: Any) -> Any:
            self._open.append(0.0)
            began = time.process_time()
            try:
                return function(*arguments, **keywords)
            finally:
                took = time.process_time() - began
                self.seconds[name] += took - self._open.pop()
                if self._open:
                    self._open[-1] += took

        return run


@contextmanager
def observed(found: Phases, rule: type) -> Iterator[None]:
    """Time the parts of the local engine and this rule during the context; for one worker."""
    parts: list[tuple[str, Any, str]] = [
        ("forward", Trainer, "loss"),
        ("backward", torch.autograd, "grad"),
        ("gradients of linear layers", LinearStack, "__call__"),
        ("step", clients.training.trainer, "sgd_step"),
        ("data", Trainer, "fit"),
        ("data", Trainer, "load"),
        ("data", Trainer, "weights"),
        ("wire", fedpoison.engines.base, "from_record"),
        ("wire", fedpoison.engines.base, "train_reply"),
        ("wire", fedpoison.federation.server_strategy, "read_reply"),
        ("matrix", RuleAggregator, "aggregate"),
        ("rule", rule, "__call__"),
        ("measures", fedpoison.federation.server_strategy, "update_statistics"),
        ("evaluation", fedpoison.federation.evaluation.Evaluator, "__call__"),
    ]
    with ExitStack() as patches:
        for name, owner, attribute in parts:
            timed = found.timed(name, getattr(owner, attribute))
            patches.enter_context(patch.object(owner, attribute, timed))
        yield


def phases(work: Work, *, rounds: int) -> Iterable[str]:
    """Yield the lines of a table: processor time of a round by phase, after a warm-up round."""
    torch.set_num_threads(1)
    found, marks = Phases(), []

    def on_round(_: Round) -> None:
        marks.append((time.process_time(), dict(found.seconds)))

    federation = Federation.load(work.scenario((rounds + 1) * work.block))
    if isinstance(federation.scenario.aggregation, FlowerStrategy):
        raise ScenarioError(
            f"{federation.scenario.strategy}: expected a strategy of fedpoison, not Flower's."
        )
    with observed(found, type(federation.scenario.aggregation)):
        run_in_process(federation, on_round, workers=1)
    (began, before), (ended, after) = marks[1], marks[-1]
    count = (len(marks) - 2) * work.block
    total = (ended - began) / count
    spent = {name: (after[name] - before.get(name, 0.0)) / count for name in after}
    spent["rest"] = total - sum(spent.values())
    yield f"### {work.title}: processor time of a round"
    yield ""
    yield "| phase | ms | share |"
    yield "|---|---|---|"
    for name, seconds in sorted(spent.items(), key=lambda pair: -pair[1]):
        yield f"| {name} | {1e3 * seconds:.1f} | {seconds / total:.1%} |"
    machinery = sum(spent.get(name, 0.0) for name in MACHINERY)
    yield f"| machinery: {', '.join(MACHINERY)} | {1e3 * machinery:.1f} | {machinery / total:.1%} |"
    yield ""
