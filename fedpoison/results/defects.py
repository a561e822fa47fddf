"""Defects of runs: replies, rounds and attacks without effect, and runs that are no result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from fedpoison.results import metrics as measures
from fedpoison.results.effects import Effects
from fedpoison.results.round import GroupRecord, OnRound, Round

LOST, NO_RESULT = "*", "\N{MULTIPLICATION SIGN}"
MARKS = {LOST: "partly without effect", NO_RESULT: "no result"}
"""Marks of values in figures, with their meaning. Replies, rounds or attacks can be without effect."""
Pair = tuple[str, str]
"""Attack and strategy."""


@dataclass(frozen=True)
class Defects:
    """Facts without which the results of some runs mislead. Defects add up.

    >>> (Defects(dropped={"late": 2}, rounds=3) + Defects(dropped={"late": 1}, rounds=3)).notes
    ['3 replies were unusable: 3 x late']
    """

    dropped: Mapping[str, int] = field(default_factory=dict)
    """Number of unusable replies, by reason."""
    unchanged: Mapping[str, int] = field(default_factory=dict)
    """Number of rounds that left the model unchanged, by reason."""
    rounds: int = 0
    """Number of all rounds."""
    runs: int = 1
    idle: tuple[str, ...] = ()
    """Notes on attacks that changed nothing, or nothing of some clients."""
    no_result: tuple[str, ...] = ()
    """Reason of each run that is no result: nothing changed the model, or a clean run learned nothing."""

    @classmethod
    def from_records(cls, records: Sequence[Round], idle: Iterable[str] = (), *, clean: bool) -> Self:
        """Return the defects of one run.

        Args:
            records: Records of the run.
            idle: Notes on its attacks without effect.
            clean: Whether no client attacks.
        """
        dropped, unchanged = Counter[str](), Counter[str]()
        for record in records:
            dropped.update(record.training.drop_counts)
            unchanged.update(record.training.unchanged)
        reason = _no_result(records[-1], unchanged, clean=clean) if records else None
        return cls(
            dict(dropped),
            dict(unchanged),
            rounds=records[-1].round if records else 0,
            idle=tuple(idle),
            no_result=() if reason is None else (reason,),
        )

    @classmethod
    def sum(cls, parts: Iterable[Self]) -> Self:
        """Return the defects of several runs together."""
        return sum(parts, cls(runs=0))

    def __add__(self, other: Self) -> Self:
        return type(self)(
            _total(self.dropped, other.dropped),
            _total(self.unchanged, other.unchanged),
            self.rounds + other.rounds,
            self.runs + other.runs,
            self.idle + other.idle,
            self.no_result + other.no_result,
        )

    @property
    def mark(self) -> str:
        """Mark of the value of these runs in figures: empty without a defect."""
        return NO_RESULT if self.no_result else LOST if self.notes else ""

    @property
    def notes(self) -> list[str]:
        """One text per defect, the most severe first."""
        found = []
        if self.no_result:
            some = len(self.no_result) < self.runs
            which = f" in {len(self.no_result)} of {self.runs} runs" if some else ""
            found.append(f"no result{which}: {self.no_result[0]}")
        if self.dropped:
            reasons = "; ".join(f"{count} x {reason}" for reason, count in self.dropped.items())
            lost = sum(self.dropped.values())
            found.append(f"{lost} {'reply was' if lost == 1 else 'replies were'} unusable: {reasons}")
        if sum(self.unchanged.values()) < self.rounds:  # otherwise, that is the reason for no result
            found += [
                f"{count} of {self.rounds} rounds did not change the model: {reason}"
                for reason, count in self.unchanged.items()
            ]
        return [*found, *dict.fromkeys(self.idle)]

    def marked(self, text: str) -> str:
        """Return the text of a value in a table, with an asterisk if a note below the table belongs to it.

        >>> Defects().marked("97.5"), Defects(no_result=("nobody trained",)).marked("11.3")
        ('97.5', 'no result *')
        """
        if not self.notes or text == "-":
            return text
        return f"{'no result' if self.no_result else text} *"

    def marked_name(self, name: str) -> str:
        """Return the name of a row of a table or figure, with the mark of its runs.

        >>> Defects(dropped={"late": 1}).marked_name("krum")
        'krum *'
        """
        return f"{name}{', no result' if self.no_result else ''} *" if self.notes else name

    def as_json(self) -> dict[str, object]:
        """Return the defects as plain values for JSON."""
        return {
            "dropped": dict(self.dropped),
            "unchanged": dict(self.unchanged),
            "no_result": next(iter(self.no_result), None),
            "notes": self.notes,
        }

    def columns(self) -> dict[str, object]:
        """Return the columns of a frame with one row per run."""
        return {
            "unusable": sum(self.dropped.values()),
            "unchanged": sum(self.unchanged.values()),
            "no_result": "; ".join(dict.fromkeys(self.no_result)),
            "notes": "; ".join(self.notes),
        }


def without_effect(groups_of_records: Iterable[Sequence[GroupRecord]], known: Mapping[int, str]) -> list[str]:
    """Return notes on attacks that did nothing, or nothing on some clients.

    A group has no note if its records do not contain the effects of its attack.

    Args:
        groups_of_records: Groups of attackers in each record.
        known: Reason of each group whose attack cannot have an effect, by its index.
    """
    notes: list[str] = []
    for index, groups in enumerate(zip(*filter(None, groups_of_records), strict=True)):
        effects = [group.effects for group in groups if group.effects is not None]
        if index in known:
            notes.append(known[index])
        elif len(effects) == len(groups):
            notes += Effects.total(effects).notes(groups[0].attack)
    return notes


def without_poison(groups_of_records: Iterable[Sequence[GroupRecord]]) -> list[str]:
    """Return a note if the attack in centralized training changed no sample.

    >>> group = GroupRecord(attack="backdoor", nodes=[], acted=True, effects=Effects(data={0: False}))
    >>> without_poison([[], [group]])
    ['the attack backdoor changed no training sample']
    """
    return [
        f"the attack {group.attack} changed no training sample"
        for group in next(filter(None, groups_of_records), ())
        if group.effects is not None and not any(group.effects.data.values())
    ]


def _no_result(last: Round, unchanged: Mapping[str, int], *, clean: bool) -> str | None:
    """Return why the last model of a run says nothing about attack and strategy. None: it does."""
    if not last.round:
        return None
    if sum(unchanged.values()) >= last.round:
        return f"none of the {last.round} rounds changed the model: {'; '.join(unchanged)}"
    if clean and last.loss is None:
        return "the loss of the clean run is not finite, since its training diverged; lower the learning rate"
    if clean and measures.is_guessing(last.counts):
        guess = measures.guess_accuracy(last.counts)
        return (
            f"the clean run is at guessing level: accuracy {100 * last.accuracy:.1f} %, and guessing the "
            f"most frequent class gives {100 * guess:.1f} %; the run is too short, or training failed"
        )
    return None


def unchanged_rounds(record: Round) -> str:
    """Return that rounds since the last record left the model unchanged, with reasons. Empty: none did.

    >>> from fedpoison.results.round import Training
    >>> unchanged = {"no reply was usable": 1}
    >>> dropped = {3: "contains NaN or infinity"}
    >>> training = Training(unchanged=unchanged, dropped=dropped)
    >>> unchanged_rounds(Round(round=7, confusion=[[1]], loss=None, training=training))
    'round 7 did not change the model: no reply was usable (contains NaN or infinity)'
    """
    unchanged = record.training.unchanged
    count = sum(unchanged.values())
    if not count:
        return ""
    rounds = f"round {record.round}" if count == 1 else f"{count} rounds up to round {record.round}"
    causes = ", ".join(dict.fromkeys(record.training.dropped.values()))
    return f"{rounds} did not change the model: {'; '.join(unchanged)}" + (f" ({causes})" if causes else "")


def warning_of_unchanged(on_round: OnRound, notify: Callable[[str], None]) -> OnRound:
    """Return a function that passes records to `on_round`, and warns of rounds that left the model unchanged.

    A sequence of such records has one warning.
    """
    before = ""

    def pass_on(record: Round) -> None:
        nonlocal before
        warning = unchanged_rounds(record)
        if warning and not before:
            notify(warning)
        before = warning
        on_round(record)

    return pass_on


def used_marks(marks: Iterable[str]) -> dict[str, str]:
    """Return the marks of some values, each once, with their meaning."""
    found = set(marks)
    return {mark: meaning for mark, meaning in MARKS.items() if mark in found}


def pair_notes(pairs: Mapping[Pair, Defects]) -> list[str]:
    """Return one line per note, with the strategies and attacks to which it belongs.

    >>> lost = Defects(dropped={"late": 2})
    >>> pair_notes({("ipm", "krum"): lost, ("ipm", "median"): lost, ("none", "krum"): Defects()})
    ['krum, median under ipm: 2 replies were unusable: 2 x late']
    """
    found: dict[str, list[Pair]] = {}
    for pair, defects in pairs.items():
        for note in defects.notes:
            found.setdefault(note, []).append(pair)
    by_severity = sorted(found, key=lambda note: not note.startswith("no result"))
    return [f"{place}: {note}" for note in by_severity for place in _places(found[note])]


def _places(pairs: Iterable[Pair]) -> list[str]:
    """Return pairs in words, in few lines: by attack or by strategy."""
    by_attack: dict[str, list[str]] = {}
    by_strategy: dict[str, list[str]] = {}
    for attack, strategy in pairs:
        by_attack.setdefault(attack, []).append(strategy)
        by_strategy.setdefault(strategy, []).append(attack)
    if len(by_attack) <= len(by_strategy):
        return [f"{', '.join(strategies)} under {attack}" for attack, strategies in by_attack.items()]
    return [f"{strategy} under {', '.join(attacks)}" for strategy, attacks in by_strategy.items()]


def _total(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(one) + Counter(other))
