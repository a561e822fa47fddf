"""Local training of clients, one after the other or stacked, with their samples and parameters."""

from clients.training.samples import Samples
from clients.training.trainer import LocalTraining, Trainer

__all__ = ["LocalTraining", "Samples", "Trainer"]
