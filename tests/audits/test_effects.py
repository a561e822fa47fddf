"""Which attacks broke a strategy, from the tries of its card."""

import pytest
from auditing import made_card

from fedpoison.audits.card_parts import Tried
from fedpoison.audits.effects import attack_effects
from fedpoison.audits.leaderboard import Leaderboard


def tried(attack, harm, *, threat="untargeted", partition="iid", strongest=True):
    place = {"threat": threat, "partition": partition, "share": 0.2, "knowledge": "own"}
    return Tried(attack=attack, harm=harm, default=True, stopped=False, strongest=strongest, **place)


@pytest.fixture
def card():
    """A card with an accuracy of 90 % without attack."""
    return made_card(
        "krum",
        tried=[
            tried("alie(z=4.0)", 0.22),
            tried("alie(z=1.5)", 0.5, partition="skewed"),
            tried("alie(z=9.0)", 0.9, strongest=False),
            tried("mimic", 0.19),
            tried("ipm", None),
            tried("label-flip(mode=targeted)+scaled-update(factor=5.0)", 0.5, threat="targeted"),
            tried("backdoor(target=7)", 0.49, threat="backdoor"),
        ],
    )


def test_the_worst_place_of_each_attack_counts(card):
    found = [(effect.attack, effect.partition, round(effect.harm, 9)) for effect in attack_effects(card)]
    assert found == [
        ("label-flip(mode=targeted)+scaled-update(factor=5.0)", "iid", 0.5),
        ("backdoor(target=7)", "iid", 0.49),
        ("alie(z=1.5)", "skewed", 0.4),  # 90 % less 50 %
        ("mimic", "iid", 0.09),
    ]


def test_what_breaks_a_strategy(card):
    """Untargeted attacks: more than 10 points. Others: a success of at least 50 %."""
    broke = {effect.attack.split("(")[0] for effect in attack_effects(card) if effect.broke}
    assert broke == {"label-flip", "alie"}


def test_a_card_without_tries_has_no_effects():
    assert attack_effects(made_card()) == []


def test_the_frame_has_a_row_per_strategy_and_attack(card):
    board = Leaderboard.of({"krum": card, "median": made_card("median", tried=card.tried[:1])})
    frame = board.effects_frame()
    assert list(frame["strategy"]).count("krum") == 4
    assert frame.set_index(["strategy", "attack"]).loc[("median", "alie(z=4.0)"), "broke"]


def test_the_catalogue_tells_what_broke_a_strategy_and_whom_an_attack_broke(card, pages, monkeypatch):
    board = Leaderboard.of({"krum": card, "fedavg": made_card("fedavg", tried=[tried("mimic", 0.8)])})
    monkeypatch.setattr(pages.Leaderboard, "load", lambda: board)
    strategy = pages.strategy_results()["krum"]
    assert 'fedpoison audit --strategy "krum"' in strategy
    flip = "label-flip(mode=targeted)+scaled-update(factor=5.0)"
    assert f"- **broken by**: `{flip}` (50 % success), `alie(z=1.5)` (-40 points)" in strategy
    assert "- **withstood**: `backdoor` (49 % success), `mimic` (-9 points)" in strategy
    attacks = pages.attack_results()
    assert "- **broke**: `fedavg` (-70 points)\n- **did not break**: `krum` (-9 points)" in attacks["mimic"]
    assert attacks["scaled-update"] == attacks["label-flip"]
    assert "`label-flip + scaled-update`, targeted" in attacks["label-flip"]
