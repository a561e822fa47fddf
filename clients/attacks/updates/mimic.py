"""Mimicry: over-representation of one honest client."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, AttackSetting, CraftContext, Knowledge, SearchSpace
from clients.bounds import Count, PositiveCount
from clients.kernels import column_mean, euclidean_norm, products_with, unit_vector


@dataclass(frozen=True, kw_only=True)
class Mimic(Attack):
    """Send a copy of one honest client's update. The client is the same in every round after a warm-up.

    Karimireddy, He, Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", ICLR 2022.
    The warm-up estimates the direction z in which honest updates vary most, by Oja's rule on the updates
    minus their running mean. The attack mimics the client with the largest <z, update>, and keeps the last
    choice of the warm-up.
    """

    warmup: PositiveCount = 1
    """Number of rounds that update z and choose a client. 1 is the default of the authors' code."""
    node: Count | None = None
    """Client to mimic, or the next honest one of the round. Default: the choice of the warm-up."""

    card = AttackCard(
        paper="Karimireddy et al., ICLR 2022",
        knowledge=Knowledge.OMNISCIENT,
        deviations="ByzFL mimics a fixed client: see `node`. Like the authors' code, each round's power step "
        "is normalised before it is averaged into z.",
    )
    search_space = SearchSpace()

    def check(self, setting: AttackSetting) -> None:
        if self.node is not None and self.node >= setting.clients:
            raise ValueError(f"node: got client {self.node}, expected 0 to {setting.clients - 1}.")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible, client_ids = (own, context.client_ids) if seen is None else (seen, context.seen_client_ids)
        if len(client_ids) != len(visible):
            client_ids = tuple(range(len(visible)))
        if self.node is not None:
            row = bisect_left(client_ids, self.node) % len(client_ids)
        else:
            row = self._chosen(visible, client_ids, context)
        return visible[row].expand_as(own).clone()

    def _chosen(self, visible: Tensor, client_ids: Sequence[int], context: CraftContext) -> int:
        memory = context.memory
        rounds = int(memory.get("rounds", torch.zeros(())))
        if rounds >= self.warmup:
            target = int(memory["target"])
            if target in client_ids:
                return client_ids.index(target)
            return int((visible @ memory["direction"]).argmax())  # until the client takes part again
        self._learn(visible, rounds, context)
        row = int((visible @ memory["direction"]).argmax())
        memory["target"] = torch.tensor(client_ids[row])
        memory["rounds"] = torch.tensor(rounds + 1)
        return row

    def _learn(self, visible: Tensor, rounds: int, context: CraftContext) -> None:
        memory = context.memory
        mean = column_mean(visible)
        if rounds == 0:
            start = torch.randn(mean.shape, generator=context.generator, dtype=mean.dtype).to(mean.device)
            direction = unit_vector(start)
        else:
            mean = (rounds * memory["mean"] + mean) / (rounds + 1)
            direction = memory["direction"]
        weights = products_with(visible, direction, origin=mean).to(mean.dtype)
        pulled = weights @ visible - weights.sum() * mean
        if euclidean_norm(pulled) > 0:
            step = unit_vector(pulled)
            direction = step if rounds == 0 else rounds * direction + step
        memory["mean"], memory["direction"] = mean, unit_vector(direction)
