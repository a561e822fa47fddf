"""The leaderboard: `python -m experiments.leaderboard` audits every strategy and some pipelines.

Each strategy gets a card with the latest protocol on MNIST. Cards that exist are kept, and runs of the
store are loaded, so the command can be stopped and started again. At the end, it writes
`docs/leaderboard.md` and its data.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from fedpoison.audits.audit import audit
from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_check import find_protocol, load_setting
from fedpoison.audits.card_folder import BUILT_IN, changed_by_user, load_cards, save_card, save_undefined
from fedpoison.audits.cost import seconds_per_round
from fedpoison.audits.leaderboard import Leaderboard
from fedpoison.audits.leaderboard_files import write_board
from fedpoison.audits.leaderboard_tables import small_table
from fedpoison.audits.protocol import LATEST, Protocol
from fedpoison.errors import FedPoisonError, ScenarioError
from fedpoison.scenario.aggregation import read_aggregation
from fedpoison.scenario.registries import strategies
from fedpoison.scenario.specs import split_outside

DATASET = "mnist"
"""Data set of the leaderboard that belongs to fedpoison."""
PIPELINES = (
    "nnm | krum",
    "nnm | multi-krum",
    "nnm | trimmed-mean",
    "nnm | median",
    "nnm | geometric-median",
    "nnm | centered-clipping",
    "bucketing | krum",
    "bucketing | median",
    "bucketing | geometric-median",
    "bucketing | centered-clipping",
    "clipping | krum",
    "clipping | trimmed-mean",
    "arc | nnm | trimmed-mean",
    "foundation | median",
)
"""Pipelines of the leaderboard, next to every rule with its default parameters."""
DOCS = Path("docs")


def names(given: str | None) -> list[str]:
    """Return the canonical specs of the strategies to audit, each once. Default: all of them.

    >>> names("krum, nnm|median, krum()")
    ['krum', 'nnm | median']

    Raises:
        ScenarioError: a name is unknown.
    """
    chosen = split_outside(given, ",") if given else [*strategies.builtin, *PIPELINES]
    return list(dict.fromkeys(str(read_aggregation(name)) for name in chosen))


def run(
    chosen: Iterable[str],
    *,
    dataset: str,
    budget: str,
    cards: Path,
    out: Path,
    jobs: int | None = None,
    protocol: Protocol = LATEST,
) -> None:
    """Audit each strategy whose card is missing, and save the card, or the reason why there is none."""
    waiting = list(chosen)
    for number, strategy in enumerate(waiting, start=1):
        cards.mkdir(parents=True, exist_ok=True)
        found = load_cards(cards)
        if any(is_current(card, strategy, dataset, budget, protocol) for card in found.cards.values()):
            continue
        reasons, began = dict(found.undefined), time.perf_counter()
        try:
            scenario = protocol.scenario(dataset=dataset, strategy=strategy)
            card = audit(scenario, budget=budget, protocol=protocol, out=out, jobs=jobs)
        except Exception as error:  # noqa: BLE001  # an error of any kind ends one audit, not the others
            text = str(error) if isinstance(error, FedPoisonError) else f"{type(error).__name__}: {error}"
            reasons[strategy] = text
        else:
            save_card(card, cards)
            reasons.pop(strategy, None)
            text = card.headline
        save_undefined(reasons, cards)
        seconds = time.perf_counter() - began
        print(f"{number} of {len(waiting)}: {strategy}, {seconds:.0f} s: {text}", file=sys.stderr, flush=True)


def measure_times(cards: Path) -> None:
    """Measure the times of all cards again, one strategy after the other, and save them."""
    for card in load_cards(cards).cards.values():
        setting = load_setting(card, find_protocol(card))
        save_card(card.model_copy(update={"seconds_per_round": seconds_per_round(setting)}), cards)


def is_current(card: AuditCard, strategy: str, dataset: str, budget: str, protocol: Protocol) -> bool:
    """Return whether a card is the result of this audit."""
    wanted = (strategy, budget, protocol.name, protocol.digest, dataset)
    is_same = (
        card.strategy,
        card.budget,
        card.protocol,
        card.protocol_digest,
        card.settings.get("dataset"),
    ) == wanted
    return is_same and not changed_by_user(card)


def main(arguments: Sequence[str] | None = None) -> None:
    """Audit the strategies without a card, and write the leaderboard."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.leaderboard", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--dataset", default=DATASET, help=f"data set; default: {DATASET}")
    parser.add_argument("--budget", default="quick", choices=LATEST.budgets, help="effort; default: quick")
    parser.add_argument("--jobs", type=int, help="number of parallel runs; default: one per CPU")
    parser.add_argument(
        "--strategies", help="strategies, separated by commas; default: all, and some pipelines"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/leaderboard"), help="run store")
    parser.add_argument(
        "--cards", type=Path, default=BUILT_IN, help="folder of the cards; default: %(default)s"
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the pages; default: docs")
    parser.add_argument(
        "--times", action="store_true", help="only measure the times again; nothing else should run"
    )
    parser.add_argument("--readme", action="store_true", help="only print the small table of the README")
    given = parser.parse_args(arguments)
    if given.readme:
        print(small_table(Leaderboard.load(given.cards)))
        return
    if given.dataset != DATASET and (given.cards == BUILT_IN or given.docs == DOCS):
        raise ScenarioError(
            f"--dataset: got {given.dataset}, expected {DATASET} for the leaderboard of the documentation; "
            "set --cards and --docs to other folders."
        )
    if given.times:
        measure_times(given.cards)
    else:
        run(
            names(given.strategies),
            dataset=given.dataset,
            budget=given.budget,
            cards=given.cards,
            out=given.out,
            jobs=given.jobs,
        )
    board = Leaderboard.load(given.cards)
    print(board)
    print(f"written: {write_board(board, given.docs)}")


if __name__ == "__main__":
    try:
        main()
    except FedPoisonError as error:
        sys.exit(f"error: {error}")
