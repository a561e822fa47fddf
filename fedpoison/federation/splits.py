"""Splits of the data: training, validation and test samples of a scenario, and the parts of its clients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from clients.training.samples import Samples
from fedpoison.data.partition import by_client
from fedpoison.errors import ScenarioError, code_errors
from fedpoison.rng import generator_for
from fedpoison.scenario.registries import read_partition


@lru_cache(maxsize=8)
def draw_training(name: str, samples: Samples, limit: int, reserved: int, seed: int) -> Samples:
    """Draw `limit` training samples, without those for validation. Federations with one seed share them.

    Args:
        name: Name of the data set.
        samples: Training samples of the data set.
        limit: Number of samples. 0: all that remain.
        reserved: Number of samples for validation.
        seed: Seed of the scenario.

    Raises:
        ScenarioError: the data set has too few samples.
    """
    if not reserved:
        return _draw(name, samples, limit, seed, "train_samples")
    if reserved >= len(samples):
        raise ScenarioError(
            f"validation_samples: got {reserved}, expected at most {len(samples) - 1} for {name}, so that "
            "training samples remain."
        )
    free = (~_validation_mask(len(samples), reserved, seed)).nonzero().flatten()
    if limit > len(free):
        raise ScenarioError(
            f"train_samples: got {limit}, expected at most {len(free)} for {name} without the {reserved} "
            "samples for validation; 0 uses all."
        )
    if limit not in (0, len(free)):
        free = free[torch.randperm(len(free), generator=generator_for(seed, "train_samples"))[:limit]]
    return samples[free]


def draw_validation(samples: Samples, count: int, seed: int) -> Samples:
    """Draw the `count` training samples for validation. They are none of those of `draw_training`."""
    return samples[_validation_mask(len(samples), count, seed)]


@lru_cache(maxsize=8)
def draw_test(name: str, samples: Samples, limit: int, seed: int) -> Samples:
    """Draw `limit` test samples, or return all for 0. Federations with one seed share them.

    Raises:
        ScenarioError: the data set has fewer samples.
    """
    return _draw(name, samples, limit, seed, "test_samples")


def _draw(name: str, samples: Samples, limit: int, seed: int, field: str) -> Samples:
    """Draw `limit` of the samples. The field of the scenario names the random stream."""
    if limit in (0, len(samples)):
        return samples
    if limit > len(samples):
        raise ScenarioError(f"{field}: got {limit}, expected at most {len(samples)} for {name}; 0 uses all.")
    return samples[torch.randperm(len(samples), generator=generator_for(seed, field))[:limit]]


def _validation_mask(size: int, count: int, seed: int) -> Tensor:
    """Draw the mask (size,) of the training samples for validation."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask[torch.randperm(size, generator=generator_for(seed, "validation_samples"))[:count]] = True
    return mask


@lru_cache(maxsize=8)
def partition_samples(
    partition: str, samples: Samples, clients: int, seed: int, stream: str
) -> Sequence[Tensor]:
    """Return each client's positions in `samples`. Federations with one seed share the parts.

    Raises:
        ScenarioError: the partition does not return one part per client.
    """
    rule = read_partition(partition).value
    groups = samples.clients if by_client(rule) else samples.labels
    if groups is None:
        raise ScenarioError(
            f"partition {partition}: the data set does not name the client of each sample; give its column "
            "or array of clients, or a folder with one file per client, or choose another partition."
        )
    with code_errors(f"partition {partition}"):
        parts = rule(groups, clients, generator_for(seed, stream))
        count = len(parts)
    if count != clients:
        raise ScenarioError(f"partition {partition}: got {count} parts, expected {clients}, one per client.")
    return parts
