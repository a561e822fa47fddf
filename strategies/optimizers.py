"""Server optimizers, which turn the aggregated update of a round into a step of the global model."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from strategies.base import RuleCard, State
from strategies.parameters import positive


@runtime_checkable
class ServerOptimizer(Protocol):
    """Interface of server optimizers: frozen dataclasses whose fields are their parameters.

    The update and the step are both added to the model. The tests check these properties on every registered
    optimizer:

    - The optimizer does not write to its arguments. Its result shares no memory with them.
    - The same updates give the same steps, bit for bit, also from a stored state.
    - A coordinate of the step depends on that coordinate of the updates alone.
    """

    card: ClassVar[RuleCard]

    def __call__(self, update: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the step (d,), in the dtype of `update` (d,), and the state for the next round.

        Args:
            update: aggregated update, (d,).
            state: state that the optimizer returned in the previous round, empty in the first round.
        """


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Add up the updates with momentum: v = momentum v + update. The step is lr v.

    Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification", 2019 (FedAvgM).

    >>> step, state = SGD()(torch.tensor([1.0]), {})
    >>> SGD()(torch.tensor([1.0]), state)[0]
    tensor([1.9000])
    """

    lr: float = 1.0
    """Learning rate of the server."""
    momentum: float = 0.9

    search_space: ClassVar = {"lr": (0.3, 1.0), "momentum": (0.0, 0.5, 0.9)}
    card: ClassVar = RuleCard(
        paper="Hsu et al., 2019",
        needs=("history",),
        deviations="Flower's FedAvgM is the same; its default momentum is 0.",
        unanimous=False,
        translation_equivariant=False,
    )

    def __post_init__(self) -> None:
        positive(lr=self.lr)
        _decay(momentum=self.momentum)

    def __call__(self, update: Tensor, state: State) -> tuple[Tensor, State]:
        velocity = self.momentum * state["velocity"] + update if state else update.clone()
        return self.lr * velocity, {"velocity": velocity}


def _adaptive_card(deviations: str) -> RuleCard:
    return RuleCard(
        paper="Reddi et al., ICLR 2021",
        needs=("history",),
        deviations=f"The paper tunes lr for each task. {deviations}",
        unanimous=False,
        translation_equivariant=False,
        scale_equivariant=False,
    )


@dataclass(frozen=True, kw_only=True)
class Adagrad:
    """Divide the update by the root of the sum of all past squares.

    Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan, "Adaptive Federated Optimization",
    ICLR 2021. There is no bias correction, as in the paper.

    >>> Adagrad(lr=1.0, beta1=0.0, tau=1.0, start=0.0)(torch.tensor([3.0]), {})[0]
    tensor([0.7500])
    """

    lr: float = 0.01
    """Learning rate of the server."""
    beta1: float = 0.0
    """Decay of the mean of past updates."""
    tau: float = 0.001
    """Degree of adaptivity: smaller values adapt the steps more."""
    start: float | None = None
    """Second moment before the first round. Default: tau squared, as in the paper. Flower starts from 0."""

    search_space: ClassVar = {"lr": (0.003, 0.01, 0.03, 0.1), "tau": (0.001, 0.01)}
    card: ClassVar = _adaptive_card("Flower's FedAdagrad is the same.")

    def __post_init__(self) -> None:
        _check_adaptive(self.lr, self.tau, self.start, beta1=self.beta1)

    def __call__(self, update: Tensor, state: State) -> tuple[Tensor, State]:
        return adaptive_step(
            update, state, torch.add, lr=self.lr, beta1=self.beta1, tau=self.tau, start=self.start
        )


@dataclass(frozen=True, kw_only=True)
class _MovingMoments(ABC):
    """Base class of Adam and Yogi, which differ only by their second moment."""

    lr: float = 0.01
    """Learning rate of the server."""
    beta1: float = 0.9
    """Decay of the mean of past updates."""
    beta2: float = 0.99
    """Decay of the mean of past squares."""
    tau: float = 0.001
    """Degree of adaptivity: smaller values adapt the steps more."""
    start: float | None = None
    """Second moment before the first round. Default: tau squared, as in the paper. Flower starts from 0."""

    search_space: ClassVar = {"lr": (0.003, 0.01, 0.03, 0.1), "tau": (0.001, 0.01)}

    def __post_init__(self) -> None:
        _check_adaptive(self.lr, self.tau, self.start, beta1=self.beta1, beta2=self.beta2)

    def __call__(self, update: Tensor, state: State) -> tuple[Tensor, State]:
        return adaptive_step(
            update, state, self.second_moment, lr=self.lr, beta1=self.beta1, tau=self.tau, start=self.start
        )

    @abstractmethod
    def second_moment(self, v: Tensor, squared: Tensor) -> Tensor:
        """Return the next second moment (d,), given the last one and the squared update (d,)."""


@dataclass(frozen=True, kw_only=True)
class Adam(_MovingMoments):
    """Divide the mean of past updates by the root of the mean of their squares.

    Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan, "Adaptive Federated Optimization",
    ICLR 2021. There is no bias correction, as in the paper.

    >>> Adam(lr=1.0, beta1=0.0, tau=1.0, start=0.0)(torch.tensor([30.0]), {})[0]
    tensor([7.5000])
    """

    card: ClassVar = _adaptive_card("Flower's FedAdam corrects the bias, unlike the paper.")

    def second_moment(self, v: Tensor, squared: Tensor) -> Tensor:
        return self.beta2 * v + (1 - self.beta2) * squared


@dataclass(frozen=True, kw_only=True)
class Yogi(_MovingMoments):
    """Step as Adam does, with a mean of squares that changes by at most the square itself.

    Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan, "Adaptive Federated Optimization",
    ICLR 2021. There is no bias correction, as in the paper.

    >>> Yogi(lr=1.0, beta1=0.0, tau=1.0, start=0.0)(torch.tensor([30.0]), {})[0]
    tensor([7.5000])
    """

    card: ClassVar = _adaptive_card("Flower's FedYogi is the same.")

    def second_moment(self, v: Tensor, squared: Tensor) -> Tensor:
        return v - (1 - self.beta2) * squared * (v - squared).sign()


def adaptive_step(
    update: Tensor,
    state: State,
    second_moment: Callable[[Tensor, Tensor], Tensor],
    *,
    lr: float,
    beta1: float,
    tau: float,
    start: float | None,
) -> tuple[Tensor, State]:
    """Return the step `lr m / (sqrt(v) + tau)`, (d,), and the moments m and v, float64, as the next state.

    Args:
        update: aggregated update, (d,).
        state: moments of the previous round.
        second_moment: function `second_moment(v (d,), squared update (d,)) -> v (d,)`, in which Adagrad, Adam
            and Yogi differ.
        lr: learning rate of the server.
        beta1: decay of m.
        tau: degree of adaptivity: smaller values adapt the step more.
        start: v before the first round. Default: tau squared.
    """
    exact = update.double()
    first = state.get("first moment", torch.zeros_like(exact))
    second = state.get("second moment", torch.full_like(exact, tau**2 if start is None else start))
    first = beta1 * first + (1 - beta1) * exact
    second = second_moment(second, exact.square())
    step = lr * first / (second.sqrt() + tau)
    return step.to(update.dtype), {"first moment": first, "second moment": second}


def _check_adaptive(lr: float, tau: float, start: float | None, **betas: float) -> None:
    positive(lr=lr, tau=tau)
    _decay(**betas)
    if start is not None and not 0 <= start < math.inf:
        raise ValueError(
            f"start: got {start}, expected a finite second moment of 0 or more, or none for tau squared."
        )


def _decay(**parameters: float) -> None:
    for name, value in parameters.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 0 and below 1.")
