"""The robustness card: the result of an audit as one value that JSON and tables show."""

from __future__ import annotations

import json
import math
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd
from pydantic import ValidationError
from pydantic_core import from_json

from fedpoison.audits.card_parts import (
    Attacked,
    Breakdown,
    ClassTreatment,
    Clean,
    Flag,
    Part,
    Tried,
    worst_of,
)
from fedpoison.audits.protocol import THREATS, Threat
from fedpoison.errors import RunError
from fedpoison.results.display import Displayed
from fedpoison.results.run_frame import percent
from fedpoison.results.strict_json import to_json
from fedpoison.scenario.specs import validation_message

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class AuditCard(Displayed, Part):
    """Result of an audit. Accuracies and rates are shares from 0 to 1; larger accuracies are better.

    The numbers at the top are at the headline share and over all partitions: the worst case counts.
    """

    strategy: str
    protocol: str
    budget: str
    headline_share: float
    worst_accuracy: float
    """Lowest accuracy under any attack."""
    worst_class_accuracy: float
    """Lowest accuracy of a class under any attack."""
    backdoor_success: float | None
    """Highest success of a backdoor. None: no backdoor ran."""
    targeted_success: float | None
    """Highest share of the source class that the model took for the target."""
    clean_accuracy: float
    """Lowest accuracy without attack over the partitions."""
    robustness_cost: float
    """Largest difference of FedAvg and the strategy in accuracy, both without attack."""
    breakdown_share: float | None
    """Malicious share from which an attack costs too much accuracy. None: no share of the protocol."""
    breakdown: Breakdown
    dataset: str
    model: str
    settings: dict[str, Any]
    """Fields of the scenario that all runs share."""
    changed_settings: list[str]
    """Settings that differ from the protocol. Cards compare only if the list is empty."""
    protocol_digest: str
    version: str
    seeds: list[int]
    tuning_seeds: list[int]
    tries: int
    """Number of attacks with different strengths that were tried."""
    runs: int
    clean: list[Clean]
    attacked: list[Attacked]
    tried: list[Tried]
    undefined: dict[str, str]
    """Malicious shares for which the strategy is not defined, with the reason."""
    left_out: dict[str, str]
    """Attacks that cannot run on these data, with the reason."""
    flags: list[Flag]
    classes: list[ClassTreatment]
    seconds_per_round: dict[str, float]
    """Mean time per round by phase, without attack."""
    memory: float | None
    """Largest memory of an aggregation beyond its input, in bytes per byte of the matrix of updates. None:
    the strategy needs more than updates, or the system does not show the memory."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a card from a JSON file.

        Raises:
            RunError: the file cannot be read, or it is not a card.
        """
        try:
            content = from_json(Path(path).read_bytes())
            written = content.pop("digest", None) if isinstance(content, dict) else None
            card = cls.model_validate(content)
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror}).") from None
        except ValidationError as error:
            raise RunError(f"{path}: is no audit card: {validation_message(error)}.") from None
        except ValueError as error:
            raise RunError(f"{path}: is no audit card: {error}.") from None
        if written not in (None, card.digest):
            raise RunError(
                f"{path}: digest: got {written}, expected {card.digest}; the card was edited after its audit."
            )
        return card

    def content(self) -> dict[str, Any]:
        """Return the card as plain values, with its digest."""
        return {**self.model_dump(mode="json"), "digest": self.digest}

    def to_json(self) -> str:
        """Return the card as JSON, which `load` reads."""
        return to_json(self.content(), indent=1)

    def __str__(self) -> str:
        return repr(self)

    @property
    def digest(self) -> str:
        """Hash of the content without times and weaker tries. Repeated audits have one digest."""
        content = self.compact().model_dump(mode="json", exclude={"seconds_per_round", "memory", "version"})
        return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=6).hexdigest()

    def compact(self) -> Self:
        """Return the card with the strongest try of each attack only."""
        return self.model_copy(update={"tried": [row for row in self.tried if row.strongest]})

    @property
    def shares(self) -> list[float]:
        """Malicious shares with results."""
        return sorted({row.share for row in self.attacked})

    @property
    def partitions(self) -> list[str]:
        """Names of the partitions."""
        return list(dict.fromkeys(row.partition for row in self.clean))

    def worst(
        self, threat: Threat, share: float | None = None, partition: str | None = None
    ) -> Attacked | None:
        """Return the attack of a threat that harms most, or None without one.

        Args:
            threat: Untargeted attacks are compared by accuracy, the others by success.
            share: Malicious share. Default: the headline share.
            partition: Name of a partition. Default: any.
        """
        at = self.headline_share if share is None else share
        rows = [
            row
            for row in self.attacked
            if row.threat == threat and row.share == at and partition in (None, row.partition)
        ]
        return worst_of(rows)

    @property
    def headline(self) -> str:
        """Protocol, strategy and the numbers at the top."""
        backdoor = "" if self.backdoor_success is None else f", backdoor {percent(self.backdoor_success)} %"
        return (
            f"{self.protocol} ({self.budget}) of {self.strategy} on {self.dataset}, "
            f"{percent(self.headline_share, 0)} % malicious: "
            f"clean {percent(self.clean_accuracy)} %, worst case {percent(self.worst_accuracy)} %, "
            f"worst class {percent(self.worst_class_accuracy)} %{backdoor}, "
            f"breakdown share {self.breakdown.text}"
        )

    @property
    def remarks(self) -> list[str]:
        """One line per flag."""
        return [f"{flag.kind}: {flag.text}" for flag in self.flags]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per reported attack: threat, partition, share, attack, measures. NaN: no number."""
        rows = []
        for row in self.attacked:
            values = row.model_dump(exclude={"stopped_seeds"})
            flat: dict[str, object] = {}
            for name, value in values.items():
                if value is None or isinstance(value, dict):  # only a measure can be None
                    numbers = [(value or {}).get(key) for key in ("mean", "low", "high")]
                    columns = (name, f"{name}_low", f"{name}_high")
                    flat |= dict(zip(columns, map(_or_nan, numbers), strict=True))
                else:
                    flat[name] = value
            rows.append(flat)
        return pd.DataFrame(rows)

    def shown_frame(self) -> pd.DataFrame:
        """Return the worst attack per threat and share, over all partitions."""
        rows = [
            {
                "threat": threat,
                "share": share,
                "accuracy": worst.accuracy.mean,
                "worst_class": worst.worst_class_accuracy.mean,
                "success": _or_nan(None if worst.success is None else worst.success.mean),
                "attack": worst.attack,
                "partition": worst.partition,
            }
            for threat in THREATS
            for share in self.shares
            if (worst := self.worst(threat, share)) is not None
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Figure:
        """Draw the worst case by malicious share."""
        from fedpoison.audits.figures import worst_case_by_share  # noqa: PLC0415  # matplotlib takes a second to import

        return worst_case_by_share(self)


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number
