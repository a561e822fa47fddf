"""The history of a run, as pandas frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedpoison import measures
from fedpoison.rounds import Round
from fedpoison.scenario import Scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class History:
    """The rounds of one run, the initial model first."""

    scenario: Scenario
    records: Sequence[Round]
    path: Path | None = None
    """The run's folder, where it is kept."""

    @property
    def last(self) -> Round:
        return self.records[-1]

    @property
    def seconds(self) -> float:
        """Wall-clock time of all rounds."""
        return sum(sum(record.training.seconds.values()) for record in self.records)

    def rounds(self) -> pd.DataFrame:
        """Return one row a round: accuracy, worst class, loss, attack success, the rule's TPR and FPR."""
        return pd.DataFrame([_row(record) for record in self.records]).set_index("round")

    def per_class(self) -> pd.DataFrame:
        """Return the accuracy of each class (columns) after each round (rows)."""
        return self._classes(measures.per_class_accuracy)

    def per_class_precision(self) -> pd.DataFrame:
        """Return the precision of each class (columns) after each round (rows)."""
        return self._classes(measures.per_class_precision)

    def per_class_f1(self) -> pd.DataFrame:
        """Return the F1 score of each class (columns) after each round (rows)."""
        return self._classes(measures.per_class_f1)

    def trust(self) -> pd.DataFrame:
        """Return one row a round and node that was trusted or not: `round`, `node`, `malicious`, `trust`."""
        rows = [
            {
                "round": record.round,
                "node": node,
                "malicious": node in record.training.malicious,
                "trust": share,
            }
            for record in self.records
            for node, share in (record.training.trust or {}).items()
        ]
        return pd.DataFrame(rows, columns=["round", "node", "malicious", "trust"])

    def plot(self) -> Figure:
        """Return a figure of the accuracy of every class after every round."""
        from fedpoison.figures import class_heat_map  # noqa: PLC0415  # matplotlib takes a second to import

        return class_heat_map(self)

    def _classes(self, measure: Callable[[measures.Counts], Any]) -> pd.DataFrame:
        index = pd.Index([record.round for record in self.records], name="round")
        frame = pd.DataFrame([measure(record.counts) for record in self.records], index=index)
        return frame.rename_axis(columns="class")


def _row(record: Round) -> dict[str, float | int | None]:
    training = record.training
    caught, blamed = (
        measures.trust_rates(training.trust, training.malicious) if training.trust else (None, None)
    )
    return {
        "round": record.round,
        "accuracy": record.accuracy,
        "worst_class_accuracy": record.worst_class_accuracy,
        "loss": record.loss,
        "attack_success_rate": record.attack_success_rate,
        "source_to_target_rate": record.source_to_target_rate,
        "true_positive_rate": caught,
        "false_positive_rate": blamed,
        "dropped": len(training.dropped),
        "seconds": sum(training.seconds.values()),
    }
