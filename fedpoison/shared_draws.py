"""What fleets of one seed draw alike: they share it in memory."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from clients.samples import Samples
from fedpoison.errors import ScenarioError
from fedpoison.registries import partitions
from fedpoison.specs import build
from fedpoison.streams import stream


@lru_cache(maxsize=8)
def drawn(name: str, samples: Samples, limit: int, seed: int, field: str) -> Samples:
    """Return `limit` random samples of the data set `name`, or all for 0; fleets of one seed share them.

    Raises:
        ScenarioError: there are fewer.
    """
    if limit in (0, len(samples)):
        return samples
    if limit > len(samples):
        raise ScenarioError(f"{field}: got {limit}, wanted at most {len(samples)}, or 0 for all, of {name}.")
    return samples[torch.randperm(len(samples), generator=stream(seed, field))[:limit]]


@lru_cache(maxsize=8)
def spread(partition: str, samples: Samples, nodes: int, seed: int, name: str) -> list[Tensor]:
    """Return each node's positions in `samples`, drawn from the stream `name`; fleets of one seed share them.

    Raises:
        ScenarioError: the partition does not give one part for each node.
    """
    parts = build(partitions, partition)(samples.labels, nodes, stream(seed, name))
    if len(parts) != nodes:
        raise ScenarioError(f"partition {partition}: got {len(parts)} parts, wanted one for each of {nodes}.")
    return parts
