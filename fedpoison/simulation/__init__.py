"""Run one scenario, its clean run, centralized training, replay, and batches of runs."""

from fedpoison.simulation.batch import BatchCallbacks, BatchOptions, BatchResult, run_all
from fedpoison.simulation.centralized import train_centralized
from fedpoison.simulation.run import simulate, simulate_clean

__all__ = [
    "BatchCallbacks",
    "BatchOptions",
    "BatchResult",
    "run_all",
    "simulate",
    "simulate_clean",
    "train_centralized",
]
