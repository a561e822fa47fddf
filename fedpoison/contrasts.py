"""What a comparison says: estimates with intervals, paired differences, and each strategy's weak points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from fedpoison.comparison import MEASURES, Comparison
from fedpoison.errors import ScenarioError, unknown
from fedpoison.intervals import Estimate, estimate
from fedpoison.pipelines import read_aggregation

ACCURACY, SUCCESS = MEASURES["accuracy"], MEASURES["attack success"]


def estimates(found: Comparison) -> pd.DataFrame:
    """Return one row an attack, strategy and measure: `mean` over the seeds, `low` and `high` (0.95).

    A measure that a run does not have, such as the success of an attack without a target, is NaN.
    """
    return _frame(
        _row(estimate(found.values(measure, attack, strategy)), attack, strategy, name)
        for attack in found.attacks
        for strategy in found.strategies
        for name, measure in MEASURES.items()
    )


def differences(found: Comparison, reference: str | None = None) -> pd.DataFrame:
    """Return the same rows for what each strategy has more than the reference, paired over the seeds.

    Runs with the same seed start from the same weights, data and malicious nodes, so that what chance gives
    both falls out of their difference.

    Args:
        found: the runs.
        reference: one of its strategies, which gets no rows; None takes the `steadiest`.

    Raises:
        ScenarioError: the reference is none of the strategies.
    """
    reference = steadiest(found) if reference is None else reference
    return _frame(_differences(found, check_reference(found.strategies, reference)))


def check_reference(strategies: Sequence[str], reference: str) -> str:
    """Return the reference as the strategies spell it, or raise ScenarioError if it is none of them."""
    spelled = {read_aggregation(strategy): strategy for strategy in strategies}
    try:
        return spelled[read_aggregation(reference)]
    except (KeyError, ScenarioError):
        raise unknown("reference", reference, strategies) from None


def _differences(found: Comparison, reference: str) -> Iterator[_Row]:
    for attack in found.attacks:
        for strategy in found.strategies:
            if strategy == reference:
                continue
            for name, measure in MEASURES.items():
                ours = np.array(found.values(measure, attack, strategy))
                theirs = np.array(found.values(measure, attack, reference))
                yield _row(estimate(list(ours - theirs)), attack, strategy, name)


def steadiest(found: Comparison) -> str:
    """Return the strategy whose lowest accuracy over the attacks is the highest; one that stops is last."""
    lowest = found.table(ACCURACY).min(skipna=False)
    return str(lowest.fillna(-1).idxmax())


def stopped(found: Comparison) -> pd.DataFrame:
    """Return one row a run whose strategy had to stop: `attack`, `strategy`, `seed` and the `reason`."""
    rows = [(cell.attack, cell.strategy, cell.seed, reason) for cell, reason in found.stopped.items()]
    return pd.DataFrame(rows, columns=["attack", "strategy", "seed", "reason"])


def weakest(found: Comparison) -> pd.DataFrame:
    """Return one row a strategy: where it fares worst, by means over the seeds.

    `accuracy` is the lowest over the attacks, `under` that attack; `class`, `class_accuracy`, `class_under`
    say the same of the class that fares worst under any attack; `success` is the highest success of an attack
    with a target and `success_of` that attack, NaN and None without one. An attack under which a strategy had
    to stop with any seed is its worst: `under` and `class_under` name it, and the accuracies are NaN.
    """
    successes = found.table(SUCCESS)
    rows = []
    for strategy in found.strategies:
        stopping = next((attack for attack in found.attacks if found.stops(attack, strategy)), None)
        success = successes[strategy].dropna()
        rows.append(
            (_lowest(found, strategy) if stopping is None else _stopped(stopping))
            | {"success": success.max(), "success_of": success.idxmax() if len(success) else None}
        )
    frame = pd.DataFrame(rows, index=pd.Index(found.strategies, name="strategy"))
    return frame.astype({"class": "Int64"})


def _lowest(found: Comparison, strategy: str) -> dict[str, object]:
    accuracies = found.table(ACCURACY)[strategy]
    classes = pd.concat({attack: found.classes(attack).loc[strategy] for attack in found.attacks})
    attack, label = classes.idxmin()
    return {
        "accuracy": accuracies.min(),
        "under": accuracies.idxmin(),
        "class": label,
        "class_accuracy": classes.min(),
        "class_under": attack,
    }


def _stopped(attack: str) -> dict[str, object]:
    nan = float("nan")
    return {
        "accuracy": nan, "under": attack, "class": None, "class_accuracy": nan, "class_under": attack,
    }  # fmt: skip


_ENDS = {"mean": float, "low": float, "high": float}
_Row = tuple[str, str, str, float, float | None, float | None]


def _row(value: Estimate, attack: str, strategy: str, measure: str) -> _Row:
    return attack, strategy, measure, value.mean, value.low, value.high


def _frame(rows: Iterable[_Row]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["attack", "strategy", "measure", *_ENDS]).astype(_ENDS)
