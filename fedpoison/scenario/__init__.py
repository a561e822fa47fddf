"""What a run is: the scenario, its attackers, schedules and aggregation, and the names that it can use."""

from typing import TYPE_CHECKING

from fedpoison.registry import lazy_names

if TYPE_CHECKING:
    from fedpoison.scenario.aggregation import FlowerStrategy as FlowerStrategy
    from fedpoison.scenario.aggregation import build_aggregation as build_aggregation
    from fedpoison.scenario.aggregation import read_aggregation as read_aggregation
    from fedpoison.scenario.attackers import AttackerGroup as AttackerGroup
    from fedpoison.scenario.registries import build_attack as build_attack
    from fedpoison.scenario.registries import read_attack as read_attack
    from fedpoison.scenario.scenario import Scenario as Scenario
    from fedpoison.scenario.selection import AttackerSelection as AttackerSelection

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "fedpoison.scenario.aggregation": ["FlowerStrategy", "build_aggregation", "read_aggregation"],
        "fedpoison.scenario.attackers": ["AttackerGroup"],
        "fedpoison.scenario.registries": ["build_attack", "read_attack"],
        "fedpoison.scenario.scenario": ["Scenario"],
        "fedpoison.scenario.selection": ["AttackerSelection"],
    },
)
