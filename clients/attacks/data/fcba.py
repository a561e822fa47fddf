"""FCBA: the attackers train on all combinations of the parts of a trigger."""

from dataclasses import dataclass
from itertools import combinations

from torch import Tensor

from clients.attacks.base import AttackCard, ClientContext
from clients.attacks.data.distributed_backdoor import PARTS, DistributedBackdoor

COMBINATIONS = tuple(part for size in range(1, PARTS) for part in combinations(range(PARTS), size))
"""All combinations of one to three of the four bars, smaller ones first."""


@dataclass(frozen=True, kw_only=True)
class Fcba(DistributedBackdoor):
    """Stamp one of the 14 combinations of the bars of a trigger by rank, and measure success with all bars.

    Full combination backdoor attack: Liu, Zhang, Feng, Yang, Xu, Man, Yang, "Beyond Traditional Threats: A
    Persistent Backdoor Attack on Federated Learning", AAAI 2024. Attacker number r trains on combination r
    modulo 14: one, two or three of the four bars.

    Raises:
        ValueError: A parameter is outside its bounds, or the trigger does not fit on the images.
    """

    card = AttackCard(
        paper="Liu et al., AAAI 2024",
        goal="make the model predict `target` for images with the whole trigger, long after the attack",
        idle_when="share is 0; with fewer than 14 attackers no client trains on some combinations",
        deviations="The authors' code also scales the update by 100, once per attacker: compose with "
        "scaled-update. It orders the pairs and triples differently.",
    )

    def stamp_locally(self, pixels: Tensor, context: ClientContext) -> Tensor:
        for part in COMBINATIONS[context.rank % len(COMBINATIONS)]:
            pixels = self.stamp_part(pixels, part)
        return pixels
