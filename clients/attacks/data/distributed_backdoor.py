"""The distributed backdoor attack (DBA): each attacker trains on its part of the trigger."""

from dataclasses import dataclass

from torch import Tensor

from clients.attacks.base import SHARES, AttackCard, ClientContext, SearchSpace
from clients.attacks.data.backdoor import Trigger
from clients.bounds import Count, PositiveCount, Share

PARTS = 4


@dataclass(frozen=True, kw_only=True)
class DistributedBackdoor(Trigger):
    """Stamp one of the four bars of a trigger by rank, and measure success with all four bars.

    Xie, Huang, Chen, Li, "DBA: Distributed Backdoor Attacks against Federated Learning", ICLR 2020. The
    four bars form two rows in the top left corner. Attacker number r trains on bar r modulo 4.

    Raises:
        ValueError: A parameter is outside its bounds, or the trigger does not fit on the images.
    """

    share: Share = 0.3125
    """Share of the local samples that carry the part. The default is the authors' 20 of 64 on MNIST."""
    length: PositiveCount = 4
    """Length of a bar in pixels. A bar is one pixel high."""
    gap: Count = 2
    """Pixels between bars, in both directions."""
    offset: Count = 0
    """Distance of the trigger from the corner in pixels, in both directions."""
    value: Share = 1.0
    """Brightness of the bars, 0 to 1."""

    card = AttackCard(
        paper="Xie et al., ICLR 2020",
        goal="make the model predict `target` for images with the whole trigger, with all else unchanged",
        idle_when="share is 0; with fewer than 4 attackers no client trains on some bars",
        deviations="The authors also scale the update by 100 and train longer at a lower rate: compose with "
        "scaled-update, or choose model-replacement.",
    )
    search_space = SearchSpace(objective="backdoor", parameters={"share": SHARES, "length": (2, 4, 6)})

    def stamp(self, pixels: Tensor) -> Tensor:
        for part in range(PARTS):
            pixels = self.stamp_part(pixels, part)
        return pixels

    def stamp_locally(self, pixels: Tensor, context: ClientContext) -> Tensor:
        return self.stamp_part(pixels, context.rank % PARTS)

    def stamp_part(self, pixels: Tensor, part: int) -> Tensor:
        """Return a copy of `pixels` (m, c, h, w) with bar `part`, 0 to 3, row by row."""
        row = self.offset + part // 2 * (self.gap + 1)
        column = self.offset + part % 2 * (self.length + self.gap)
        height, width = pixels.shape[-2:]
        if row >= height or column + self.length > width:
            raise ValueError(
                f"trigger: got length {self.length}, gap {self.gap}, offset {self.offset}, expected one that "
                f"fits on images of {height}x{width}. Lower these values."
            )
        stamped = pixels.clone()
        stamped[..., row, column : column + self.length] = self.value
        return stamped
