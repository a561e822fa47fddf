"""Centralized training on poisoned data: `python -m experiments.central_poisoning` writes table and figure.

One party trains one model on all data, and a growing share of the data is poisoned. No aggregation protects
the model. The study shows how much poison training itself withstands, what a targeted flip does to its class,
and how little data a backdoor needs. MNIST, 6,000 images, a small perceptron, five
epochs, two seeds: 48 runs, some two minutes on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedpoison.simulation.centralized import train_centralized
from fedpoison.studies.study import Study
from fedpoison.studies.study_figure import write_figure
from fedpoison.studies.study_result import StudyResults

STUDY = Study.parse(
    {
        "name": "central_poisoning",
        "title": "Central training on poisoned data",
        "base": {
            "dataset": "mnist",
            "train_samples": 6000,
            "test_samples": 2000,
            "rounds": 5,
            "model": "mlp-small",
            "batch_size": 10,
            "lr": 0.05,
        },
        "axes": {
            "attack": ["label-flip", "label-flip(mode=targeted)", "pixel-noise", "backdoor"],
            "malicious": {"from": 0.0, "to": 1.0, "step": 0.2},
            "seed": [0, 1],
        },
        "figure": {
            "kind": "lines",
            "x": "malicious",
            "series": "attack",
            "measure": ["accuracy", "worst_class_accuracy", "success"],
        },
    }
)


def run_study(study: Study, out: Path, data_dir: Path | None = None) -> StudyResults:
    """Run centralized training for each cell of a study, and write the results into `out`/studies."""
    histories = {
        cell: train_centralized(cell.scenario, out=out, data_dir=data_dir)
        for cell in study.cells()
        if cell.scenario is not None
    }
    results = StudyResults(study, histories, {})
    folder = out / "studies" / study.name
    results.write(folder)
    write_figure(study, results.complete_runs, folder)
    return results


def main() -> None:
    """Run the scenarios, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"), help="run store")
    parser.add_argument("--data-dir", type=Path, help="data set folder")
    arguments = parser.parse_args()
    results = run_study(STUDY, arguments.out, arguments.data_dir)
    print(f"{STUDY.title}, %, mean over the seeds:")
    print((100 * results.summary()).round(1).to_string())
    print(f"results: {arguments.out / 'studies' / STUDY.name}")


if __name__ == "__main__":
    main()
