"""The server's Adagrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from strategies.rule import Card, State
from strategies.server_optimizer import adaptive_step, check_adaptive


@dataclass(frozen=True, kw_only=True)
class Adagrad:
    """Step by the update over the root of the sum of all past squares.

    Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan, "Adaptive Federated Optimization",
    ICLR 2021. No correction of bias, as in the paper.

    >>> import torch
    >>> Adagrad(lr=1.0, beta1=0.0, tau=1.0, start=0.0)(torch.tensor([3.0]), {})[0]
    tensor([0.7500])
    """

    lr: float = 0.01
    beta1: float = 0.0
    tau: float = 0.001
    """How adaptive the steps are: the smaller the more."""
    start: float | None = None
    """The second moment before the first round; none is tau squared, the paper's; Flower starts from 0."""

    card: ClassVar = Card(
        paper="Reddi et al., ICLR 2021",
        needs=("history",),
        deviations="The paper tunes lr for each task. Flower's FedAdagrad is the same.",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )

    def __post_init__(self) -> None:
        check_adaptive(lr=self.lr, betas={"beta1": self.beta1}, tau=self.tau, start=self.start)

    def __call__(self, update: Tensor, state: State) -> tuple[Tensor, State]:
        def second_moment(v: Tensor, squared: Tensor) -> Tensor:
            return v + squared

        return adaptive_step(
            update, state, second_moment, lr=self.lr, beta1=self.beta1, tau=self.tau, start=self.start
        )
