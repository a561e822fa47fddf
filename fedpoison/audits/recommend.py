"""Recommendation: which strategies of the leaderboard have the best worst case in a setting."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_parts import Attacked, Clean, Measured, worst_of
from fedpoison.audits.leaderboard import Leaderboard, Row, lowest, rows_at, spread
from fedpoison.audits.protocol import PROTOCOLS, THREATS, Protocol, Threat
from fedpoison.errors import RunError, ScenarioError, unknown
from fedpoison.results.display import Displayed
from fedpoison.results.run_frame import coverage_note, percent
from fedpoison.scenario.registries import read_partition
from fedpoison.scenario.scenario import Scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP = 5
"""Number of recommended strategies."""


@dataclass(frozen=True)
class Choice:
    """One strategy with its numbers at the measured share that is nearest to the asked one."""

    strategy: str
    worst_accuracy: Measured
    """Lowest accuracy under the attacks of the asked threats, on the asked data."""
    clean_accuracy: Measured
    cost: Measured | None
    """Accuracy of FedAvg minus that of the strategy, both without attack, at the headline share."""
    targeted_success: Measured | None
    backdoor_success: Measured | None
    broken_by: str
    """Attack of the worst case."""
    command: str
    """Command that repeats the worst case."""
    breakdown: str
    """Malicious share from which the strategy breaks, with its interval, in per cent."""
    breaks_before: bool
    """Whether the strategy breaks at a smaller share than the asked one."""
    audit: str
    """Command that measures the strategy in the asked setting."""

    def score(self, threat: Threat | None) -> float:
        """Return the number that decides the order. Larger is better."""
        success = {"targeted": self.targeted_success, "backdoor": self.backdoor_success}.get(threat or "")
        return self.worst_accuracy.mean if success is None else -success.mean


@dataclass(frozen=True, eq=False, repr=False)
class Recommendation(Displayed):
    """Strategies with the best worst case in a setting, with their numbers and what they lack."""

    board: Leaderboard
    clients: int
    malicious: float
    partition: str | None
    threat: Threat | None
    share: float
    """Measured malicious share, the smallest one that is not below the asked share."""
    choices: Sequence[Choice]
    """All strategies that can run in the setting, the best first."""
    undefined: Mapping[str, str]
    """Reason by strategy that is not defined for these clients."""
    distance: Sequence[str]
    """Differences of the asked and the measured setting."""
    top: int = field(default=TOP)
    """Number of strategies that are shown."""

    @property
    def best(self) -> Sequence[Choice]:
        """The strategies to show."""
        return self.choices[: self.top]

    @property
    def headline(self) -> str:
        """The setting, and the best strategy with its numbers."""
        first = self.choices[0]
        asked = f"{self.clients} clients, {percent(self.malicious, 0)} % malicious"
        return (
            f"{asked}: {first.strategy} has the best worst case of {len(self.choices)} strategies, accuracy "
            f"{first.worst_accuracy.percent()} % under {first.broken_by}, and "
            f"{first.clean_accuracy.percent()} % without attack"
        )

    @property
    def remarks(self) -> list[str]:
        """How far the measured setting is from the asked one, and which strategies are not defined."""
        few = coverage_note(len(self.board.cards[0].seeds))
        return [
            *self.distance,
            f"brackets are 95 % bootstrap intervals over the seeds{f'; {few}' if few else ''}",
            *(
                f"{choice.strategy} breaks before {percent(self.malicious, 0)} % malicious clients"
                for choice in self.best
                if choice.breaks_before
            ),
            *(f"{name} is not defined here: {reason}" for name, reason in self.undefined.items()),
        ]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per strategy that can run in the setting, the best first."""
        rows = []
        for choice in self.choices:
            row: dict[str, object] = {"strategy": choice.strategy}
            for name in ("worst_accuracy", "clean_accuracy", "cost", "targeted_success", "backdoor_success"):
                row |= spread(name, getattr(choice, name))
            for name in ("broken_by", "command", "breakdown", "breaks_before", "audit"):
                row[name] = getattr(choice, name)
            rows.append(row)
        return pd.DataFrame(rows)

    def shown_frame(self) -> pd.DataFrame:
        """Return the best strategies with their most important numbers."""
        columns = [
            "strategy",
            "worst_accuracy",
            "clean_accuracy",
            "backdoor_success",
            "breakdown",
            "broken_by",
        ]
        return self.to_frame()[columns].head(self.top)

    def plot(self) -> Figure:
        """Draw the leaderboard that the recommendation uses."""
        return self.board.plot()


