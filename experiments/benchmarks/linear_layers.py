"""Training of linear layers: `python -m experiments.benchmarks.linear_layers` prints a Markdown table.

A client trains for one epoch on 300 samples of the size of MNIST, with and without autograd, in turns, in one
thread. Both end in the same bits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from statistics import median
from unittest.mock import patch

import torch

from clients.training.linear_stack import LinearStack
from clients.training.local_training import LocalTraining
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.models import MODELS

NAMES = ("mlp-small", "mlp", "logistic")
BATCHES = (8, 16, 32)
SAMPLES = 300
SHAPE = (1, 28, 28)
CLASSES = 10


def table(names: Sequence[str], batch_sizes: Sequence[int], repeats: int) -> Iterable[str]:
    """Yield the lines of a table: microseconds per step, medians of `repeats`, and their ratio."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(SAMPLES, *SHAPE, generator=generator)
    samples = Samples(images, torch.arange(SAMPLES) % CLASSES, CLASSES)
    yield "| model | batch | microseconds per step | with autograd | ratio |"
    yield "|---|---:|---:|---:|---:|"
    for name in names:
        for size in batch_sizes:
            trainer = Trainer(MODELS[name](SHAPE, CLASSES), LocalTraining(batch_size=size))
            start = trainer.weights()
            direct, autograd = [], []
            for _ in range(repeats + 1):  # the first one is a warm-up
                direct.append(seconds(trainer, start, samples))
                with patch.object(LinearStack, "of", return_value=None):
                    autograd.append(seconds(trainer, start, samples))
            ours, theirs = (
                1e6 * median(each[1:]) / trainer.training.steps_for(SAMPLES) for each in (direct, autograd)
            )
            yield f"| `{name}` | {size} | {ours:.0f} | {theirs:.0f} | {theirs / ours:.2f} |"


def seconds(trainer: Trainer, start: torch.Tensor, samples: Samples, epochs: int = 5) -> float:
    """Return the duration of one epoch from the weights `start` (d,), as the mean of several."""
    began = time.perf_counter()
    for _ in range(epochs):
        trainer.load(start)
        trainer.fit(samples, torch.Generator().manual_seed(1))
    return (time.perf_counter() - began) / epochs


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="measurements per cell; default: 9")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for line in table(NAMES, BATCHES, given.repeats):
        print(line, flush=True)


if __name__ == "__main__":
    main()
