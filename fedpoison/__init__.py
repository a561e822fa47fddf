"""Simulate model poisoning in federated learning, defend against it, and see the damage class by class.

Use it as `import fedpoison as fp`. The import is light: each name loads its module, and with it torch or
Flower, on first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.checks import check_attack
    from fedpoison.errors import DataError, EngineError, FedPoisonError, RunError, ScenarioError
    from fedpoison.report.write import write_report
    from fedpoison.results.history import History
    from fedpoison.results.store import StoredRun
    from fedpoison.scenario.scenario import Scenario
    from fedpoison.simulation.batch import run_all
    from fedpoison.simulation.centralized import train_centralized
    from fedpoison.simulation.replay import replay
    from fedpoison.simulation.run import simulate, simulate_clean
    from fedpoison.studies.attack_search import search
    from fedpoison.studies.breakdown_point import breakdown
    from fedpoison.studies.comparison import compare
    from fedpoison.studies.study import Study
    from fedpoison.studies.study_runner import plan, sweep
    from strategies.checks import check_rule

try:
    __version__ = version("fedpoison")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0.0.0"

_MODULES = {
    "DataError": "fedpoison.errors",
    "EngineError": "fedpoison.errors",
    "FedPoisonError": "fedpoison.errors",
    "History": "fedpoison.results.history",
    "RunError": "fedpoison.errors",
    "Scenario": "fedpoison.scenario.scenario",
    "ScenarioError": "fedpoison.errors",
    "StoredRun": "fedpoison.results.store",
    "Study": "fedpoison.studies.study",
    "breakdown": "fedpoison.studies.breakdown_point",
    "check_attack": "clients.checks",
    "check_rule": "strategies.checks",
    "compare": "fedpoison.studies.comparison",
    "plan": "fedpoison.studies.study_runner",
    "replay": "fedpoison.simulation.replay",
    "run_all": "fedpoison.simulation.batch",
    "search": "fedpoison.studies.attack_search",
    "simulate": "fedpoison.simulation.run",
    "simulate_clean": "fedpoison.simulation.run",
    "sweep": "fedpoison.studies.study_runner",
    "train_centralized": "fedpoison.simulation.centralized",
    "write_report": "fedpoison.report.write",
}
"""The module of each public name."""

__all__ = [
    "DataError",
    "EngineError",
    "FedPoisonError",
    "History",
    "RunError",
    "Scenario",
    "ScenarioError",
    "StoredRun",
    "Study",
    "__version__",
    "breakdown",
    "check_attack",
    "check_rule",
    "compare",
    "plan",
    "replay",
    "run_all",
    "search",
    "simulate",
    "simulate_clean",
    "sweep",
    "train_centralized",
    "write_report",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