def recommend(
    *,
    clients: int = 25,
    malicious: float = 0.2,
    partition: str | None = None,
    threat: Threat | None = None,
    top: int = TOP,
    cards: str | Path | None = None,
) -> Recommendation:
    """Return the strategies of the leaderboard with the best worst case in a setting.

    Nothing is trained. Each strategy is built with these numbers of clients, and the leaderboard gives the
    numbers of the nearest measured setting.

    Args:
        clients: Number of clients that train per round.
        malicious: Share of malicious clients.
        partition: Partition of the data, as a spec or a name of the protocol. Default: the worst of all.
        threat: Goal of the attacker: `untargeted`, `targeted` or `backdoor`. Default: any. Without a threat
            and for `untargeted`, the accuracy decides, for the others the success of the attacker.
        top: Number of strategies to show.
        cards: Folder of cards. Default: the cards that belong to fedpoison.

    Raises:
        ScenarioError: an argument is invalid.
        RunError: no card fits.
    """
    if threat is not None and threat not in THREATS:
        raise unknown("threat", threat, THREATS)
    if top < 1:
        raise ScenarioError(f"top: got {top}, expected 1 or more.")
    asked = Scenario.parse({"clients": clients, "malicious": malicious})
    board = Leaderboard.load(cards)
    if not board.cards:
        raise RunError(f"there are no audit cards to recommend from. {_REMEDY}")
    share = next((share for share in board.shares if share >= malicious - 1e-9), None)
    if share is None:
        raise RunError(
            f"malicious: got {malicious:g}, expected at most {max(board.shares):g}, the largest measured "
            f"share. {_REMEDY}"
        )
    protocol = PROTOCOLS.get(board.cards[0].protocol)
    places, note = _places(board, protocol, partition)
    undefined: dict[str, str] = {}
    choices: list[Choice] = []
    for card in board.cards:
        reason = _refusal(card, asked)
        if reason is None and share not in card.shares:
            reason = f"it has no results with {percent(share, 0)} % malicious clients"
        if reason is not None:
            undefined[card.strategy] = reason
            continue
        choices.append(_choice(card, asked, share, places, threat))
    if not choices:
        raise RunError(f"no strategy of the leaderboard is defined for this setting. {_REMEDY}")
    choices.sort(key=lambda choice: (-choice.score(threat), -choice.clean_accuracy.mean))
    distance = [*note, *_distance(board, asked, share)]
    return Recommendation(
        board, clients, malicious, partition, threat, share, choices, undefined, distance, top
    )


_REMEDY = (
    "Audit candidates in your own setting, as in `fedpoison audit --strategy 'nnm | krum'`, or fill a "
    "leaderboard with `python -m experiments.leaderboard` in a checkout."
)


def _places(
    board: Leaderboard, protocol: Protocol | None, partition: str | None
) -> tuple[Sequence[str], list[str]]:
    """Return the names of the partitions that count, and a note if the asked one was not measured."""
    if partition is None or partition in board.partitions:
        return board.partitions if partition is None else [partition], []
    asked = read_partition(partition)
    specs = {} if protocol is None else protocol.partitions
    fitting = [name for name, spec in specs.items() if read_partition(spec) == asked]
    if fitting:
        return fitting, []
    measured = ", ".join(f"{name} ({specs.get(name, name)})" for name in board.partitions)
    note = f"the partition {asked} was not measured; the numbers are the worst case over {measured}"
    return board.partitions, [note]


def _refusal(card: AuditCard, asked: Scenario) -> str | None:
    """Return why the strategy of a card is not defined for the asked clients, or None."""
    try:
        asked.replace(strategy=card.strategy)
    except ScenarioError as error:
        return str(error)
    return None


def _choice(
    card: AuditCard,
    asked: Scenario,
    share: float,
    places: Sequence[str],
    threat: Threat | None,
) -> Choice:
    rows = [row for row in rows_at(card, share) if row.partition in places]
    attacked = [row for row in rows if isinstance(row, Attacked)]
    clean = [row for row in rows if isinstance(row, Clean)]
    counted = [row for row in attacked if threat in (None, row.threat)]
    weakest = lowest([*counted, *clean]) or rows[0]
    worst = (worst_of(counted) if threat in THREATS[1:] else None) or weakest
    success = {}
    for name in THREATS[1:]:
        found = worst_of(row for row in attacked if row.threat == name)
        success[name] = None if found is None else found.success
    costs = [row.cost for row in card.clean if row.cost is not None and row.partition in places]
    breakdown = card.breakdown.share
    return Choice(
        strategy=card.strategy,
        worst_accuracy=weakest.accuracy,
        clean_accuracy=min((row.accuracy for row in clean), key=lambda found: found.mean),
        cost=max(costs, key=lambda found: found.mean, default=None),
        targeted_success=success["targeted"],
        backdoor_success=success["backdoor"],
        broken_by=_named(worst),
        command=worst.command,
        breakdown=card.breakdown.text,
        breaks_before=breakdown is not None and breakdown < asked.malicious,
        audit=shlex.join(
            ["fedpoison", "audit", "--strategy", card.strategy, "--clients", str(asked.clients)]
        ),
    )


def _named(row: Row) -> str:
    if isinstance(row, Clean):
        return f"no attack, {row.partition}"
    rule = ", knows the rule" if row.knows_rule else ""
    return f"{row.attack}, {row.partition} ({row.knowledge}{rule})"


def _distance(board: Leaderboard, asked: Scenario, share: float) -> list[str]:
    """Return in what the measured setting differs from the asked one, in sentences."""
    first = board.cards[0]
    clients, rounds = first.settings.get("clients"), first.settings.get("rounds")
    lines = []
    if clients != asked.clients:
        lines.append(f"measured with {clients} clients, not with {asked.clients}")
    if abs(share - asked.malicious) > 1e-9:
        lines.append(
            f"measured with {percent(share, 0)} % malicious clients, the nearest share that is not below "
            f"{percent(asked.malicious, 0)} %"
        )
    lines.append(
        f"measured on {first.dataset} with {first.model}, {rounds} rounds, {len(first.seeds)} seeds, "
        f"{first.protocol} with budget {first.budget}; another data set or model can change the order"
    )
    return lines
