"""The clean twin of a run: the same seed, nodes, data and rounds, and nobody attacks."""

from __future__ import annotations

import logging
from pathlib import Path

from fedpoison.engines.options import DEFAULTS, EngineOptions
from fedpoison.federation.federation import Federation
from fedpoison.results.history import History
from fedpoison.results.provenance import Notify, warn_version_mismatch
from fedpoison.results.round import OnRound
from fedpoison.results.store import StoredRun
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import run_federation

_log = logging.getLogger(__name__)


def clean_federation(federation: Federation) -> Federation:
    """Return the clean twin's federation, which measures the success that the attack of `federation` has."""
    return Federation(federation.scenario.without_attack(federation.goal_attack), federation.dataset)


def simulate_clean(
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
    federation = clean_federation(Federation.load(scenario, data_dir=data_dir))
    if out is not None:
        folder = StoredRun(out / federation.scenario.run_id)
        if folder.complete:
            warn_version_mismatch([folder], notify)
            return folder.history
    return run_federation(federation, options, out=out, data_dir=data_dir, on_round=on_round, notify=notify)
