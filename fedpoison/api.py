"""Functions of `import fedpoison as fp` that run many scenarios or load stored runs.

They take a scenario or its fields as keywords, algorithms as names or objects, and paths as texts or `Path`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

from clients.attacks.base import Attack
from fedpoison.audits.audit import audit as audit_strategy
from fedpoison.audits.card import AuditCard
from fedpoison.audits.protocol import LATEST, Protocol
from fedpoison.errors import ScenarioError
from fedpoison.report.load import load_runs as load_stored_runs
from fedpoison.results.history import History
from fedpoison.results.runs import Runs
from fedpoison.results.store import StoredRun
from fedpoison.scenario.aggregation import read_aggregation
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.scenario import Scenario
from fedpoison.scratch import scratch_folder
from fedpoison.simulation.batch import BatchOptions
from fedpoison.studies import attack_search, breakdown_point, comparison, study_runner, tuning
from fedpoison.studies.breakdown_result import Breakdown, criterion
from fedpoison.studies.comparison import At, Comparison
from fedpoison.studies.search_result import SearchResult
from fedpoison.studies.study import Study, find_study
from fedpoison.studies.study_result import StudyResults
from fedpoison.studies.tuning_result import Tuning
from strategies.base import AggregationRule, Grid

Key = TypeVar("Key")
Attacks = str | Attack | Iterable[str | Attack]
"""One attack or several, as specs or objects."""
Strategies = str | AggregationRule | Iterable[str | AggregationRule]
"""One strategy or several, as specs or objects."""


def compare(
    attacks: Attacks,
    strategies: Strategies,
    scenario: Scenario | None = None,
    *,
    seeds: Iterable[int] = (0,),
    at: At = "last",
    out: str | Path | None = None,
    **settings: object,
) -> Comparison:
    """Run every attack against every strategy with every seed.

    Args:
        attacks: Attacks to compare. `none` is the run without attack.
        strategies: Strategies to compare.
        scenario: Scenario whose attack, strategy and seed vary. Default: `Scenario()`.
        seeds: Seeds, the same for every pair of attack and strategy.
        at: Round of each run that counts.
        out: Run store, in which complete runs are not repeated. Default: keep no files.
        settings: Fields of the scenario that differ, and settings of the batch: `jobs`, `ray_address`,
            `fresh`, `data_dir`, `callbacks` and `notify`, as in `BatchOptions`.

    Raises:
        ScenarioError: A run is invalid. Raised before any training.
        DataError: The data set is not available.
        RunError: A run stopped for a reason other than its strategy, or all runs stopped.
        EngineError: Ray is not available.
    """
    with _batch(scenario, out, settings) as (base, options):
        found = comparison.compare(
            base, _attacks(attacks), _strategies(strategies), seeds=tuple(seeds), at=at, **options
        )
    return found if out is not None else replace(found, histories=_without_path(found.histories))


def breakdown(
    attacks: Attacks,
    strategies: Strategies,
    scenario: Scenario | None = None,
    *,
    measure: str = "accuracy",
    points: float | None = None,
    level: float | None = None,
    shares: Sequence[float] = breakdown_point.SHARES,
    seeds: Iterable[int] = (0,),
    out: str | Path | None = None,
    **settings: object,
) -> Breakdown:
    """Find the smallest share of malicious clients that breaks each strategy under each attack.

    Args:
        attacks: Attacks.
        strategies: Strategies.
        scenario: Scenario whose attack, strategy, malicious share and seed vary. Default: `Scenario()`.
        measure: `accuracy`, `worst-class` or `success`, as for `criterion`.
        points: Lost percentage points that break a strategy. Default: 10.
        level: Success in per cent that breaks a strategy. Default: 50.
        shares: Coarse grid of shares of malicious clients, which bisection refines.
        seeds: Seeds. The mean over them decides.
        out: Run store, as for `compare`.
        settings: As for `compare`.

    Raises:
        ScenarioError: A run or the criterion is invalid. Raised before any training.
        DataError: The data set is not available.
        RunError: A run stopped for a reason other than its strategy.
        EngineError: Ray is not available.
    """
    with _batch(scenario, out, settings) as (base, options):
        return breakdown_point.breakdown(
            base,
            _attacks(attacks),
            _strategies(strategies),
            criterion=criterion(measure, points=points, level=level),
            shares=shares,
            seeds=tuple(seeds),
            **options,
        )


def search(
    strategy: str | AggregationRule | None = None,
    scenario: Scenario | None = None,
    *,
    objective: str = "accuracy",
    attacks: Sequence[str] = (),
    trials: int = 60,
    confirm: int = 3,
    out: str | Path | None = None,
    **settings: object,
) -> SearchResult:
    """Search for the attack, and its parameters, that harms a strategy most.

    Args:
        strategy: Strategy to attack. Default: that of the scenario.
        scenario: Scenario whose attack varies. Default: `Scenario()`.
        objective: `accuracy`, `class`, `class:LABEL` or `backdoor`.
        attacks: Names of the attacks to try. Default: all attacks of the objective.
        trials: Number of attacks to try.
        confirm: Number of additional seeds for the strongest attack.
        out: Run store, as for `compare`.
        settings: As for `compare`.

    Raises:
        ScenarioError: A run is invalid, or no client is malicious. Raised before any training.
        DataError: The data set is not available.
        RunError: A run stopped for a reason other than its strategy.
        EngineError: Ray is not available.
    """
    if strategy is not None:
        settings = {**settings, "strategy": strategy}
    with _batch(scenario, out, settings) as (base, options):
        return attack_search.search(
            base,
            attack_search.parse_objective(objective),
            attacks=attacks,
            trials=trials,
            confirm=confirm,
            **options,
        )


def audit(
    strategy: str | AggregationRule | None = None,
    scenario: Scenario | None = None,
    *,
    budget: str = "quick",
    protocol: Protocol = LATEST,
    out: str | Path | None = None,
    **settings: object,
) -> AuditCard:
    """Measure the worst case of a strategy with a fixed protocol of attacks that are tuned against it.

    Args:
        strategy: Strategy to audit. Default: that of the scenario.
        scenario: Data, model and training. Default: the settings of the protocol.
        budget: Name of a budget of the protocol: `quick`, `standard` or `full`.
        protocol: Table of attacks, settings, shares and seeds.
        out: Run store, as for `compare`.
        settings: As for `compare`.

    Raises:
        ScenarioError: The budget is unknown, the scenario sets a field that the audit sets, or the strategy
            is not defined for any malicious share of the protocol. Raised before any training.
        DataError: The data set is not available.
        RunError: The strategy stopped without an attack.
        EngineError: Ray is not available.
    """
    if strategy is not None:
        settings = {**settings, "strategy": strategy}
    base = protocol.scenario() if scenario is None else scenario
    with _batch(base, out, settings) as (chosen, options):
        return audit_strategy(chosen, budget=budget, protocol=protocol, **options)


def tune(
    strategy: str | AggregationRule | None = None,
    scenario: Scenario | None = None,
    *,
    attacks: Attacks = tuning.ATTACKS,
    values: Grid | None = None,
    measure: tuning.Measure = "accuracy",
    trials: int = tuning.TRIALS,
    seeds: Iterable[int] = (0,),
    confirm: int = 3,
    out: str | Path | None = None,
    **settings: object,
) -> Tuning:
    """Choose the parameters of a strategy against the worst of some attacks, on a validation set.

    Args:
        strategy: Strategy whose parameters are chosen. A parameter that it sets keeps its value. Default:
            that of the scenario.
        scenario: Scenario whose attack, strategy and seed vary. Default: `Scenario()`.
        attacks: Attacks. The worst one counts.
        values: Values to try by parameter, such as `{"tau": (0.1, 1.0)}`. Default: those that the strategy
            declares.
        measure: `accuracy`, or `worst_class_accuracy`.
        trials: Largest number of settings to try.
        seeds: Seeds of the choice.
        confirm: Number of other seeds that measure the result on the test set.
        out: Run store, as for `compare`.
        settings: As for `compare`.

    Raises:
        ScenarioError: A run is invalid, no client is malicious, or the strategy has no parameter to choose.
            Raised before any training.
        DataError: The data set is not available.
        RunError: A run stopped for a reason other than its strategy, or every setting stopped.
        EngineError: Ray is not available.
    """
    if strategy is not None:
        settings = {**settings, "strategy": strategy}
    with _batch(scenario, out, settings) as (base, options):
        found = tuning.tune(
            base,
            attacks=_attacks(attacks),
            values=values,
            measure=measure,
            trials=trials,
            seeds=tuple(seeds),
            confirm=confirm,
            **options,
        )
    if out is not None:
        return found
    return replace(found, test=replace(found.test, histories=_without_path(found.test.histories)))


def sweep(
    study: Study | str | Path,
    *,
    out: str | Path | None = None,
    retry_failed: bool = False,
    fresh: bool = False,
    data_dir: str | Path | None = None,
    jobs: int | None = None,
    ray_address: str | None = None,
) -> StudyResults:
    """Run every run of a study that is not complete in the run store.

    Args:
        study: A study, the name of a built-in study, or the path of a TOML file.
        out: Run store, as for `compare`.
        retry_failed: Whether to repeat runs that failed earlier.
        fresh: Whether to repeat complete runs.
        data_dir: Folder of the data sets, as for `simulate`.
        jobs: Number of parallel runs, as in `BatchOptions`.
        ray_address: Address of a Ray cluster, as in `BatchOptions`.

    Raises:
        ScenarioError: The study is unknown or invalid. Raised before any training.
        DataError: The data set is not available.
        EngineError: Ray is not available.
    """
    chosen = study if isinstance(study, Study) else find_study(str(study))
    with _store(out) as store:
        planned = study_runner.plan(
            chosen, out=store, retry_failed=retry_failed, fresh=fresh, data_dir=data_dir
        )
        found = study_runner.sweep(planned, jobs=jobs, ray_address=ray_address, data_dir=data_dir)
    return found if out is not None else replace(found, histories=_without_path(found.histories))


def load_run(path: str | Path) -> History:
    """Return the history of a stored run.

    Args:
        path: Folder of the run.

    Raises:
        RunError: The folder contains no run, or the run is damaged.
    """
    return StoredRun(Path(path)).history


def load_runs(*paths: str | Path) -> Runs:
    """Return the histories of all stored runs in folders.

    Args:
        paths: Run folders, run stores, or folders that contain these.

    Raises:
        RunError: No run can be loaded.
    """
    stored = load_stored_runs([Path(path) for path in paths])
    return Runs(tuple(run.history for run in stored.runs))


def _attacks(given: Attacks) -> list[str]:
    several = [given] if isinstance(given, str | Attack) else given
    return [read_attack(attack) for attack in several]


def _strategies(given: Strategies) -> list[str]:
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    return [read_aggregation(strategy) for strategy in several]


def _without_path(histories: Mapping[Key, History]) -> dict[Key, History]:
    """Return the histories of runs whose temporary folders no longer exist."""
    return {key: replace(history, path=None) for key, history in histories.items()}


@contextmanager
def _batch(
    scenario: Scenario | None, out: str | Path | None, settings: dict[str, object]
) -> Iterator[tuple[Scenario, BatchOptions]]:
    """Yield the scenario with its fields among the settings, and the options of the batch."""
    options = {name: value for name, value in settings.items() if name in BatchOptions.__annotations__}
    fields = {name: value for name, value in settings.items() if name not in options}
    if isinstance(folder := options.get("data_dir"), str):
        options["data_dir"] = Path(folder)
    with _store(out) as store:
        yield Scenario.given(scenario, fields), cast("BatchOptions", options | {"out": store})


@contextmanager
def _store(out: str | Path | None) -> Iterator[Path]:
    """Yield the run store. Without one, yield a temporary folder."""
    if isinstance(out, str) and not out:
        raise ScenarioError("out: got an empty text, expected the path of a folder.")
    with scratch_folder("fedpoison-store-") if out is None else nullcontext(Path(out)) as folder:
        yield folder
