"""The audit: tune every attack of a protocol against a strategy, and report the strongest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Unpack

from fedpoison.audits.card import AuditCard
from fedpoison.audits.protocol import LATEST, Protocol
from fedpoison.audits.results import report
from fedpoison.audits.setting import AuditSetting
from fedpoison.audits.summary import summarize
from fedpoison.audits.tuning import tune
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.batch import BatchOptions, BatchResult, batch_runner

_log = logging.getLogger(__name__)
PASSED_ON = "loaded runs"
"""Begin of the warnings that concern the store. The card has the facts of the others."""


def audit(
    scenario: Scenario,
    *,
    budget: str = "quick",
    protocol: Protocol = LATEST,
    on_planned: Callable[[int], None] = lambda _: None,
    **options: Unpack[BatchOptions],
) -> AuditCard:
    """Audit the strategy of a scenario, and return its robustness card.

    Every attack of the protocol runs with several strengths against this strategy. The validation set decides
    which strengths harm it most. Other seeds and the test set give every number of the card.

    Args:
        scenario: Strategy, data, model and training, without an attack.
        budget: Name of a budget of the protocol.
        protocol: Table of attacks and settings.
        on_planned: Callback with the number of runs of the next step. Equal runs run once.
        options: See `BatchOptions`. No option changes a result.

    Raises:
        ScenarioError: the budget is unknown, the scenario sets a field that the audit sets, or the strategy
            is not defined for any malicious share of the protocol. Raised before any training.
        DataError: the data set is not available.
        EngineError: Ray is not available.
        RunError: the strategy stopped without an attack.
    """
    effort = protocol.budget(budget)
    setting = AuditSetting.load(protocol, scenario, data_dir=options.get("data_dir"))
    notify = options.get("notify", _log.warning)
    options["notify"] = lambda warning: notify(warning) if warning.startswith(PASSED_ON) else None
    done: set[Scenario] = set()
    with batch_runner(keep_going=True, **options) as execute:

        def run(scenarios: Sequence[Scenario]) -> BatchResult:
            on_planned(len(set(scenarios) - done))
            done.update(scenarios)
            return execute(scenarios)

        trials = tune(setting, effort, run)
        results = report(setting, effort, trials, run)
    return summarize(setting, budget, trials, results, runs=len(done))
