"""A folder of audit cards, and whether two cards compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedpoison.audits.card import AuditCard
from fedpoison.errors import RunError, file_errors
from fedpoison.results.store import file_name
from fedpoison.results.strict_json import to_json

BUILT_IN = Path(__file__).parent / "library"
"""Folder of the cards that belong to fedpoison."""
UNDEFINED = "undefined.json"
"""File in a folder of cards with the reason per strategy that has no card."""
SIZES = ("train_samples", "test_samples", "validation_samples")
"""Settings that an audit lowers if the data set is too small."""
COMPARED = ("protocol", "protocol_digest", "budget", "dataset", "model")
"""Fields in which comparable cards agree, next to their settings."""


def save_card(card: AuditCard, folder: str | Path) -> Path:
    """Write a card in its compact form into a folder, and return its file. It replaces an older card.

    Raises:
        RunError: the file cannot be written.
    """
    path = Path(folder) / f"{file_name(card.strategy)}.json"
    with file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(card.compact().content(), compact=True) + "\n", encoding="utf-8")
    return path


def save_undefined(reasons: Mapping[str, str], folder: str | Path) -> None:
    """Write the reasons of strategies without a card into a folder.

    Raises:
        RunError: the file cannot be written.
    """
    path = Path(folder) / UNDEFINED
    with file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(dict(sorted(reasons.items())), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, eq=False)
class CardFolder:
    """Content of a folder of cards."""

    cards: Mapping[str, AuditCard]
    """Cards by file name."""
    undefined: Mapping[str, str]
    """Reason by strategy without a card."""
    broken: Mapping[str, str]
    """Reason by file name of each file that is no card."""


def load_cards(folder: str | Path) -> CardFolder:
    """Load all cards in a folder.

    Raises:
        RunError: the folder does not exist, or the file with the reasons is damaged.
    """
    place = Path(folder)
    if not place.is_dir():
        raise RunError(f"{place}: got no folder, expected a folder with audit cards.")
    cards: dict[str, AuditCard] = {}
    broken: dict[str, str] = {}
    for path in sorted(place.glob("*.json")):
        if path.name == UNDEFINED:
            continue
        try:
            cards[path.name] = AuditCard.load(path)
        except RunError as error:
            broken[path.name] = str(error)
    return CardFolder(cards, _load_undefined(place / UNDEFINED), broken)


def _load_undefined(path: Path) -> dict[str, str]:
    """Return the reason by strategy without a card; empty without the file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(reason) for name, reason in found.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(f"{path}: is damaged ({error}); delete it.") from None


def difference(card: AuditCard, reference: AuditCard) -> str | None:
    """Return why a card does not compare to another one. None: it does."""
    for name in COMPARED:
        got, expected = getattr(card, name), getattr(reference, name)
        if got != expected:
            return f"{name.replace('_', ' ')}: got {got}, expected {expected}"
    changed = changed_by_user(card)
    if changed:
        return f"the settings {', '.join(changed)} differ from the protocol"
    names = dict.fromkeys([*card.settings, *reference.settings])
    differing = [
        name
        for name in names
        if name != "strategy" and card.settings.get(name) != reference.settings.get(name)
    ]
    return f"the settings {', '.join(differing)} differ from the other cards" if differing else None


def changed_by_user(card: AuditCard) -> list[str]:
    """Return the settings that differ from the protocol, without those that a small data set changes."""
    return [
        name
        for name in card.changed_settings
        if name not in SIZES or (name != "validation_samples" and card.settings.get(name, 0) != 0)
    ]


def kind_of(card: AuditCard) -> str:
    """Return everything in which comparable cards agree, as one text."""
    settings = {name: value for name, value in card.settings.items() if name != "strategy"}
    return json.dumps([*(getattr(card, name) for name in COMPARED), settings], sort_keys=True)
