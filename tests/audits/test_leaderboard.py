"""The leaderboard compares cards of one protocol by their worst case, and writes them in every form."""

import json
from pathlib import Path

import pandas as pd
import pytest
from auditing import TINY, made_card

from experiments import leaderboard as experiment
from fedpoison.audits.card import AuditCard
from fedpoison.audits.card_folder import load_cards, save_card, save_undefined
from fedpoison.audits.card_parts import Tried
from fedpoison.audits.leaderboard import Leaderboard
from fedpoison.audits.leaderboard_files import markdown, write_board
from fedpoison.audits.leaderboard_tables import small_table
from fedpoison.errors import RunError, ScenarioError


@pytest.fixture
def cards():
    return [
        made_card("fedavg", clean=0.95, worst=0.1),
        made_card("krum", clean=0.8, worst=0.5),
        made_card("median", clean=0.9, worst=0.6),
        made_card("nnm | krum", clean=0.85, worst=0.7),
    ]


@pytest.fixture
def board(cards):
    return Leaderboard.of({card.strategy: card for card in cards}, {"fltrust": "no root data", "krum": "old"})


def test_the_best_worst_case_is_first(board):
    frame = board.to_frame()
    assert list(frame["strategy"]) == ["nnm | krum", "median", "krum", "fedavg", "fltrust"]
    assert frame["worst_accuracy"].tolist()[:4] == [0.7, 0.6, 0.5, 0.1]
    assert frame["worst_attack"][0] == "ipm"
    assert frame["undefined"].tolist()[4] == "no root data"
    assert frame["undefined"][:4].isna().all()


def test_strategies_that_are_not_audited_yet_are_named(board):
    assert not {"fedavg", "fltrust", "krum", "median"} & {*board.missing}
    assert "alignins" in board.missing
    assert "Not audited yet: `afa`, " in markdown(board)


def test_a_strategy_dominates_if_it_is_better_without_attack_and_in_the_worst_case(board):
    assert board.dominators == {
        "nnm | krum": [],
        "median": [],
        "krum": ["nnm | krum", "median"],
        "fedavg": [],
    }
    assert board.front == ["nnm | krum", "median", "fedavg"]


def test_equal_strategies_do_not_dominate_each_other():
    board = Leaderboard.of({name: made_card(name) for name in ("krum", "median")})
    assert board.front == ["krum", "median"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"budget": "full"}, "budget: got full, expected quick"),
        ({"protocol_digest": "0"}, f"protocol digest: got 0, expected {TINY.digest}"),
        ({"dataset": "mnist"}, "dataset: got mnist, expected digits"),
        ({"model": "cnn"}, "model: got cnn, expected mlp-small"),
        ({"changed_settings": ["lr"]}, "the settings lr differ from the protocol"),
        ({"settings": made_card().settings | {"lr": 1.0}}, "the settings lr differ from the other cards"),
        ({"strategy": "median"}, "there is another card of median"),
    ],
)
def test_other_cards_do_not_compare(cards, changes, reason):
    other = made_card("dnc").model_copy(update=changes)
    found = Leaderboard.of({card.strategy: card for card in cards} | {"theirs.json": other})
    assert found.not_comparable == {"theirs.json": reason}
    assert len(found.cards) == 4
    assert f"theirs.json does not compare: {reason}" in found.remarks


def test_sizes_that_a_small_data_set_changes_compare():
    small = {**made_card().settings, "train_samples": 0}
    cards = {
        name: made_card(name, settings=small, changed_settings=["train_samples", "validation_samples"])
        for name in ("krum", "median")
    }
    assert len(Leaderboard.of(cards).cards) == 2


def test_a_strategy_without_the_headline_share_has_a_reason_and_is_last(cards):
    late = made_card("dnc", worst=0.99)
    late = late.model_copy(
        update={
            "headline_share": 0.1,
            "undefined": {"0.2": "too few clients"},
            "attacked": [row for row in late.attacked if row.share != 0.2],
            "clean": [row for row in late.clean if row.share != 0.2],
        }
    )
    found = Leaderboard.of({card.strategy: card for card in [late, *cards]})
    last = found.to_frame().iloc[-1]
    assert (last["strategy"], last["undefined"]) == ("dnc", "too few clients")
    assert pd.isna(last["worst_accuracy"])
    assert "dnc" not in found.dominators


def test_a_folder_of_cards_returns(cards, tmp_path):
    for card in cards:
        save_card(card, tmp_path)
    save_undefined({"smea": "too many subsets"}, tmp_path)
    (tmp_path / "broken.json").write_text("{}")
    found = Leaderboard.load(tmp_path)
    assert {card.strategy: card for card in found.cards} == {card.strategy: card for card in cards}
    assert found.undefined == {"smea": "too many subsets"}
    assert "is no audit card" in found.not_comparable["broken.json"]
    with pytest.raises(RunError, match="expected a folder with audit cards"):
        Leaderboard.load(tmp_path / "none")


def test_the_long_form_has_a_row_per_attack_and_clean_run(board, cards):
    rows = board.results_frame()
    assert len(rows) == sum(len(card.attacked) + len(card.clean) for card in cards)
    krum = rows[(rows["strategy"] == "krum") & (rows["threat"] == "backdoor") & (rows["share"] == 0.4)]
    assert krum["success"].tolist() == [0.3, 0.3]
    assert set(rows["partition"]) == {"iid", "skewed"}
    assert rows["success"][rows["threat"] == "none"].isna().all()


