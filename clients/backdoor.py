"""A pixel-pattern backdoor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from clients.attack import Attack, Card
from clients.trigger import Square


@dataclass(frozen=True, kw_only=True)
class Backdoor(Square, Attack):
    """Stamp a bright square into the corner of a share of the images and label those as `target`.

    Gu, Dolan-Gavitt, Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply
    Chain", 2017.
    """

    card: ClassVar = Card(
        paper="Gu et al., 2017",
        goal="have images with the trigger taken for `target`, and leave the rest alone",
        deviations="BackFed poisons 20 of 64 samples; others a whole client. See `share`.",
    )
