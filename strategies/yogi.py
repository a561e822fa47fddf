"""The server's Yogi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.rule import Card, State
from strategies.server_optimizer import adaptive_step, check_adaptive


@dataclass(frozen=True, kw_only=True)
class Yogi:
    """Step as Adam does, with a mean of squares that moves by no more than the square itself.

    Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan, "Adaptive Federated Optimization",
    ICLR 2021. No correction of bias, as in the paper.

    >>> import torch
    >>> Yogi(lr=1.0, beta1=0.0, tau=1.0, start=0.0)(torch.tensor([30.0]), {})[0]
    tensor([7.5000])
    """

    lr: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 0.001
    """How adaptive the steps are: the smaller the more."""
    start: float | None = None
    """The second moment before the first round; none is tau squared, the paper's; Flower starts from 0."""

    card: ClassVar = Card(
        paper="Reddi et al., ICLR 2021",
        needs=("history",),
        deviations="The paper tunes lr for each task. Flower's FedYogi is the same.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )

    def __post_init__(self) -> None:
        check_adaptive(
            lr=self.lr, betas={"beta1": self.beta1, "beta2": self.beta2}, tau=self.tau, start=self.start
        )

    def __call__(self, update: Tensor, state: State) -> tuple[Tensor, State]:
        def second_moment(v: Tensor, squared: Tensor) -> Tensor:
            return v - (1 - self.beta2) * squared * (v - squared).sign()

        return adaptive_step(
            update, state, second_moment, lr=self.lr, beta1=self.beta1, tau=self.tau, start=self.start
        )
