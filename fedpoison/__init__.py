"""Simulate model poisoning in federated learning, defend against it, and see the damage class by class.

Use it as `import fedpoison as fp`. The import is light: each name loads its module, and with it torch or
Flower, on first use.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from clients.checks import check_attack as check_attack
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
    from fedpoison.simulation.replay import replay as replay
    from fedpoison.simulation.run import simulate as simulate
    from fedpoison.simulation.run import simulate_clean as simulate_clean
    from fedpoison.studies.attack_search import search as search
    from fedpoison.studies.breakdown_point import breakdown as breakdown
    from fedpoison.studies.comparison import compare as compare
    from fedpoison.studies.study import Study as Study
    from fedpoison.studies.study_runner import plan as plan
    from fedpoison.studies.study_runner import sweep as sweep
    from strategies.checks import check_rule as check_rule

try:
    __version__ = version("fedpoison")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0.0.0"

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "clients.checks": ["check_attack"],
        "fedpoison.errors": ["DataError", "EngineError", "FedPoisonError", "RunError", "ScenarioError"],
        "fedpoison.report.write": ["write_report"],
        "fedpoison.results.history": ["History"],
        "fedpoison.results.store": ["StoredRun"],
        "fedpoison.scenario.scenario": ["Scenario"],
        "fedpoison.simulation.batch": ["run_all"],
        "fedpoison.simulation.centralized": ["train_centralized"],
        "fedpoison.simulation.replay": ["replay"],
        "fedpoison.simulation.run": ["simulate", "simulate_clean"],
        "fedpoison.studies.attack_search": ["search"],
        "fedpoison.studies.breakdown_point": ["breakdown"],
        "fedpoison.studies.comparison": ["compare"],
        "fedpoison.studies.study": ["Study"],
        "fedpoison.studies.study_runner": ["plan", "sweep"],
        "strategies.checks": ["check_rule"],
    },
)
