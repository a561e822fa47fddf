"""A recommendation has the numbers of the leaderboard, and says how far they are from the asked setting."""

import json

import pytest
from auditing import TINY, made_card

import fedpoison as fp
from fedpoison.audits import recommend as module
from fedpoison.audits.card_folder import save_card
from fedpoison.audits.leaderboard import Leaderboard
from fedpoison.errors import RunError, ScenarioError


@pytest.fixture(autouse=True)
def protocols(monkeypatch):
    monkeypatch.setattr(module, "PROTOCOLS", {TINY.name: TINY})


@pytest.fixture
def cards(tmp_path):
    for card in (
        made_card("fedavg", clean=0.95, worst=0.1, breakdown=0.1),
        made_card("krum", clean=0.8, worst=0.5, success=0.1),
        made_card("nnm | median", clean=0.9, worst=0.7, success=0.6),
    ):
        save_card(card, tmp_path)
    return tmp_path


def test_the_best_worst_case_is_first_with_its_numbers(cards):
    found = fp.recommend(clients=10, malicious=0.2, cards=cards)
    assert [choice.strategy for choice in found.choices] == ["nnm | median", "krum", "fedavg"]
    best = found.best[0]
    assert best.worst_accuracy.percent() == "70.0 [65.0, 75.0]"
    assert best.clean_accuracy.mean == 0.9
    assert best.broken_by == "ipm, iid (omniscient)"
    assert best.audit == "fedpoison audit --strategy 'nnm | median' --clients 10"
    assert "70.0 [65.0, 75.0] %" in found.headline
    assert found.to_frame()["backdoor_success"].tolist() == [0.6, 0.1, 0.3]
    assert not any("measured with" in line for line in found.remarks)


def test_the_success_decides_for_an_attacker_with_a_target(cards):
    found = fp.recommend(clients=10, threat="backdoor", cards=cards)
    assert [choice.strategy for choice in found.choices] == ["krum", "fedavg", "nnm | median"]
    assert found.best[0].broken_by == "backdoor(target=7), iid (own)"


def test_the_distance_to_the_measured_setting_is_named(cards):
    found = fp.recommend(clients=50, malicious=0.3, partition="dirichlet(alpha=0.1)", cards=cards)
    text = "\n".join(found.remarks)
    assert "measured with 10 clients, not with 50" in text
    assert "measured with 40 % malicious clients, the nearest share that is not below 30 %" in text
    assert "the partition dirichlet(alpha=0.1) was not measured" in text
    assert "fedavg breaks before 30 % malicious clients" in text
    assert found.share == 0.4


def test_a_partition_of_the_protocol_is_found_by_name_and_by_spec(cards):
    for partition in ("skewed", "dirichlet(alpha=0.5)"):
        found = fp.recommend(clients=10, partition=partition, cards=cards)
        assert found.best[0].broken_by == "ipm, skewed (omniscient)"
        assert not any("not measured" in line for line in found.remarks)


def test_undefined_strategies_are_listed_with_the_reason(cards):
    found = fp.recommend(clients=10, malicious=0.4, cards=cards)
    assert [choice.strategy for choice in found.choices] == ["nnm | median", "fedavg"]
    assert "needs n > 2f + 2" in found.undefined["krum"]
    assert any(line.startswith("krum is not defined here") for line in found.remarks)


def test_without_fitting_data_the_message_says_what_to_do(cards, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="no audit cards.*fedpoison audit"):
        fp.recommend(cards=tmp_path / "empty")
    with pytest.raises(RunError, match=r"got 0.45, expected at most 0.4, the largest measured share.*audit"):
        fp.recommend(malicious=0.45, cards=cards)
    with pytest.raises(ScenarioError, match="unknown threat"):
        fp.recommend(threat="theft", cards=cards)
    with pytest.raises(ScenarioError, match="top: got 0"):
        fp.recommend(top=0, cards=cards)
    with pytest.raises(ScenarioError, match="unknown partition"):
        fp.recommend(partition="odd", cards=cards)


def test_the_command_prints_numbers_and_notes(cards, fedpoison):
    options = ["--clients", 50, "--malicious", "20%", "--cards", cards]
    _, out, _ = fedpoison("recommend", *options, "--top", 1)
    assert "nnm | median" in out
    assert "70.0 [65.0, 75.0]" in out
    assert "measured with 10 clients, not with 50" in out
    assert "fedpoison audit --strategy 'nnm | median' --clients 50" in out
    _, out, _ = fedpoison("recommend", *options, "--threat", "backdoor", "--json")
    found = json.loads(out)
    assert found["recommended"] == ["krum", "fedavg", "nnm | median"]
    assert found["strategies"][0]["backdoor_success"] == 0.1
    assert found["measured_share"] == 0.2


def test_the_leaderboard_command_shows_and_writes(cards, fedpoison, tmp_path):
    _, out, _ = fedpoison("leaderboard", "--cards", cards)
    assert "Worst case of each strategy, 20 % malicious" in out
    _, out, _ = fedpoison("leaderboard", "write", "--cards", cards, "--pages", tmp_path / "pages")
    assert (tmp_path / "pages" / "leaderboard.md").is_file()
    _, _, error = fedpoison("leaderboard", "show", "--cells", 3)
    assert "leaderboard show: got --cells, which only leaderboard add has" in error
    _, _, error = fedpoison("leaderboard", "add")
    assert "got no card" in error


def test_the_cards_of_fedpoison_load():
    assert Leaderboard.load().not_comparable == {}
