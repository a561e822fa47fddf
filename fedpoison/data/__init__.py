"""Data sets: find their files, download missing ones, and load them as normalised samples."""

from fedpoison.data.datasets import AUTO, data_folders, datasets, load_dataset
from fedpoison.data.sources import DATASETS, Dataset, Source

__all__ = ["AUTO", "DATASETS", "Dataset", "Source", "data_folders", "datasets", "load_dataset"]
