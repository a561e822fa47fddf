"""Run one contender on one work in its own process: `python -m experiments.benchmarks.measure JSON`.

`engines` starts it. The last line of its output is a JSON object.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from experiments.benchmarks.clock import Clock, UnavailableError
from experiments.benchmarks.work import Work

GEMM = 2048
"""Rows and columns of the matrices that measure the peak of the machine."""


def main() -> None:
    """Run the contender that the argument names and print its result."""
    asked = json.loads(sys.argv[1])
    work = Work.from_fields(asked["work"])
    clock = Clock(asked["began"])
    try:
        result = CONTENDERS[asked["contender"]](work, asked["blocks"], clock)
    except UnavailableError as error:
        result = {"skipped": str(error)}
    print(json.dumps(result))


def local(work: Work, blocks: int, clock: Clock) -> dict[str, Any]:
    """Run our engine in one process."""
    return _ours(work, blocks, clock, "local", "fp32")


def local_bf16(work: Work, blocks: int, clock: Clock) -> dict[str, Any]:
    """Run our engine in one process, in mixed precision."""
    return _ours(work, blocks, clock, "local", "bf16")


def ray(work: Work, blocks: int, clock: Clock) -> dict[str, Any]:
    """Run our engine on Ray."""
    return _ours(work, blocks, clock, "ray", "fp32")


def _ours(work: Work, blocks: int, clock: Clock, engine: Any, precision: Any) -> dict[str, Any]:
    from typing import get_args  # noqa: PLC0415  # a contender's time includes only its own imports

    from fedpoison.engines.options import Engine  # noqa: PLC0415
    from fedpoison.simulation.run import simulate  # noqa: PLC0415

    if engine not in get_args(Engine):
        raise UnavailableError(f"this fedpoison has no engine {engine}")
    simulate(
        work.scenario(blocks * work.block, precision),
        engine=engine,
        device="cpu",
        on_round=lambda record: clock.tick(record.training.seconds.get("evaluate", 0.0)),
    )
    return clock.result(work.block)


def flower_idiomatic(work: Work, blocks: int, clock: Clock) -> dict[str, Any]:
    """Run Flower's simulation with a client like its tutorials'."""
    from experiments.benchmarks.flower_simulation import simulate  # noqa: PLC0415

    return simulate(work, blocks, clock, lean=False)


def flower_lean(work: Work, blocks: int, clock: Clock) -> dict[str, Any]:
    """Run Flower's simulation with a lean client."""
    from experiments.benchmarks.flower_simulation import simulate  # noqa: PLC0415

    return simulate(work, blocks, clock, lean=True)


def byzfl(work: Work, blocks: int, clock: Clock) -> dict[str, Any]:
    """Run ByzFL's framework, whose rounds are single steps."""
    if not work.one_step:
        raise UnavailableError("ByzFL is measured on rounds of one step")
    try:
        from experiments.benchmarks.byzfl_framework import train  # noqa: PLC0415
    except ImportError as error:
        raise UnavailableError(f"ByzFL is not installed: {error}") from None
    return train(work, blocks, clock)


def gemm(_work: Work, blocks: int, _clock: Clock) -> dict[str, Any]:
    """Measure the machine: float32 operations per second in products of large matrices, on all processors."""
    import torch  # noqa: PLC0415

    left, right = torch.randn(GEMM, GEMM), torch.randn(GEMM, GEMM)
    seconds = []
    for _ in range(4 * blocks + 1):
        began = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - began)
    return {"flops": 2 * GEMM**3 / statistics.median(seconds[1:]), "threads": torch.get_num_threads()}


CONTENDERS: dict[str, Callable[[Work, int, Clock], dict[str, Any]]] = {
    "local": local,
    "local-bf16": local_bf16,
    "ray": ray,
    "flower-idiomatic": flower_idiomatic,
    "flower-lean": flower_lean,
    "byzfl": byzfl,
    "gemm": gemm,
}


if __name__ == "__main__":
    main()
