"""An own CNN with batch normalisation, attacked and defended.

`python -m experiments.examples.batch_norm_model` takes half a minute. From the command line, the same model
trains with `fedpoison run --model experiments/examples/batch_norm_model.py:BatchNormCNN --dataset digits`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import fedpoison as fp


class BatchNormCNN(nn.Module):
    """Two convolutions with batch normalisation, and a forward of its own.

    The simulation gives the shape (c, h, w) of an image and the number of classes.
    """

    def __init__(self, num_classes: int = 10, width: int = 8, shape: tuple[int, ...] = (1, 28, 28)) -> None:
        super().__init__()
        self.first = nn.Conv2d(shape[0], width, 5, padding=2, stride=2)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, 2 * width, 5, padding=2, stride=2)
        self.second_norm = nn.BatchNorm2d(2 * width)
        self.classifier = nn.Linear(2 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits (m, k) of images (m, c, h, w)."""
        hidden = self.first_norm(self.first(images)).relu()
        hidden = self.second_norm(self.second(hidden)).relu()
        logits: Tensor = self.classifier(hidden.mean(dim=(2, 3)))
        return logits


def accuracies(*, rounds: int = 10, train_samples: int = 0) -> dict[str, float]:
    """Return the final accuracy of the attacked model by strategy and setting of the buffers."""
    torch.manual_seed(0)
    model = BatchNormCNN()
    scenario = fp.Scenario(
        dataset="digits",
        train_samples=train_samples,
        clients=10,
        rounds=rounds,
        batch_size=8,
        lr=0.2,
        attack="sign-flip",
        malicious=0.2,
    )
    found = {}
    for strategy in ("fedavg", "median"):
        for buffers in ("average", "local"):
            history = fp.simulate(scenario, model=model, strategy=strategy, buffers=buffers)
            found[f"{strategy}, buffers={buffers}"] = history.last.accuracy
    return found


def main() -> None:
    """Print the accuracies."""
    for name, accuracy in accuracies().items():
        print(f"{name:28} {accuracy:.1%}")


if __name__ == "__main__":
    main()
