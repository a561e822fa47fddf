"""Run one scenario, its clean run, centralized training, replay, fine-pruning, and batches of runs."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from fedpoison.simulation.batch import BatchCallbacks as BatchCallbacks
    from fedpoison.simulation.batch import BatchOptions as BatchOptions
    from fedpoison.simulation.batch import BatchResult as BatchResult
    from fedpoison.simulation.batch import run_all as run_all
    from fedpoison.simulation.centralized import train_centralized as train_centralized
    from fedpoison.simulation.pruning import FinePruning as FinePruning
    from fedpoison.simulation.pruning import fine_prune as fine_prune
    from fedpoison.simulation.replay import Replay as Replay
    from fedpoison.simulation.replay import ReplayResult as ReplayResult
    from fedpoison.simulation.run import simulate as simulate
    from fedpoison.simulation.run import simulate_clean as simulate_clean

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "fedpoison.simulation.batch": ["BatchCallbacks", "BatchOptions", "BatchResult", "run_all"],
        "fedpoison.simulation.centralized": ["train_centralized"],
        "fedpoison.simulation.pruning": ["FinePruning", "fine_prune"],
        "fedpoison.simulation.replay": ["Replay", "ReplayResult"],
        "fedpoison.simulation.run": ["simulate", "simulate_clean"],
    },
)