def test_all_files_have_the_numbers_of_the_cards(board, tmp_path):
    text = write_board(board, tmp_path).read_text()
    assert r"nnm \| krum" in text
    assert "70.0 [65.0, 75.0]" in text
    assert "no root data" in text
    data = tmp_path / "leaderboard"
    table = pd.read_csv(data / "leaderboard.csv")
    assert table["worst_accuracy"].tolist()[:4] == [0.7, 0.6, 0.5, 0.1]
    stored = json.loads((data / "leaderboard.json").read_text())
    assert stored["not_dominated"] == board.front
    assert stored["strategies"][0]["clean_accuracy"] == 0.85
    assert len(pd.read_csv(data / "attacks.csv")) == len(board.results_frame())


def test_the_small_table_has_the_best_strategies_and_fedavg(board):
    table = small_table(board)
    assert [line.split("`")[1] for line in table.splitlines()[2:]] == [r"nnm \| krum", "median", "fedavg"]
    assert "95.0" in table.splitlines()[-1]


def test_a_leaderboard_without_cards_says_so():
    assert repr(Leaderboard()).startswith("leaderboard without cards")


def test_every_rule_and_a_dozen_pipelines_are_audited():
    names = experiment.names(None)
    assert set(experiment.strategies.builtin) <= set(names)
    assert len([name for name in names if "|" in name]) >= 12
    assert len(names) == len(set(names))


def test_the_experiment_keeps_cards_and_records_failures(tmp_path, monkeypatch, capsys):
    asked = []

    def audit(scenario, **options):
        asked.append(str(scenario.strategy))
        if scenario.strategy == "dnc":
            raise RunError("the strategy stopped")
        if scenario.strategy == "afa":
            raise ZeroDivisionError("no clients")
        return made_card(str(scenario.strategy))

    monkeypatch.setattr(experiment, "audit", audit)
    settings = {
        "dataset": "digits",
        "budget": "quick",
        "cards": tmp_path / "cards",
        "out": tmp_path,
        "protocol": TINY,
    }
    experiment.run(["krum", "dnc", "afa"], **settings)
    found = load_cards(tmp_path / "cards")
    assert {card.strategy for card in found.cards.values()} == {"krum"}
    assert found.undefined == {"afa": "ZeroDivisionError: no clients", "dnc": "the strategy stopped"}
    experiment.run(["krum", "median"], **settings)
    assert asked == ["krum", "dnc", "afa", "median"]
    assert "1 of 2: " not in capsys.readouterr().err.split("2 of 2")[-1]


def test_the_experiment_writes_its_files_elsewhere_for_other_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "audit", lambda scenario, **_: made_card(str(scenario.strategy)))
    cards = ["--cards", str(tmp_path / "cards")]
    folders = [*cards, "--docs", str(tmp_path), "--out", str(tmp_path / "runs")]
    experiment.main(["--dataset", "digits", "--strategies", "fedavg,median", *folders])
    assert {card.strategy for card in Leaderboard.load(tmp_path / "cards").cards} == {"median", "fedavg"}
    assert (tmp_path / "leaderboard.md").is_file()
    monkeypatch.setattr(experiment, "seconds_per_round", lambda setting: {"aggregate": 2.0})
    monkeypatch.setattr(experiment, "find_protocol", lambda card: TINY)
    experiment.main(["--dataset", "digits", "--times", *folders])
    frame = Leaderboard.load(tmp_path / "cards").to_frame()
    assert list(frame["seconds_per_aggregation"]) == [2.0, 2.0]
    experiment.main(["--readme", *cards])
    assert "`median`" in capsys.readouterr().out
    with pytest.raises(ScenarioError, match="set --cards and --docs"):
        experiment.main(["--dataset", "digits", *cards])


def test_a_stored_card_has_the_strongest_try_of_each_attack(tmp_path):
    row = {"threat": "backdoor", "partition": "iid", "share": 0.2, "knowledge": "own", "default": True}
    tries = [
        Tried(**row, attack=f"blended(alpha={alpha})", harm=alpha, stopped=False, strongest=alpha == 0.4)
        for alpha in (0.2, 0.4)
    ]
    card = made_card(tried=tries)
    loaded = AuditCard.load(save_card(card, tmp_path))
    assert loaded.tried == tries[1:]
    assert loaded.digest == card.digest != made_card().digest


def test_a_stored_card_that_was_edited_is_refused(tmp_path):
    path = save_card(made_card(), tmp_path)
    path.write_text(path.read_text().replace('"worst_accuracy":0.5', '"worst_accuracy":0.6'))
    assert "the card was edited" in load_cards(tmp_path).broken[path.name]


def test_the_page_of_the_documentation_is_that_of_the_cards():
    docs = Path(__file__).parents[2] / "docs"
    assert (docs / "leaderboard.md").read_text() == markdown(Leaderboard.load())
    assert {path.suffix for path in (docs / "leaderboard").iterdir()} == {".csv", ".html", ".json"}
