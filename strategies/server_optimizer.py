"""What every server optimizer is given, what it gives back, and the step that the adaptive ones share."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from strategies.rule import Card, State


@runtime_checkable
class ServerOptimizer(Protocol):
    """Turns the aggregated update into the step of the global model. A frozen dataclass of knobs.

    Both are added to the model. Laws, checked on every registered optimizer:

    - the arguments are not written to, and what is returned shares no memory with them;
    - the same updates give the same steps, bit for bit, also when the state is taken up again;
    - coordinates do not see each other: the order of the parameters does not matter.
    """

    card: ClassVar[Card]

    def __call__(self, update: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the step (d,), in the dtype of `update` (d,), and the state for the next round.

        Args:
            update: the aggregated update.
            state: what the optimizer returned in the round before; empty in the first one.
        """


SecondMoment = Callable[[Tensor, Tensor], Tensor]
"""`second_moment(v (d,), squared update (d,)) -> v (d,)`: where Adagrad, Adam and Yogi differ."""


def adaptive_step(
    update: Tensor,
    state: State,
    second_moment: SecondMoment,
    *,
    lr: float,
    beta1: float,
    tau: float,
    start: float | None,
) -> tuple[Tensor, State]:
    """Return `lr m / (sqrt(v) + tau)`, (d,), and the moments m and v, float64, as the next round's state.

    Args:
        update: the aggregated update, (d,).
        state: the moments of the round before.
        second_moment: the rule for v.
        lr: the server's learning rate.
        beta1: how much of m is kept.
        tau: how adaptive the step is: the smaller the more.
        start: v before the first round; None is tau squared.
    """
    exact = update.double()
    first = state.get("first moment", torch.zeros_like(exact))
    second = state.get("second moment", torch.full_like(exact, tau**2 if start is None else start))
    first = beta1 * first + (1 - beta1) * exact
    second = second_moment(second, exact.square())
    step = lr * first / (second.sqrt() + tau)
    return step.to(update.dtype), {"first moment": first, "second moment": second}


def check_adaptive(*, lr: float, betas: dict[str, float], tau: float, start: float | None) -> None:
    """Raise ValueError unless the knobs of an adaptive optimizer make sense."""
    positive("lr", lr)
    positive("tau", tau)
    for name, beta in betas.items():
        decay(name, beta)
    if start is not None and start < 0:
        raise ValueError(f"start: got {start}, wanted a second moment of 0 or more, or none for tau squared.")


def positive(name: str, value: float) -> None:
    """Raise ValueError unless the knob is a positive number."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: got {value}, wanted a number above 0.")


def decay(name: str, value: float) -> None:
    """Raise ValueError unless the knob is a rate of decay."""
    if not 0 <= value < 1:
        raise ValueError(f"{name}: got {value}, wanted at least 0 and below 1.")
