"""When a malicious share counts as breaking a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fedpoison.errors import ScenarioError
from fedpoison.rounds import Round
from fedpoison.run_frame import MEASURES
from fedpoison.specs import unknown

POINTS = 10.0
LEVEL = 50.0
_ROUNDING = 1e-9
"""So that 0.95 - 0.85 is a cost of 0.1."""
_MEASURES = {
    "accuracy": MEASURES["accuracy"],
    "worst-class": MEASURES["worst-class accuracy"],
    "success": MEASURES["attack success"],
}


@dataclass(frozen=True)
class Criterion:
    """What is measured after the last round, and how much of it is too much.

    Build one with `criterion`.
    """

    measure: str
    limit: float
    """A share: of accuracy that may not be lost, or of success that may not be reached."""

    @property
    def lost(self) -> bool:
        """Whether the cost is what is lost against the clean run; else it is the measure itself."""
        return self.measure != "success"

    @property
    def words(self) -> str:
        """What a share does that breaks a strategy."""
        limit = f"{100 * self.limit:g}"
        return {
            "accuracy": f"costs {limit} points of accuracy",
            "worst-class": f"costs {limit} points of the worst class's accuracy",
            "success": f"lets the attack succeed in {limit} %",
        }[self.measure]

    @property
    def axis(self) -> str:
        """What the cost is, as the title of an axis."""
        return {
            "accuracy": "accuracy lost, points",
            "worst-class": "worst-class accuracy lost, points",
            "success": "attack success, %",
        }[self.measure]

    def value(self, record: Round) -> float:
        """Return what is measured; NaN where the run has none."""
        found = getattr(record, _MEASURES[self.measure])
        return float("nan") if found is None else found

    def cost(self, value: float, clean: float) -> float:
        """Return what is held against the limit, given the measure and that of the clean run."""
        return clean - value if self.lost else value

    def breaks(self, costs: Sequence[float]) -> bool:
        """Return whether the mean of the costs reaches the limit."""
        return fmean(costs) >= self.limit - _ROUNDING


def criterion(measure: str, *, points: float | None = None, level: float | None = None) -> Criterion:
    """Return the criterion of that measure: `accuracy`, `worst-class` or `success`.

    Args:
        measure: the accuracy on all classes, on the class that fares worst, or the success of the attack.
        points: for the first two, how many points may not be lost; 10 for None.
        level: for the success, how many per cent may not be reached; 50 for None.

    >>> criterion("accuracy").breaks([0.15, 0.05]), criterion("success", level=60).limit
    (True, 0.6)

    Raises:
        ScenarioError: there is no such measure, a limit is not within 0 to 100, or it is the other measure's.
    """
    if measure not in _MEASURES:
        raise unknown("measure", measure, _MEASURES)
    if measure == "success":
        if points is not None:
            raise ScenarioError("points: got them for success, which is held against a level; give that.")
        return Criterion(measure, _share("level", LEVEL if level is None else level))
    if level is not None:
        raise ScenarioError(f"level: got one for {measure}, whose loss is counted in points; give those.")
    return Criterion(measure, _share("points", POINTS if points is None else points))


def _share(name: str, percent: float) -> float:
    if not 0 < percent <= 100:
        raise ScenarioError(f"{name}: got {percent:g}, wanted more than 0 and at most 100.")
    return percent / 100
