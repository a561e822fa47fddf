"""Adaptive mimicry: over-representation of the honest client that the rule trusts most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, SearchSpace
from clients.attacks.updates.rule_search import split_rows
from clients.bounds import PositiveShare
from clients.kernels import column_mean, squared_norms

EQUAL = 1e-9
"""Relative difference of two weights that counts as rounding."""


@dataclass(frozen=True, kw_only=True)
class AdaptiveMimic(Attack):
    """Send a copy of the update of the honest client that the server's rule trusts most.

    Mimicry is by Karimireddy, He, Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing",
    ICLR 2022, which copies the same client in every round. The attacker tries the rule on the updates that
    the clients would send without the attack. A client's score s is the running average of its weight w in
    these trials, s <- (1 - rate) s + rate w. Of clients with equal scores, the attack keeps its last choice,
    or else copies the client that is farthest from the honest mean.

    Raises:
        ValueError: The context contains no rule.
    """

    rate: PositiveShare = 0.1
    """Share of a round's weight in the score. 1 forgets all earlier rounds."""
    follow: Literal["trust", "distance"] = "trust"
    """Source of the weights. `distance` is the variant of FL-Byzantine-Library, which needs no rule: the
    weights are the softmax of the distance from the honest mean, in standard deviations. The client is
    sampled by the scores of the earlier rounds."""

    card = AttackCard(
        paper="Karimireddy et al., ICLR 2022",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="The paper's choice does not depend on the rule: see `mimic`. FL-Byzantine-Library calls "
        "another attack adaptive mimicry, without trust: see `follow`.",
    )
    search_space = SearchSpace(parameters={"follow": ("trust", "distance")})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        if context.trust is None:
            raise ValueError(
                "trust: got None, expected the server's rule. Use a strategy with a rule that an attacker "
                "can know, or the attack mimic."
            )
        crafted, others = split_rows(own, seen, context)
        if not len(others):
            return own.clone()
        group = set(context.group_client_ids)
        client_ids = [client_id for client_id in context.round_client_ids if client_id not in group]
        client_ids = client_ids or list(range(len(others)))
        distances = squared_norms(others, origin=column_mean(others)).sqrt().double()
        if self.follow == "distance":
            row = self._sampled(distances, client_ids, context)
        else:
            rows = own.new_empty(len(crafted), own.shape[1])
            rows[~crafted] = others
            rows[crafted] = own[torch.arange(int(crafted.sum())) % len(own)]
            row = self._most_trusted(context.trust(rows)[~crafted], distances, client_ids, context)
        return others[row].expand_as(own).clone()

    def _most_trusted(
        self, trust: Tensor, distances: Tensor, client_ids: Sequence[int], context: CraftContext
    ) -> int:
        scores = self._scores(trust, _known_scores(client_ids, context, new=trust), client_ids, context)
        best = scores >= (1 - EQUAL) * scores.max()
        if "target" in context.memory and (last := int(context.memory["target"])) in client_ids:
            row = client_ids.index(last)
            if best[row]:
                return row
        row = int(torch.where(best, distances, -1.0).argmax())
        context.memory["target"] = torch.tensor(client_ids[row])
        return row

    def _sampled(self, distances: Tensor, client_ids: Sequence[int], context: CraftContext) -> int:
        uniform = torch.full_like(distances, 1 / len(distances))
        before = _known_scores(client_ids, context, new=uniform)
        spread = distances.std() if len(distances) > 1 else distances.new_zeros(())
        self._scores((distances / (spread + 1e-8)).softmax(dim=0), before, client_ids, context)
        return int(before.multinomial(1, generator=context.generator))

    def _scores(
        self, weights: Tensor, before: Tensor, client_ids: Sequence[int], context: CraftContext
    ) -> Tensor:
        """Return the scores (h,) after a round with these weights, and remember them."""
        scores = (1 - self.rate) * before + self.rate * weights
        kept = _remembered(context) | dict(zip(client_ids, scores.tolist(), strict=True))
        context.memory["clients"] = torch.tensor(list(kept))
        context.memory["scores"] = torch.tensor(list(kept.values()), dtype=torch.float64)
        return scores


def _known_scores(client_ids: Sequence[int], context: CraftContext, *, new: Tensor) -> Tensor:
    """Return the scores (h,) of the clients before the round, or the values of `new` in their first one."""
    kept = _remembered(context)
    pairs = zip(client_ids, new.tolist(), strict=True)
    return torch.tensor([kept.get(client_id, value) for client_id, value in pairs], dtype=torch.float64)


def _remembered(context: CraftContext) -> dict[int, float]:
    """Return the score of each client that was in an earlier round."""
    memory, nothing = context.memory, torch.zeros(0)
    return dict(
        zip(memory.get("clients", nothing).tolist(), memory.get("scores", nothing).tolist(), strict=True)
    )
