"""Lies about the number of examples, which is the weight in an average."""

from dataclasses import dataclass

from clients.attacks.base import Attack, AttackCard, Range, SearchSpace
from clients.bounds import Multiple


@dataclass(frozen=True, kw_only=True)
class ClaimedExamples(Attack):
    """Train and send like an honest client, and report a multiple of the number of examples.

    Averages of the updates trust this number (McMahan, Moore, Ramage, Hampson, Aguera y Arcas,
    "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017). Compose the
    attack with another one, as in `label-flip + claimed-examples(factor=20)`.

    >>> ClaimedExamples(factor=2.5).claimed_examples(100)
    250
    """

    factor: Multiple = 10.0
    """Reported number of examples as a multiple of the true one."""

    card = AttackCard(
        paper="-",
        goal="get more weight",
        idle_when="factor is 1, the strategy does not weight by examples, or all weights are uniform",
    )
    search_space = SearchSpace(parameters={"factor": Range(low=1.5, high=1000.0, log=True)})

    def claimed_examples(self, own: int) -> int:
        return max(1, round(self.factor * own))

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "factor is 1: the true number is reported" if self.factor == 1 else None
