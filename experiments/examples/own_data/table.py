"""A table of tumours with a perceptron: which rule keeps the accuracy of each class under attack?

`python -m experiments.examples.own_data.table` writes the table into the current folder and runs the
comparison. The data is the Wisconsin breast cancer set, which is part of scikit-learn.
"""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_breast_cancer

import fedpoison as fp
from fedpoison.studies.comparison import Comparison

ATTACKS = ("none", "label-flip", "sign-flip", "alie")
STRATEGIES = ("fedavg", "median", "multi-krum")
HOSPITALS = 10


def write_table(path: Path) -> None:
    """Write one row per tumour: 30 measurements, the diagnosis, and the hospital that treated it."""
    found = load_breast_cancer(as_frame=True)
    diagnoses = [str(found.target_names[label]) for label in found.target]
    hospitals = [f"hospital {row % HOSPITALS}" for row in range(len(found.frame))]
    found.frame.assign(target=diagnoses, hospital=hospitals).to_csv(path, index=False)


def compare(path: Path, *, rounds: int = 10, jobs: int | None = None) -> Comparison:
    """Compare rules with three of ten hospitals malicious. Each hospital trains on its own patients."""
    return fp.compare(
        ATTACKS,
        STRATEGIES,
        dataset=f'csv(path="{path}", label=target, client=hospital)',
        partition="natural",
        model="mlp-small",
        clients=HOSPITALS,
        malicious=0.3,
        rounds=rounds,
        batch_size=8,
        jobs=jobs,
    )


def main() -> None:
    """Write the table, compare, and print the accuracy of each class."""
    path = Path("tumours.csv")
    write_table(path)
    found = compare(path)
    print(found.table("accuracy").round(3))
    for attack in ATTACKS:
        print(found.classes(attack).set_axis(found.class_labels, axis=1).round(3))


if __name__ == "__main__":
    main()
