"""History of a run, as pandas frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedpoison.errors import ScenarioError
from fedpoison.results import metrics as measures
from fedpoison.results.defects import Defects, used_marks, without_effect, without_poison
from fedpoison.results.display import Displayed
from fedpoison.results.metrics import json_number
from fedpoison.results.round import Round, Split
from fedpoison.results.round_rows import CLIENT_COLUMNS, client_rows, round_row
from fedpoison.scenario.fields import About, fields_about
from fedpoison.scenario.scenario import Scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class History(Displayed):
    """Records of one run. The first record is the initial model's."""

    scenario: Scenario
    records: Sequence[Round]
    path: Path | None = None
    """Folder of the run. None: the run wrote no files."""
    class_names: Sequence[str] = ()
    """Name of each class. Empty: the classes have no names."""
    centralized: bool = False
    """Whether one model was trained on all data, without clients."""

    @property
    def last(self) -> Round:
        return self.records[-1]

    @property
    def class_labels(self) -> list[str]:
        """Number of each class, with its name if it has one, for tables and figures."""
        return class_labels(self.class_names, len(self.last.counts))

    @property
    def seconds(self) -> float:
        """Wall-clock time of all rounds, in seconds."""
        return sum(sum(record.training.seconds.values()) for record in self.records)

    @property
    def dropped(self) -> dict[str, int]:
        """Number of unusable replies in the run, by reason."""
        return dict(self.defects.dropped)

    @property
    def unchanged(self) -> dict[str, int]:
        """Number of rounds that left the model unchanged, by reason."""
        return dict(self.defects.unchanged)

    @cached_property
    def defects(self) -> Defects:
        """Facts without which the result misleads: lost replies, rounds and attacks, and no result."""
        groups = [record.training.groups for record in self.records]
        if self.centralized:
            idle = without_poison(groups)
        else:
            idle = without_effect(groups, self.scenario.selection.no_effect(self.scenario.rounds))
        return Defects.from_records(self.records, idle, clean=self.scenario.clean)

    @property
    def notes(self) -> list[str]:
        """One text per defect of the run."""
        return self.defects.notes

    remarks = notes

    def to_frame(self) -> pd.DataFrame:
        """Return one row per record: accuracies, loss, attack success, trust and update statistics.

        `acting` is the number of clients that attacked. The true and false positive rate, `trust_auroc` and
        `malicious_mass` count these clients as malicious. A dropped one of them counts as
        rejected. The columns `malicious_norm`, `malicious_distance` and `malicious_cosine` are means over
        their updates: norm, distance from the mean of the honest updates, and cosine with that mean.
        `honest_norm` and `honest_distance` are means over the others. `dropped` is the number of unusable
        replies in the round. `unusable` and `unchanged` count unusable replies, and rounds that did not
        change the model, since the previous row. With `validation_samples`, columns such as
        `validation_accuracy` have the results on the validation set.
        """
        return pd.DataFrame([round_row(record) for record in self.records]).set_index("round")

    def per_class(self, split: Split = "test") -> pd.DataFrame:
        """Return the accuracy of each class (columns) after each round (rows).

        Args:
            split: Samples that the model is evaluated on. `validation` needs `validation_samples`.

        Raises:
            ScenarioError: the run has no validation set.
        """
        return self._classes(measures.per_class_accuracy, split)

    def per_class_precision(self, split: Split = "test") -> pd.DataFrame:
        """Return the precision of each class (columns) after each round (rows), as `per_class`."""
        return self._classes(measures.per_class_precision, split)

    def per_class_f1(self, split: Split = "test") -> pd.DataFrame:
        """Return the F1 score of each class (columns) after each round (rows), as `per_class`."""
        return self._classes(measures.per_class_f1, split)

    def trust(self) -> pd.DataFrame:
        """Return the trust in each update: `round`, `node` (the client), `malicious`, `trust`."""
        rows = [
            (record.round, client_id, client_id in record.training.malicious, share)
            for record in self.records
            for client_id, share in (record.training.trust or {}).items()
        ]
        return pd.DataFrame(rows, columns=["round", "node", "malicious", "trust"])

    def per_client(self) -> pd.DataFrame:
        """Return one row per round and sampled client (`node`).

        `group` is the position of the client's group in the scenario, and `acted` is whether it attacked.
        `norm`, `distance` and `cosine` describe its update, as in `to_frame`. `trust` is the weight of the
        update, and `dropped` is the reason why its reply is unusable.
        """
        return pd.DataFrame(
            [row for record in self.records for row in client_rows(record)], columns=CLIENT_COLUMNS
        )

    def damage(self, clean_run: History) -> pd.DataFrame:
        """Return the damage of the attack to each class (columns) after each round (rows).

        Damage is the clean run's accuracy minus this run's accuracy. The column `all` is the damage on the
        whole test set.

        Args:
            clean_run: history of the same scenario without attack.

        Raises:
            ScenarioError: the clean run has another seed, another data set or another number of rounds.
        """
        self._check_clean_run(clean_run)
        damage = clean_run.per_class() - self.per_class()
        damage["all"] = clean_run.to_frame()["accuracy"] - self.to_frame()["accuracy"]
        return damage

    def recovery_half_life(self, clean_run: History | None = None) -> float:
        """Count the rounds after the attack's last round until half of the lost accuracy is regained.

        The loss is relative to the clean run in the same round. Without a clean run, the loss is relative to
        the accuracy before the attack's first round.

        Returns:
            The number of rounds. NaN: half is never regained, nothing was lost, or rounds have no record.

        Raises:
            ScenarioError: as for `damage`.
        """
        if clean_run is not None:
            self._check_clean_run(clean_run)
        if self.scenario.evaluate_every > 1:
            return float("nan")
        return measures.recovery_half_life(
            [record.accuracy for record in self.records],
            [bool(record.training.acting) for record in self.records],
            None if clean_run is None else [record.accuracy for record in clean_run.records],
        )

    @property
    def title(self) -> str:
        """Title of a figure: strategy, attack and data set."""
        return f"{self.scenario.strategy} under {self.scenario.threat} ({self.scenario.dataset_title})"

    @property
    def headline(self) -> str:
        """Title, number of rounds, and accuracies after the last round."""
        facts = [f"accuracy {self.last.accuracy:.1%}", f"worst class {self.last.worst_class_accuracy:.1%}"]
        if self.last.attack_success_rate is not None:
            facts.append(f"attack success {self.last.attack_success_rate:.1%}")
        run = f"{self.title}, seed {self.scenario.seed}, {self.last.round} of {self.scenario.rounds} rounds"
        return f"{run}: {', '.join(facts)}"

    def shown_frame(self) -> pd.DataFrame:
        """Return the accuracy, the loss and the accuracy of each class after each round."""
        classes = self.per_class().set_axis(self.class_labels, axis=1)
        return self.to_frame()[["accuracy", "loss"]].join(classes)

    def summary(self, clean_run: History | None = None) -> dict[str, object]:
        """Return the result of the run as plain values for JSON, with None for missing numbers.

        Args:
            clean_run: history of the same scenario without attack, which adds the damage. Default: no damage.

        Raises:
            ScenarioError: as for `damage`.
        """
        last, rates = self.last, self.to_frame().iloc[-1]
        clean = None if clean_run is None else clean_run.last
        damage = None if clean_run is None else self.damage(clean_run).drop(columns="all").iloc[-1]
        return {
            "run_id": self.scenario.run_id,
            "accuracy": last.accuracy,
            "per_class_accuracy": [json_number(value) for value in last.per_class_accuracy],
            "worst_class_accuracy": last.worst_class_accuracy,
            "attack_success_rate": json_number(last.attack_success_rate),
            "source_to_target_rate": json_number(last.source_to_target_rate),
            "loss": last.loss,
            "rounds": last.round,
            **self.defects.as_json(),
            "seconds": round(self.seconds, 3),
            "dataset": self.scenario.dataset,
            "path": None if self.path is None else str(self.path),
            "threat": self.scenario.threat,
            "trust_auroc": json_number(rates["trust_auroc"]),
            "malicious_mass": json_number(rates["malicious_mass"]),
            "malicious_distance": json_number(rates["malicious_distance"]),
            "malicious_cosine": json_number(rates["malicious_cosine"]),
            "recovery_half_life": json_number(self.recovery_half_life(clean_run)),
            "twin_run_id": None if clean_run is None else clean_run.scenario.run_id,
            "twin_accuracy": None if clean is None else clean.accuracy,
            "twin_attack_success_rate": None if clean is None else json_number(clean.attack_success_rate),
            "twin_source_to_target_rate": None if clean is None else json_number(clean.source_to_target_rate),
            "damage_per_class": None if damage is None else [json_number(value) for value in damage],
            **({} if last.validation is None else {"validation": last.validation.summary()}),
        }

    def plot(self) -> Figure:
        """Draw the heat map of the accuracy of each class after each round."""
        from fedpoison.plotting import class_heat_map  # noqa: PLC0415  # matplotlib takes a second to import

        classes = self.per_class().set_axis(self.class_labels, axis=1)
        return self._marked(class_heat_map(classes, self.title))

    def plot_confusion(self) -> Figure:
        """Draw the heat map of the confusion matrix after the last round."""
        from fedpoison.plotting import confusion_matrix  # noqa: PLC0415  # as above

        return self._marked(confusion_matrix(self.last.counts, self.title, self.class_labels))

    def _marked(self, figure: Figure) -> Figure:
        """Return a figure with the mark of the run behind its title, and the meaning of the mark below it."""
        from fedpoison.plotting import mark_legend  # noqa: PLC0415  # as above

        figure.axes[0].set_title(f"{self.title} {self.defects.mark}".rstrip())
        mark_legend(figure, used_marks([self.defects.mark]))
        return figure

    def _check_clean_run(self, clean_run: History) -> None:
        for name in fields_about(Scenario, About.REFERENCE):
            mine, theirs = getattr(self.scenario, name), getattr(clean_run.scenario, name)
            if mine != theirs:
                problem = f"got {name} {theirs}, expected {mine}, as in the attacked run."
                raise ScenarioError(f"clean run: {problem}")

    def _classes(self, measure: Callable[[measures.Counts], Any], split: Split) -> pd.DataFrame:
        index = pd.Index([record.round for record in self.records], name="round")
        frame = pd.DataFrame([measure(record.split(split).counts) for record in self.records], index=index)
        return frame.rename_axis(columns="class")


def class_labels(names: Sequence[str], classes: int) -> list[str]:
    """Return the number of each class, with its name if it has one.

    >>> class_labels(["cat", "dog"], 2), class_labels([], 2)
    (['0 cat', '1 dog'], ['0', '1'])
    """
    return [" ".join([str(label), *names[label : label + 1]]) for label in range(classes)]
