"""The app's own model, data and training loop."""

from __future__ import annotations

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, TensorDataset

TEST = 5
"""Every fifth image is a test image."""


def build_model() -> nn.Module:
    """Build a small convolutional network with batch normalization."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10),
    )


@cache
def load_images() -> tuple[Tensor, Tensor]:
    """Return all images (m, 1, 8, 8) with pixels from 0 to 1, and their labels (m,)."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    return images, torch.tensor(digits.target)


def load_partition(partition: int, partitions: int) -> TensorDataset:
    """Return the training data of one client."""
    images, labels = load_images()
    training = torch.arange(len(labels)) % TEST != 0
    return TensorDataset(images[training][partition::partitions], labels[training][partition::partitions])


def train(model: nn.Module, data: Dataset[tuple[Tensor, ...]], lr: float, seed: int) -> None:
    """Train for one pass over the data."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    order = torch.Generator().manual_seed(seed)
    for images, labels in DataLoader(data, batch_size=16, shuffle=True, generator=order, drop_last=True):
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Return the accuracy on the test images."""
    model.eval()
    images, labels = load_images()
    test = torch.arange(len(labels)) % TEST == 0
    return float((model(images[test]).argmax(dim=1) == labels[test]).float().mean())
