"""The clean twin of a run: the same seed, nodes, data and rounds, and nobody attacks."""

from __future__ import annotations

import logging
from pathlib import Path

from fedpoison.engine_options import DEFAULTS, EngineOptions
from fedpoison.environment import tell_versions
from fedpoison.fleet import Fleet
from fedpoison.groups import Group
from fedpoison.history import History
from fedpoison.scenario import Scenario
from fedpoison.server import OnRound
from fedpoison.simulation import Notify, launch, prepare
from fedpoison.store import StoredRun

_log = logging.getLogger(__name__)


def clean(scenario: Scenario, goal: str | None) -> Scenario:
    """Return the scenario in which the same nodes train in the same rounds, but none attacks.

    Args:
        scenario: the attacked one.
        goal: the attack whose success is measured on the twin all the same.
    """
    asked = any(group.per_round is not None for group in scenario.attackers)
    groups = tuple(_honest(group, keep_schedule=asked) for group in scenario.groups)
    if groups:
        return scenario.but(groups=groups, goal=goal)
    (group,) = (_honest(group, keep_schedule=asked) for group in scenario.attackers)
    return scenario.but(attack=group.attack, schedule=group.schedule, knowledge=None, goal=goal)


def twin_of(fleet: Fleet) -> Fleet:
    """Return the fleet of the clean twin, whose evaluation measures what the attack of `fleet` is after."""
    return Fleet(clean(fleet.scenario, fleet.aim), fleet.dataset)


def simulate_twin(
    scenario: Scenario,
    options: EngineOptions = DEFAULTS,
    *,
    out: Path | None = None,
    data_dir: Path | None = None,
    on_round: OnRound | None = None,
    notify: Notify = _log.warning,
) -> History:
    """Return the history of a scenario's clean twin: read where the store holds it complete, else run.

    Other arguments than the options, and errors, as for `simulate`; `notify` is told of another version, too.
    """
    fleet = twin_of(prepare(scenario, data_dir=data_dir))
    if out is not None:
        folder = StoredRun(out / fleet.scenario.run_id)
        if folder.complete:
            tell_versions([folder], notify)
            return folder.history
    return launch(fleet, options, out=out, data_dir=data_dir, on_round=on_round, notify=notify)


def _honest(group: Group, *, keep_schedule: bool) -> Group:
    """Return the group without its attack, and without its schedule unless that decides who is asked."""
    schedule = group.schedule if keep_schedule else "always"
    return group.model_copy(update={"attack": "none", "knowledge": None, "schedule": schedule})
