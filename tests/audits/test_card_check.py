"""Another person's card is checked: its form without any run, and some cells by running them again."""

import json
import re

import pytest
from auditing import TINY, made_card

from fedpoison.audits import card_check, recommend
from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_check import faults, find_protocol, load_setting
from fedpoison.audits.card_parts import Measured
from fedpoison.audits.cell_check import cells, run_again, sample
from fedpoison.audits.leaderboard import Leaderboard
from fedpoison.errors import RunError


@pytest.fixture(autouse=True)
def protocols(monkeypatch):
    for module in (card_check, recommend):
        monkeypatch.setattr(module, "PROTOCOLS", {TINY.name: TINY})


@pytest.fixture(scope="module")
def setting():
    return load_setting(made_card("median"), TINY)


def edited(**changes):
    """Return a card of the median with changes that pydantic does not check."""
    return made_card("median").model_copy(update=changes)


def test_a_complete_card_has_no_fault(setting):
    card = made_card("median")
    assert find_protocol(card) is TINY
    assert faults(card, setting) == []


def test_an_unknown_or_changed_protocol_is_refused():
    with pytest.raises(RunError, match="got audit-9, expected one of tiny; update fedpoison"):
        find_protocol(edited(protocol="audit-9"))
    with pytest.raises(RunError, match="protocol digest: got 0, expected"):
        find_protocol(edited(protocol_digest="0"))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"budget": "huge"}, "budget: got huge, expected one of quick"),
        ({"seeds": [5, 6]}, "seeds: got [5, 6], expected [0, 1]"),
        ({"tuning_seeds": [0]}, "tuning seeds: got [0], expected [1000]"),
        ({"changed_settings": ["lr"]}, "settings: lr differs from the protocol"),
        ({"worst_accuracy": 0.8}, "worst accuracy: got 0.8, expected 0.5"),
        ({"backdoor_success": None}, "backdoor success: got None, expected 0.3"),
        ({"breakdown_share": None}, "breakdown share: got None, expected 0.25"),
        ({"undefined": {"0.4": "none"}}, "undefined shares: got ['0.4'], expected []"),
    ],
)
def test_a_card_that_contradicts_itself_or_the_protocol_has_a_fault(setting, changes, fault):
    assert faults(edited(**changes), setting) == [fault]


def test_missing_results_are_found(setting):
    card = made_card("median")
    shorter = card.model_copy(update={"attacked": card.attacked[1:], "clean": card.clean[1:]})
    assert faults(shorter, setting) == [
        "iid, 20 % malicious: expected one row without attack",
        "iid, 20 % malicious: got 0 untargeted attacks, expected 1",
    ]


def test_attacks_that_are_not_in_the_protocol_are_found(setting):
    card = made_card("median")
    weak = card.attacked[0].model_copy(update={"attack": "none"})
    found = faults(card.model_copy(update={"attacked": [weak, *card.attacked[1:]]}), setting)
    assert found == ["none with schedule always is no untargeted attack of tiny"]


def test_impossible_numbers_are_found(setting):
    card = made_card("median")
    odd = card.attacked[0].model_copy(update={"worst_class_accuracy": Measured(mean=0.1, high=1.5)})
    found = faults(card.model_copy(update={"attacked": [odd, *card.attacked[1:]]}), setting)
    assert found == ["ipm, iid, 20 % malicious: got 10.0, expected shares from 0 to 100 %"]


def test_the_seed_chooses_the_cells():
    card = made_card("median")
    assert sample(card, 4, seed=1) == sample(card, 4, seed=1) != sample(card, 4, seed=2)
    assert sample(card, 100, seed=1) == cells(card)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def honest(setting, store):
    """Return a card whose first attack has the numbers of this machine."""
    card = made_card("median")
    (check,) = run_again(card, setting, card.attacked[:1], out=store, jobs=1)
    assert check.cell == "ipm, iid, 20 % malicious"
    assert check.differences["accuracy"][0] == "50.0 [45.0, 55.0]"
    assert "stopped seeds" not in check.differences
    assert "50.0 [45.0, 55.0] in the card" in check.text
    first = card.attacked[0]
    found = {"accuracy": first.accuracy, "worst_class_accuracy": first.worst_class_accuracy}
    for name, measure in (("accuracy", "accuracy"), ("worst_class_accuracy", "worst class")):
        numbers = [float(part) / 100 for part in re.findall(r"[\d.]+", check.differences[measure][1])]
        found[name] = Measured(**dict(zip(("mean", "low", "high"), numbers, strict=True)))
    return card.model_copy(update={"attacked": [first.model_copy(update=found), *card.attacked[1:]]})


def test_a_cell_with_the_same_numbers_is_confirmed(honest, setting, store):
    (exact,) = run_again(honest, setting, honest.attacked[:1], out=store, jobs=1)
    (near,) = run_again(honest, setting, honest.attacked[:1], tolerance=0.001, out=store, jobs=1)
    assert exact.differences  # the numbers of the text are rounded
    assert near.text == "ipm, iid, 20 % malicious: the same numbers"


def test_the_command_adds_a_card_after_its_check(honest, fedpoison, tmp_path, monkeypatch, store):
    monkeypatch.setattr("fedpoison.cli.leaderboard.sample", lambda card, *_: card.attacked[:1])
    honest = honest.model_copy(update={"worst_accuracy": min(row.accuracy.mean for row in honest.attacked)})
    path = tmp_path / "card.json"
    path.write_text(honest.to_json())
    options = ["--cards", tmp_path / "cards", "--out", store, "--jobs", 1, "--json", "--seed", 3]
    code, out, _ = fedpoison("leaderboard", "add", path, *options)
    assert code == 1
    assert json.loads(out)["added"] is None
    assert json.loads(out)["cells"][0]["differences"]["accuracy"]["card"] != "50.0 [45.0, 55.0]"
    code, out, _ = fedpoison("leaderboard", "add", path, *options, "--tolerance", 0.001)
    assert code == 0
    assert AuditCard.load(json.loads(out)["added"]) == honest
    assert [card.strategy for card in Leaderboard.load(tmp_path / "cards").cards] == ["median"]
