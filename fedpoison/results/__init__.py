"""Results of a run: rounds, metrics, the run store and trackers.

The names load on first use, so that modules which need only one of them do not load pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedpoison.results.history import History
    from fedpoison.results.round import Failure, Round, Training
    from fedpoison.results.store import RunWriter, StoredRun

__all__ = ["Failure", "History", "Round", "RunWriter", "StoredRun", "Training"]


def __getattr__(name: str) -> object:
    for module in ("round", "history", "store") if name in __all__ else ():
        loaded = import_module(f"fedpoison.results.{module}")
        if name in vars(loaded):
            return vars(loaded)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
