"""An own CNN with batch normalisation on an own folder of colour images, attacked and defended.

`python -m experiments.examples.own_data.own_model` draws the images into the current folder, and runs the
comparison with the model of `experiments/examples/batch_norm_model.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import fedpoison as fp
from experiments.examples.own_data.images import draw_images
from fedpoison.studies.comparison import Comparison

MODEL = "experiments.examples.batch_norm_model:BatchNormCNN(width=16)"
ATTACKS = ("none", "label-flip", "scaled-update")
STRATEGIES = ("fedavg", "median", "multi-krum")


def compare(
    folder: Path,
    *,
    attacks: Sequence[str] = ATTACKS,
    strategies: Sequence[str] = STRATEGIES,
    rounds: int = 15,
    jobs: int | None = None,
) -> Comparison:
    """Compare rules with two of eight clients malicious, on images of 24 by 24 pixels."""
    return fp.compare(
        attacks,
        strategies,
        dataset=f'image-folder(path="{folder}", size=24)',
        model=MODEL,
        clients=8,
        malicious_count=2,
        rounds=rounds,
        epochs=3,
        batch_size=8,
        jobs=jobs,
    )


def main() -> None:
    """Draw the images, compare, and print the accuracy of each class."""
    folder = Path("shapes")
    draw_images(folder)
    found = compare(folder)
    print(found.table("accuracy").round(3))
    for attack in ATTACKS:
        print(found.classes(attack).set_axis(found.class_labels, axis=1).round(3))


if __name__ == "__main__":
    main()
