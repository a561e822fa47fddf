"""Simple attacks without knowledge of other updates: zero, noise, multiples, NaN."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Range, SearchSpace
from clients.bounds import NonNegative
from clients.kernels import normals, uniforms


@dataclass(frozen=True, kw_only=True)
class ZeroUpdate(Attack):
    """Send the unchanged global model.

    The plain free-rider of Fraboni, Vidal, Lorenzi, "Free-rider Attacks on Model Aggregation in Federated
    Learning", AISTATS 2021. The update slows down an average. Rules against large updates do not detect it.

    >>> context = CraftContext(generator=torch.Generator(), model=torch.zeros(2))
    >>> ZeroUpdate().craft(torch.tensor([[1.0, 3.0]]), None, context)
    tensor([[0., 0.]])
    """

    card = AttackCard(paper="Fraboni et al., AISTATS 2021", goal="take part without work")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return torch.zeros_like(own)


@dataclass(frozen=True, kw_only=True)
class SignFlip(Attack):
    """Send minus the own update.

    Li, Xu, Chen, Giannakis, Ling, "RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed
    Learning from Heterogeneous Datasets", AAAI 2019.

    >>> context = CraftContext(generator=torch.Generator(), model=torch.zeros(2))
    >>> SignFlip().craft(torch.tensor([[1.0, -3.0]]), None, context)
    tensor([[-1.,  3.]])
    """

    card = AttackCard(
        paper="Li et al., AAAI 2019",
        deviations="ByzFL sends minus the honest mean (ipm with epsilon 1), FLPoison minus the own.",
    )
    search_space = SearchSpace()

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return -own


@dataclass(frozen=True, kw_only=True)
class ScaledUpdate(Attack):
    """Send the own update times a factor. A negative factor increases the loss.

    Bagdasaryan, Veit, Hua, Estrin, Shmatikov, "How To Backdoor Federated Learning", AISTATS 2020. With a
    negative factor, the attack is the gradient ascent of Blanchard et al., NeurIPS 2017.

    >>> context = CraftContext(generator=torch.Generator(), model=torch.zeros(2))
    >>> ScaledUpdate(factor=-2.0).craft(torch.tensor([[1.0, 3.0]]), None, context)
    tensor([[-2., -6.]])
    """

    factor: float = -10.0

    card = AttackCard(paper="Bagdasaryan et al., AISTATS 2020", idle_when="factor is 1")
    search_space = SearchSpace(parameters={"factor": Range(low=-30.0, high=-0.3)})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return self.factor * own

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "factor is 1: the honest update is sent" if self.factor == 1 else None


@dataclass(frozen=True, kw_only=True)
class RandomUpdate(Attack):
    """Send uniform noise instead of the update, sampled per client and round.

    The arbitrary failures of Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries:
    Byzantine Tolerant Gradient Descent", NeurIPS 2017. `gaussian-update` is their normal form.
    """

    low: float = -1.0
    high: float = 1.0

    card = AttackCard(
        paper="Blanchard et al., NeurIPS 2017",
        deviations="FedML samples from -1 to 1, as here; Garfield from 0 to 1.",
    )
    search_space = SearchSpace(
        parameters={"low": Range(low=-3.0, high=-0.01), "high": Range(low=0.01, high=3.0)}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(f"got low {self.low}, high {self.high}; expected low at most high.")

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return uniforms(own, context.generator).mul_(self.high - self.low).add_(self.low)


@dataclass(frozen=True, kw_only=True)
class GaussianUpdate(Attack):
    """Send Gaussian noise instead of the update, or on top of it.

    Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant
    Gradient Descent", NeurIPS 2017.
    """

    std: NonNegative = 1.0
    mean: float = 0.0
    """Mean of the noise in every coordinate. Averaging over clients does not cancel a mean other than 0."""
    mode: Literal["replace", "add"] = "replace"

    card = AttackCard(
        paper="Blanchard et al., NeurIPS 2017",
        idle_when="mode is add, and std and mean are 0",
        deviations="ByzFL and FLPoison replace the update with N(0, 1), as here; Blades samples N(.1, .1).",
    )
    search_space = SearchSpace(
        parameters={"std": Range(low=0.001, high=3.0, log=True), "mode": ("replace", "add")}
    )

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        noise = normals(own, context.generator).mul_(self.std).add_(self.mean)
        return noise.add_(own) if self.mode == "add" else noise

    def no_effect(self, clients: int, malicious: int) -> str | None:
        silent = not self.std and not self.mean and self.mode == "add"
        return "std and mean are 0 and mode is add: no noise" if silent else None


@dataclass(frozen=True, kw_only=True)
class NonFiniteUpdate(Attack):
    """Send NaN or infinity in every coordinate. One such update makes every sum with it non-finite.

    An arbitrary failure in the sense of Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with
    Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017. A server has to drop it before it
    aggregates.

    >>> context = CraftContext(generator=torch.Generator(), model=torch.zeros(2))
    >>> NonFiniteUpdate(value="inf").craft(torch.tensor([[1.0, 3.0]]), None, context)
    tensor([[inf, inf]])
    """

    value: Literal["nan", "inf", "-inf"] = "nan"
    """`inf` is ByzFL's, `nan` is ByzantineMomentum's."""

    card = AttackCard(
        paper="Blanchard et al., NeurIPS 2017",
        goal="make the model unusable",
        idle_when="the server drops non-finite updates",
        finite=False,
    )
    search_space = SearchSpace(parameters={"value": ("nan", "inf")})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        return torch.full_like(own, float(self.value))
