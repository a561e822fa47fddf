"""Breakdown share with its uncertainty: a monotone fit to runs with several shares and seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fedpoison.errors import ScenarioError
from fedpoison.results.run_frame import CONFIDENCE, RESAMPLES, percent

_HALF = 0.5 - 1e-9
"""Share of seeds that breaks a strategy. The slack is for rounding in the fit."""

_COVERAGE = {2: 0.60, 3: 0.80, 4: 0.90}
"""How often the interval contains the true share, by the number of seeds: simulated with a fine grid and
thresholds of the seeds that vary widely. With a coarse grid or less variation, it is more often."""


@dataclass(frozen=True)
class Outcome:
    """Result of one attacked run: whether the strategy held."""

    share: float
    """Malicious share."""
    seed: int
    held: bool


@dataclass(frozen=True)
class Island:
    """Consecutive tested shares at which most seeds held, above a share at which they did not."""

    low: float
    high: float

    @property
    def text(self) -> str:
        """The shares in per cent.

        >>> Island(0.2, 0.2).text, Island(0.2, 0.3).text
        ('20.0 %', '20.0 to 30.0 %')
        """
        ends = dict.fromkeys([percent(self.low), percent(self.high)])
        return f"{' to '.join(ends)} %"


@dataclass(frozen=True)
class BreakdownShare:
    """Malicious share at which half of the seeds break a strategy, with its 95 % interval."""

    share: float | None
    """Share at which a monotone fit reaches one half. None: it does not, up to the largest tested share."""
    low: float
    """Lower end of the interval."""
    high: float | None
    """Upper end of the interval. None: above the largest tested share."""
    tested: float
    """Largest tested share."""
    seeds: int
    first_broken: float | None
    """Smallest tested share at which half of the seeds or more broke. None without one."""
    islands: tuple[Island, ...] = ()
    """Where the strategy held above `first_broken`, ascending."""

    @property
    def text(self) -> str:
        """The share and its interval in per cent.

        >>> BreakdownShare(0.25, 0.2, 0.3, tested=0.4, seeds=3, first_broken=0.3).text
        '25.0 [20.0, 30.0] %'
        >>> BreakdownShare(None, 0.3, None, tested=0.4, seeds=3, first_broken=None).text
        'above 40.0 [30.0, -] %'
        """
        share = f"above {percent(self.tested)}" if self.share is None else percent(self.share)
        return f"{share} [{percent(self.low)}, {percent(self.high)}] %"

    @property
    def note(self) -> str | None:
        """Warning that larger shares are not always worse. None: they are."""
        if not self.islands:
            return None
        held = ", ".join(island.text for island in self.islands)
        return f"half of the seeds or more break it at {percent(self.first_broken)} %, but not at {held}"

    @property
    def coverage_note(self) -> str:
        """What the interval of so few seeds is worth. Empty for five seeds and more.

        >>> BreakdownShare(0.2, 0.1, 0.3, tested=0.4, seeds=3, first_broken=0.2).coverage_note
        'with 3 seeds the interval contains the true share in about 80 % of cases'
        """
        if self.seeds == 1:
            return "with 1 seed the interval is only the gap between two tested shares"
        if self.seeds not in _COVERAGE:
            return ""
        rate = round(100 * _COVERAGE[self.seeds])
        return f"with {self.seeds} seeds the interval contains the true share in about {rate} % of cases"

    def as_json(self) -> dict[str, object]:
        """Return the fields as plain values."""
        return asdict(self)


def fit_breakdown_share(outcomes: Iterable[Outcome], *, resamples: int = RESAMPLES) -> BreakdownShare:
    """Fit the malicious share at which half of the seeds break a strategy.

    The isotonic regression of "broke" on the share is the best fit under the assumption that a larger share
    is never better for the strategy. The result is the share at which this fit reaches one half, with linear
    interpolation between tested shares. The interval comes from a bootstrap over the seeds (percentiles): all
    runs of a seed are drawn together, because they have the same data and clients. The interval also contains
    the gap between the two tested shares on both sides of the result. It is therefore never smaller than the
    grid, and with a single seed it is this gap.

    Where the data contradict the assumption, `BreakdownShare.islands` shows it.

    >>> held = {0.0: (True, True, True), 0.2: (True, True, False), 0.4: (False, False, False)}
    >>> fit_breakdown_share(
    ...     Outcome(share, seed, each) for share, seeds in held.items() for seed, each in enumerate(seeds)
    ... ).text
    '25.0 [0.0, 40.0] %'

    Args:
        outcomes: One per run. The shares of two seeds may differ. Runs without an attack have share 0.
        resamples: Number of bootstrap samples.

    Raises:
        ScenarioError: There is no outcome, or two for the same share and seed.
    """
    known: dict[tuple[float, int], bool] = {}
    for outcome in outcomes:
        if known.setdefault((outcome.share, outcome.seed), outcome.held) != outcome.held:
            raise ScenarioError(
                f"outcomes: got two for share {outcome.share} and seed {outcome.seed}, expected one; give "
                "each run once."
            )
    if not known:
        raise ScenarioError("outcomes: got none, expected at least one run.")
    shares = sorted({share for share, _ in known})
    seeds = sorted({seed for _, seed in known})
    broke, runs = np.zeros((len(seeds), len(shares))), np.zeros((len(seeds), len(shares)))
    for (share, seed), held in known.items():
        place = seeds.index(seed), shares.index(share)
        broke[place], runs[place] = not held, 1
    draws = np.random.default_rng(0).integers(len(seeds), size=(resamples, len(seeds)))
    chosen = np.zeros((resamples, len(seeds)))
    np.add.at(chosen, (np.arange(resamples)[:, None], draws), 1)
    below, above = np.array([0.0, *shares]), np.array([*shares, np.inf])
    cuts = _cut(chosen @ broke, chosen @ runs)
    tail = (1 - CONFIDENCE) / 2
    low = np.quantile(below[cuts], tail, method="inverted_cdf")
    high = np.quantile(above[cuts], 1 - tail, method="inverted_cdf")
    broken = broke.sum(axis=0) / runs.sum(axis=0) >= _HALF
    return BreakdownShare(
        share=_crossing(np.array(shares), broke.sum(axis=0), runs.sum(axis=0)),
        low=float(low),
        high=float(high) if np.isfinite(high) else None,
        tested=shares[-1],
        seeds=len(seeds),
        first_broken=shares[int(broken.argmax())] if broken.any() else None,
        islands=tuple(_islands(shares, broken.tolist())),
    )


def _cut(broke: NDArray[np.float64], runs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the position of the first share at which the isotonic fit of each row reaches one half.

    The fit is at least one half from the position whose split into "held" below and "broke" from there on
    contradicts the fewest runs. Of several, it is the first. This is much faster than a regression per row.

    Args:
        broke: Number of broken runs by sample and share, (b, m).
        runs: Number of runs by sample and share, (b, m).

    Returns:
        Positions from 0 to m, (b,). m: the fit never reaches one half.
    """
    start = np.zeros((len(broke), 1))
    broke_below = np.concatenate([start, broke.cumsum(axis=1)], axis=1)
    held_below = np.concatenate([start, (runs - broke).cumsum(axis=1)], axis=1)
    contradictions = broke_below + held_below[:, -1:] - held_below
    first: NDArray[np.int64] = contradictions.argmin(axis=1)
    return first


def _crossing(
    shares: NDArray[np.float64], broke: NDArray[np.float64], runs: NDArray[np.float64]
) -> float | None:
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415  # scikit-learn is slow to import

    fit = IsotonicRegression(y_min=0, y_max=1).fit_transform(shares, broke / runs, sample_weight=runs)
    reached = fit >= _HALF
    if not reached.any():
        return None
    first = int(reached.argmax())
    if first == 0:
        return float(shares[0])
    before, after = fit[first - 1], fit[first]
    weight = (0.5 - before) / (after - before)
    return float(shares[first - 1] + weight * (shares[first] - shares[first - 1]))


def _islands(shares: list[float], broken: list[bool]) -> Iterable[Island]:
    """Yield the runs of shares that held above the first one that did not."""
    start: float | None = None
    seen = False
    for position, share in enumerate(shares):
        if broken[position]:
            if start is not None:
                yield Island(start, shares[position - 1])
            seen, start = True, None
        elif seen and start is None:
            start = share
    if start is not None:
        yield Island(start, shares[-1])
