"""`fedpoison recommend`: the strategies of the leaderboard with the best worst case."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import typer
from rich.console import Console

from fedpoison.audits.card_parts import Measured
from fedpoison.audits.recommend import TOP, Recommendation, recommend
from fedpoison.cli.options import Json, parse_share
from fedpoison.cli.tables import Format, TextTable, print_tables
from fedpoison.results.run_frame import percent, to_records
from fedpoison.results.strict_json import to_json

Cards = Annotated[
    Path | None, typer.Option(help="Folder of audit cards. Default: the cards that belong to fedpoison.")
]


def recommend_command(
    *,
    clients: Annotated[int, typer.Option(min=1, help="Number of clients that train per round.")] = 25,
    malicious: Annotated[
        float, typer.Option(parser=parse_share, metavar="SHARE", help="Share of malicious clients.")
    ] = 0.2,
    partition: Annotated[
        str | None,
        typer.Option(help="Partition of the data, as in 'dirichlet(alpha=0.5)'. Default: the worst of all."),
    ] = None,
    threat: Annotated[
        Literal["untargeted", "targeted", "backdoor"] | None,
        typer.Option(help="Goal of the attacker. Default: any. Success decides for targeted and backdoor."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of strategies to show.")] = TOP,
    cards: Cards = None,
    form: Annotated[
        Format, typer.Option("--format", help="Format of the table. LaTeX needs booktabs and longtable.")
    ] = "terminal",
    as_object: Json = False,
) -> None:
    """Find the strategies with the best worst case for a number of clients and attackers.

    The numbers are those of the leaderboard, in the nearest setting that was measured. Nothing is trained.
    """
    found = recommend(
        clients=clients, malicious=malicious, partition=partition, threat=threat, top=top, cards=cards
    )
    if as_object:
        typer.echo(to_json(_as_json(found)))
        return
    print_tables([_table(found)], form)
    notes = Console(stderr=form != "terminal", highlight=False, soft_wrap=True)
    for remark in found.remarks:
        notes.print(f"* {remark}", markup=False)
    for choice in found.best:
        notes.print(f"in your own setting: {choice.audit}", markup=False)


def _table(found: Recommendation) -> TextTable:
    rows = [
        {
            "strategy": choice.strategy,
            "worst accuracy": choice.worst_accuracy.percent(),
            "without attack": choice.clean_accuracy.percent(),
            "cost": _percent(choice.cost),
            "targeted": _percent(choice.targeted_success),
            "backdoor": _percent(choice.backdoor_success),
            "breaks from": choice.breakdown,
            "worst attack": choice.broken_by,
        }
        for choice in found.best
    ]
    where = "any data" if found.partition is None else found.partition
    what = "any attack" if found.threat is None else f"{found.threat} attacks"
    title = (
        f"Best worst case under {what}: {found.clients} clients, {percent(found.malicious, 0)} % malicious, "
        f"{where}, in % with intervals"
    )
    return TextTable(title, pd.DataFrame(rows), words=["worst attack"])


def _percent(measured: Measured | None) -> str:
    return "-" if measured is None else measured.percent()


def _as_json(found: Recommendation) -> dict[str, object]:
    asked = {name: getattr(found, name) for name in ("clients", "malicious", "partition", "threat")}
    return {
        **asked,
        "measured_share": found.share,
        "basis": found.board.basis,
        "recommended": [choice.strategy for choice in found.best],
        "strategies": to_records(found.to_frame()),
        "undefined": dict(found.undefined),
        "distance": list(found.distance),
    }
