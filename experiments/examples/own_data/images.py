"""A folder of colour images with a convolutional network: a backdoor, and a rule that withstands it.

`python -m experiments.examples.own_data.images` draws the images into the current folder and runs the
comparison.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import fedpoison as fp
from fedpoison.studies.comparison import Comparison

SHAPES = ("circle", "square", "triangle")
ATTACKS = ("none", "backdoor(target=0)+scaled-update(factor=5)")
STRATEGIES = ("fedavg", "median")


def draw_images(folder: Path, count: int = 120) -> None:
    """Draw `count` images per class: a shape of any colour and place, on images of different sizes."""
    random = np.random.default_rng(0)
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            width, height = (int(side) for side in random.integers(28, 48, 2))
            image = Image.new("RGB", (width, height), tuple(random.integers(0, 90, 3).tolist()))
            draw, colour = ImageDraw.Draw(image), tuple(random.integers(140, 256, 3).tolist())
            side = int(random.integers(12, 20))
            left, top = (int(random.integers(2, size - side - 2)) for size in (width, height))
            box = (left, top, left + side, top + side)
            if shape == "circle":
                draw.ellipse(box, fill=colour)
            elif shape == "square":
                draw.rectangle(box, fill=colour)
            else:
                draw.polygon([(left, box[3]), (box[2], box[3]), (left + side // 2, top)], fill=colour)
            image.save(folder / shape / f"{number:03d}.png")


def compare(folder: Path, *, rounds: int = 15, jobs: int | None = None) -> Comparison:
    """Compare rules with one of six clients malicious, on images of 24 by 24 pixels."""
    return fp.compare(
        ATTACKS,
        STRATEGIES,
        dataset=f'image-folder(path="{folder}", size=24)',
        clients=6,
        malicious_count=1,
        rounds=rounds,
        batch_size=8,
        jobs=jobs,
    )


def main() -> None:
    """Draw the images, compare, and print the accuracy and the success of the backdoor."""
    folder = Path("shapes")
    draw_images(folder)
    found = compare(folder)
    print(found.table("accuracy").round(3))
    print(found.table("success").round(3))


if __name__ == "__main__":
    main()
