"""Local training of clients, one after the other or stacked, with their samples and parameters."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from clients.training.batch import Job as Job
    from clients.training.batch import Trained as Trained
    from clients.training.batch import train_clients as train_clients
    from clients.training.dropout import Dropout as Dropout
    from clients.training.local_training import LocalTraining as LocalTraining
    from clients.training.parameters import Buffers as Buffers
    from clients.training.parameters import Layout as Layout
    from clients.training.parameters import ModelState as ModelState
    from clients.training.parameters import buffers_of as buffers_of
    from clients.training.parameters import flatten as flatten
    from clients.training.parameters import layout_of as layout_of
    from clients.training.parameters import load as load
    from clients.training.parameters import split as split
    from clients.training.parameters import trainable as trainable
    from clients.training.samples import Samples as Samples
    from clients.training.trainer import Trainer as Trainer

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "clients.training.batch": ["Job", "Trained", "train_clients"],
        "clients.training.dropout": ["Dropout"],
        "clients.training.local_training": ["LocalTraining"],
        "clients.training.parameters": [
            "Buffers",
            "Layout",
            "ModelState",
            "buffers_of",
            "flatten",
            "layout_of",
            "load",
            "split",
            "trainable",
        ],
        "clients.training.samples": ["Samples"],
        "clients.training.trainer": ["Trainer"],
    },
)
