"""`fedpoison replay`: aggregate one round of a run with other strategies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console

from fedpoison.cli.options import STRATEGIES, Data, EvaluationThreads, Json, Strategies, parse_specs
from fedpoison.cli.progress import ReplayProgress
from fedpoison.cli.tables import TextTable
from fedpoison.results.metrics import json_number
from fedpoison.results.round import Round
from fedpoison.results.run_frame import percent
from fedpoison.results.strict_json import to_json
from fedpoison.simulation.replay import Replay, ReplayResult, replay


def replay_command(
    run: Annotated[Path, typer.Argument(help="Folder of a run that used --keep-updates.")],
    *,
    server_round: Annotated[int, typer.Option("--round", min=1, help="Round to aggregate.")],
    strategies: Strategies = STRATEGIES,
    influence: Annotated[
        bool,
        typer.Option(help="Influence of each client on each class, from an aggregate without that client."),
    ] = True,
    top: Annotated[
        int,
        typer.Option(min=1, help="Number of clients with the largest and the smallest influence to show."),
    ] = 3,
    data_dir: Data = None,
    workers: EvaluationThreads = None,
    as_object: Json = False,
) -> None:
    """Aggregate the updates of one round with other strategies, without any training.

    For each strategy, print the accuracy per class, and the trust and influence of the clients.
    A strategy that remembers earlier rounds starts with an empty memory.
    """
    names = parse_specs("strategies", strategies)
    with ReplayProgress() as progress:
        found = replay(
            run,
            server_round,
            names,
            influence=influence,
            data_dir=data_dir,
            workers=workers,
            on_aggregate=progress.show,
        )
    if as_object:
        typer.echo(to_json(as_json(found)))
    else:
        _print(found, top)


def as_json(found: Replay) -> dict[str, object]:
    """Return a replayed round as plain values, with None for missing numbers."""
    return {
        "run_id": found.history.scenario.run_id,
        "round": found.saved.round,
        "strategy": found.history.scenario.strategy,
        "acting": found.saved.attacking_clients,
        "dropped": found.lost,
        "notes": found.remarks,
        "results": [_result(result) for result in found.results],
    }


def _result(result: ReplayResult) -> dict[str, object]:
    record = result.record
    caught, blamed = result.rates
    influence = None
    if result.influence is not None:
        influence = {
            int(client_id): [json_number(value) for value in row]
            for client_id, row in zip(result.influence.index, result.influence.to_numpy(), strict=True)
        }
    return {
        "strategy": result.strategy,
        "accuracy": record.accuracy,
        "worst_class_accuracy": record.worst_class_accuracy,
        "per_class_accuracy": [json_number(value) for value in record.per_class_accuracy],
        "attack_success": json_number(record.success),
        "true_positive_rate": json_number(caught),
        "false_positive_rate": json_number(blamed),
        "trust": dict(result.trust),
        "influence": influence,
        "from_empty_state": result.from_empty_state,
    }


def _print(found: Replay, top: int) -> None:
    console = Console(emoji=False)
    scenario, saved = found.history.scenario, found.saved
    console.print(
        f"round {saved.round} of {scenario.strategy} under {scenario.threat}: {len(saved.nodes)} updates, "
        f"{len(saved.attacking_clients)} from attackers",
        markup=False,
    )
    for remark in found.remarks:
        console.print(f"* {remark}", markup=False)
    rows: dict[str, Round] = {} if found.actual is None else {f"{scenario.strategy} (the run)": found.actual}
    rows |= {result.strategy: result.record for result in found.results}
    rates = {result.strategy: result.rates for result in found.results}
    measured = {
        name: (record.accuracy, record.worst_class_accuracy, record.success, *rates.get(name, (None, None)))
        for name, record in rows.items()
    }
    titles = ["accuracy", "worst class", "attack success", "caught", "blamed"]
    frame = pd.DataFrame.from_dict(measured, orient="index", columns=titles).astype(float)
    console.print(_table("After the round, %", frame.rename_axis("strategy")), crop=False)
    classes = {name: record.per_class_accuracy for name, record in rows.items()}
    console.print(
        _table(
            "Accuracy by class, %",
            pd.DataFrame(classes, index=found.history.class_labels).rename_axis("class"),
        ),
        crop=False,
    )
    malicious = set(saved.attacking_clients)
    for result in found.results:
        _print_trust(console, result, malicious)
        if result.influence is not None:
            influence = result.influence.set_axis([*found.history.class_labels, "all"], axis=1)
            _print_influence(console, result.strategy, influence, malicious, top)


def _print_trust(console: Console, result: ReplayResult, malicious: set[int]) -> None:
    caught, blamed = result.rates
    verb, named, clients = "rejected", result.rejected, sorted(result.trust)
    if 2 * len(named) > len(clients):
        verb, named = "trusted", [client_id for client_id in clients if client_id not in set(named)]
    client_ids = " ".join(_marked(client_id, malicious) for client_id in named) or "none"
    console.print(
        f"{result.strategy} {verb} {len(named)} of {len(clients)} clients (* attacker): {client_ids}. "
        f"It rejected {percent(caught)} % of the attackers and {percent(blamed)} % of the others",
        markup=False,
        highlight=False,
    )
    if result.from_empty_state:
        note = f"{result.strategy} uses earlier rounds, but started here with an empty memory"
        console.print(note, markup=False)


def _print_influence(
    console: Console, strategy: str, influence: pd.DataFrame, malicious: set[int], top: int
) -> None:
    known = influence.dropna(how="all").sort_values("all", ascending=False, kind="stable")
    if known.empty:
        note = f"{strategy}: not defined with one client less, so no influence is shown"
        console.print(note, markup=False)
        return
    shown = known if len(known) <= 2 * top else pd.concat([known.head(top), known.tail(top)])
    shown.index = pd.Index([_marked(int(client_id), malicious) for client_id in shown.index])
    title = f"{strategy}: accuracy by class with the client minus without, in percentage points"
    console.print(_table(title, shown.T.rename_axis("class")), crop=False)


def _table(title: str, shares: pd.DataFrame) -> TextTable:
    """Return shares in per cent, with the index as row labels."""
    return TextTable(title, shares.map(percent).rename(columns=str).reset_index().map(str))


def _marked(client_id: int, malicious: set[int]) -> str:
    return f"{client_id}*" if client_id in malicious else str(client_id)
