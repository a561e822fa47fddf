"""Simulate model poisoning in federated learning, defend against it, and see the damage class by class.

Use it as `import fedpoison as fp`. The import is light: each name loads its module, and with it torch or
Flower, on first use.
"""

from __future__ import annotations

from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from clients.checks import check_attack as check_attack
    from fedpoison import attacks as attacks
    from fedpoison import rules as rules
    from fedpoison.api import audit as audit
    from fedpoison.api import breakdown as breakdown
    from fedpoison.api import compare as compare
    from fedpoison.api import load_run as load_run
    from fedpoison.api import load_runs as load_runs
    from fedpoison.api import search as search
    from fedpoison.api import sweep as sweep
    from fedpoison.api import tune as tune
    from fedpoison.audits.card import AuditCard as AuditCard
    from fedpoison.audits.leaderboard import Leaderboard as Leaderboard
    from fedpoison.audits.recommend import recommend as recommend
    from fedpoison.errors import DataError as DataError
    from fedpoison.errors import EngineError as EngineError
    from fedpoison.errors import FedPoisonError as FedPoisonError
    from fedpoison.errors import RunError as RunError
    from fedpoison.errors import ScenarioError as ScenarioError
    from fedpoison.report.write import write_report as write_report
    from fedpoison.results.history import History as History
    from fedpoison.results.store import StoredRun as StoredRun
    from fedpoison.scenario.scenario import Scenario as Scenario
    from fedpoison.simulation.batch import run_all as run_all
    from fedpoison.simulation.centralized import train_centralized as train_centralized
    from fedpoison.simulation.pruning import fine_prune as fine_prune
    from fedpoison.simulation.replay import replay as replay
    from fedpoison.simulation.run import simulate as simulate
    from fedpoison.simulation.run import simulate_clean as simulate_clean
    from fedpoison.studies.study import Study as Study
    from strategies.checks import check_rule as check_rule


def _check_not_hidden() -> None:
    """Raise ImportError if another module called `strategies` or `clients` hides that of fedpoison."""
    root = Path(__file__).resolve().parents[1]
    for name in ("strategies", "clients"):
        found = PathFinder.find_spec(name)
        places = [] if found is None else [found.origin, *(found.submodule_search_locations or ())]
        ours = [place for place in places if place and Path(place).resolve().is_relative_to(root / name)]
        if places and not ours:
            raise ImportError(
                f"{places[0] or places[1]} hides the package {name!r} of fedpoison in {root}; "
                "rename it, or run Python from another folder."
            )


_check_not_hidden()
try:
    __version__ = version("fedpoison")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0.0.0"

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "clients.checks": ["check_attack"],
        "fedpoison": ["attacks", "rules"],
        "fedpoison.api": [
            "audit",
            "breakdown",
            "compare",
            "load_run",
            "load_runs",
            "search",
            "sweep",
            "tune",
        ],
        "fedpoison.audits.card": ["AuditCard"],
        "fedpoison.audits.leaderboard": ["Leaderboard"],
        "fedpoison.audits.recommend": ["recommend"],
        "fedpoison.errors": ["DataError", "EngineError", "FedPoisonError", "RunError", "ScenarioError"],
        "fedpoison.report.write": ["write_report"],
        "fedpoison.results.history": ["History"],
        "fedpoison.results.store": ["StoredRun"],
        "fedpoison.scenario.scenario": ["Scenario"],
        "fedpoison.simulation.batch": ["run_all"],
        "fedpoison.simulation.centralized": ["train_centralized"],
        "fedpoison.simulation.pruning": ["fine_prune"],
        "fedpoison.simulation.replay": ["replay"],
        "fedpoison.simulation.run": ["simulate", "simulate_clean"],
        "fedpoison.studies.study": ["Study"],
        "strategies.checks": ["check_rule"],
    },
)
