"""What the server's rule would make of an update before it is sent."""

from __future__ import annotations

import torch
from torch import Tensor

from clients.attack import CraftContext
from clients.inner_products import squared_norms
from clients.moments import mean_of


class Probe:
    """Tries one update for all malicious clients on the rule that the attacker knows.

    An attacker who does not see the honest updates lets those of its own clients stand for them, repeated
    until there are as many as honest clients.

    Args:
        own: what the malicious clients would send, (m, d).
        seen: the honest updates, (h, d), or None.
        context: with the rule.

    Raises:
        ValueError: the context holds no rule.
    """

    def __init__(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> None:
        if context.rule is None:
            raise ValueError(
                "rule: got none, wanted the server's rule to try updates on. Use a strategy whose rule can "
                "be known, or an attack that does not know it."
            )
        self._rule = context.rule
        self._crafted = max(len(own), context.malicious)
        others = max(context.clients - self._crafted, 0)
        honest = own[torch.arange(others) % len(own)] if seen is None else seen
        self._rows = torch.cat([own[:1].expand(self._crafted, -1), honest])
        self.honest = self._rows[self._crafted :] if len(honest) else own
        self.mean = mean_of(self.honest)

    def displacement(self, update: Tensor) -> float:
        """Return how far the aggregate lies from the honest mean if all malicious clients send `update`."""
        self._rows[: self._crafted] = update
        moved = self._rule(self._rows) - self.mean
        return float(squared_norms(moved[None]).sqrt())
