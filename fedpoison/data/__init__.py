"""Data sets: find their files, download missing ones, and load them as normalised samples."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from fedpoison.data.datasets import AUTO as AUTO
    from fedpoison.data.datasets import FORMATS as FORMATS
    from fedpoison.data.datasets import data_folders as data_folders
    from fedpoison.data.datasets import load_dataset as load_dataset
    from fedpoison.data.own import OwnData as OwnData
    from fedpoison.data.sources import DATASETS as DATASETS
    from fedpoison.data.sources import Dataset as Dataset
    from fedpoison.data.sources import Source as Source

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "fedpoison.data.datasets": ["AUTO", "FORMATS", "data_folders", "load_dataset"],
        "fedpoison.data.own": ["OwnData"],
        "fedpoison.data.sources": ["DATASETS", "Dataset", "Source"],
    },
)
