"""`fedpoison replay`: one round of a run again, under other strategies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console

from fedpoison.cli.lists import names_in
from fedpoison.cli.options import Data, Json
from fedpoison.cli.sheets import Sheet, for_terminal
from fedpoison.cli.tables import Matrix, percent
from fedpoison.measures import plain
from fedpoison.replay import Replay, Replayed
from fedpoison.replay import replay as replayed
from fedpoison.rounds import Round


def replay(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was made with --keep-updates.")],
    *,
    server_round: Annotated[
        int, typer.Option("--round", min=1, help="The round to aggregate again.", show_default=False)
    ],
    strategies: Annotated[
        str, typer.Option(help="Strategies, separated by commas.")
    ] = "fedavg,krum,trimmed-mean,median",
    influence: Annotated[
        bool, typer.Option(help="Aggregate again without each client in turn: what did it do to each class?")
    ] = True,
    top: Annotated[
        int, typer.Option(min=1, help="Clients to show at either end of the influence on all classes.")
    ] = 3,
    data_dir: Data = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads that evaluate; one a processor if unset.", show_default=False),
    ] = None,
    as_object: Json = False,
) -> None:
    """Aggregate one round's updates under other strategies, without any training.

    Tells for each strategy the accuracy class by class, whom it trusted, and what each client did.
    A strategy that remembers earlier rounds starts with an empty memory.
    """
    names = names_in("strategies", strategies)
    found = replayed(run, server_round, names, influence=influence, data_dir=data_dir, workers=workers)
    if as_object:
        typer.echo(json.dumps(summary(found)))
    else:
        _print(found, top)


def summary(found: Replay) -> dict[str, object]:
    """Return a replayed round as plain values for JSON; what is not a number is null."""
    return {
        "run_id": found.history.scenario.run_id,
        "round": found.kept.round,
        "strategy": found.history.scenario.strategy,
        "acting": found.kept.attackers,
        "results": [_result(result) for result in found.results],
    }


def _result(result: Replayed) -> dict[str, object]:
    record = result.record
    caught, blamed = result.rates
    influence = None
    if result.influence is not None:
        influence = {
            int(node): [plain(value) for value in row]
            for node, row in zip(result.influence.index, result.influence.to_numpy(), strict=True)
        }
    return {
        "strategy": result.strategy,
        "accuracy": record.accuracy,
        "worst_class_accuracy": record.worst_class_accuracy,
        "per_class_accuracy": [plain(value) for value in record.per_class_accuracy],
        "attack_success": plain(record.success),
        "true_positive_rate": plain(caught),
        "false_positive_rate": plain(blamed),
        "trust": dict(result.trust),
        "influence": influence,
        "from_empty_state": result.from_empty_state,
    }


def _print(found: Replay, top: int) -> None:
    console = Console()
    scenario, kept = found.history.scenario, found.kept
    console.print(
        f"round {kept.round} of {scenario.strategy} under {scenario.threat}: {len(kept.nodes)} updates, "
        f"{len(kept.attackers)} of them from attackers",
        markup=False,
    )
    rows: dict[str, Round] = {} if found.actual is None else {f"{scenario.strategy} (the run)": found.actual}
    rows |= {result.strategy: result.record for result in found.results}
    measured = {
        name: {
            "accuracy": record.accuracy,
            "worst class": record.worst_class_accuracy,
            "attack success": record.success,
        }
        for name, record in rows.items()
    }
    for result in found.results:
        measured[result.strategy] |= dict(zip(("caught", "blamed"), result.rates, strict=True))
    frame = pd.DataFrame.from_dict(measured, orient="index").astype(float).rename_axis("strategy")
    console.print(_table("After the round, %", frame))
    classes = {name: record.per_class_accuracy for name, record in rows.items()}
    console.print(_table("Accuracy by class, %", pd.DataFrame(classes).rename_axis("class")))
    malicious = set(kept.attackers)
    for result in found.results:
        _print_trust(console, result, malicious)
        if result.influence is not None:
            _print_influence(console, result.strategy, result.influence, malicious, top)


def _print_trust(console: Console, result: Replayed, malicious: set[int]) -> None:
    caught, blamed = result.rates
    verb, named, everybody = "rejected", result.rejected, sorted(result.trust)
    if 2 * len(named) > len(everybody):
        verb, named = "trusted", [node for node in everybody if node not in set(named)]
    nodes = " ".join(_marked(node, malicious) for node in named) or "none"
    console.print(
        f"{result.strategy} {verb} {len(named)} of {len(everybody)} (* attacks): {nodes}; "
        f"it rejected {percent(caught)} % of the attackers and {percent(blamed)} % of the others",
        markup=False,
        highlight=False,
    )
    if result.from_empty_state:
        told = f"{result.strategy} remembers earlier rounds; here it began with nothing to remember"
        console.print(told, markup=False)


def _print_influence(
    console: Console, strategy: str, influence: pd.DataFrame, malicious: set[int], top: int
) -> None:
    known = influence.dropna(how="all").sort_values("all", ascending=False, kind="stable")
    if known.empty:
        told = f"{strategy}: not defined with one client less, so no influence can be told"
        console.print(told, markup=False)
        return
    shown = known if len(known) <= 2 * top else pd.concat([known.head(top), known.tail(top)])
    shown = shown.set_axis([_marked(int(node), malicious) for node in shown.index]).T.rename_axis("class")
    console.print(
        _table(f"{strategy}: points of accuracy by class with the client less those without", shown)
    )


def _table(title: str, shares: pd.DataFrame) -> Matrix:
    """Return shares in per cent, their rows named by the index."""
    return for_terminal(Sheet(title, shares.map(percent).rename(columns=str).reset_index().map(str)))


def _marked(node: int, malicious: set[int]) -> str:
    return f"{node}*" if node in malicious else str(node)
