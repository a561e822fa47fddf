"""Min-max, min-sum and tailored: perturbations of the honest mean, bounded by spread or rule."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from clients.attacks.base import Attack, AttackCard, CraftContext, Knowledge, SearchSpace
from clients.attacks.updates.rule_search import Evaluations, Probe, coarse_then_fine
from clients.bounds import Positive, PositiveCount
from clients.kernels import column_mean, column_std, inner_products, products_with, squared_norms, unit_vector
from strategies.kernels.distances import distances_from_gram

Direction = Literal["unit", "std", "std-above", "sign"]
"""Minus the unit vector of the mean, minus or plus the standard deviation, or minus the sign of the mean."""
DIRECTIONS = ("unit", "std", "std-above", "sign")


def perturbation(rows: Tensor, mean: Tensor, direction: Direction) -> Tensor:
    """Compute the perturbation (d,) of the `mean` (d,) of `rows` (n, d). Without a direction it is 0.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
    Federated Learning", NDSS 2021. The paper perturbs gradients. For `unit` and `sign`, updates are
    equivalent. The standard deviation has no sign: a value below the mean of the gradients is above that of
    the updates. So `std-above` repeats runs that aggregate gradients.
    """
    if direction in ("std", "std-above"):
        return column_std(rows, mean) * (1 if direction == "std-above" else -1)
    if direction == "sign":
        return -mean.sign()
    return unit_vector(-mean)


@dataclass(frozen=True, kw_only=True)
class MinMax(Attack):
    """Perturb the honest mean until its largest distance equals that between honest updates.

    Shejwalkar, Houmansadr, NDSS 2021. gamma is the largest with
    max_i |mean + gamma p - g_i| <= max_ij |g_i - g_j|. The paper approximates gamma by halving steps. Here it
    is exact: each honest update sets a quadratic bound on gamma, and gamma is the smallest root.
    """

    direction: Direction = "std"

    card = AttackCard(
        paper="Shejwalkar & Houmansadr, NDSS 2021",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="a single update is visible (then it is sent)",
        deviations="Public searches start at gamma 10 or 50 and cannot pass twice that; Blades stops at 5. "
        "The direction is std in the authors' notebooks, unit in Plato.",
    )
    search_space = SearchSpace(parameters={"direction": DIRECTIONS})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        mean = column_mean(visible)
        direction = perturbation(visible, mean, self.direction)
        products = inner_products(visible, origin=mean)
        widest = distances_from_gram(products).max()
        along = products_with(visible, direction, origin=mean)
        length = squared_norms(direction[None])
        room = (length * (widest - products.diagonal())).clamp(min=0)
        gammas = (along + (along.square() + room).sqrt()) / length
        gamma = float(gammas.min()) if length > 0 else 0.0
        return (mean + gamma * direction).expand_as(own).clone()


@dataclass(frozen=True, kw_only=True)
class MinSum(Attack):
    """Perturb the honest mean until the sum of its squared distances equals that of an honest update.

    Shejwalkar, Houmansadr, NDSS 2021. gamma is the largest with
    sum_i |mean + gamma p - g_i|^2 <= max_i sum_j |g_i - g_j|^2. The paper approximates it by halving steps.
    Here it is exact: both sums contain the honest spread around the mean, which cancels. So gamma p is as
    long as the distance of the farthest honest update from the mean.
    """

    direction: Direction = "std"
    bound: Literal["max", "min"] = "max"
    """Honest update that sets the bound. `max` is the paper's, `min` is that of the authors' code."""

    card = AttackCard(
        paper="Shejwalkar & Houmansadr, NDSS 2021",
        knowledge=Knowledge.OMNISCIENT,
        idle_when="a single update is visible (then it is sent)",
        deviations="The authors' code and FL-Byzantine-Library bound by the smallest sum, FLPoison by the "
        "largest, as here: see `bound`.",
    )
    search_space = SearchSpace(parameters={"direction": DIRECTIONS, "bound": ("max", "min")})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        visible = own if seen is None else seen
        mean = column_mean(visible)
        direction = perturbation(visible, mean, self.direction)
        squares = squared_norms(visible, origin=mean)
        square = squares.max() if self.bound == "max" else squares.min()
        length = squared_norms(direction[None])
        gamma = float((square / length).sqrt()) if length > 0 else 0.0
        return (mean + gamma * direction).expand_as(own).clone()


@dataclass(frozen=True, kw_only=True)
class Tailored(Attack):
    """Send the honest mean with the perturbation that moves the aggregate of the server's rule furthest.

    Shejwalkar, Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
    Federated Learning", NDSS 2021. All malicious clients send mean + gamma * perturbation, with the gamma
    that maximises |rule(updates) - mean|. The paper has one solution per rule. Here the attack tries updates
    on the rule, so it works on every rule.

    Raises:
        ValueError: The context contains no rule.
    """

    direction: Direction = "std"
    start: Positive = 10.0
    """The paper's first gamma. The search covers `start` / 2^(evaluations / 2 - 1) to twice `start`."""
    evaluations: Evaluations = 20
    """Number of trials of the rule per round."""
    probe_coordinates: PositiveCount = 32_768
    """Number of coordinates, sampled per round, for trials of a coordinate-wise rule. All are sent."""

    card = AttackCard(
        paper="Shejwalkar & Houmansadr, NDSS 2021",
        knowledge=Knowledge.OMNISCIENT,
        knows_rule=True,
        deviations="The authors' code tests whether multi-Krum and Bulyan select all malicious updates, and "
        "measures the displacement for other rules; here the displacement is the measure for all rules.",
    )
    search_space = SearchSpace(parameters={"direction": DIRECTIONS})

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        probe = Probe(own, seen, context)
        direction = perturbation(probe.honest, probe.mean, self.direction)
        gamma = coarse_then_fine(
            probe.along(direction, coordinates=self.probe_coordinates),
            largest=self.start,
            evaluations=self.evaluations,
        )
        return (probe.mean + gamma * direction).expand_as(own).clone()
