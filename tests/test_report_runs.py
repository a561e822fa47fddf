"""Which runs a report is about, and which of them stand together."""

import pytest

from fedpoison.central import train_centrally
from fedpoison.errors import RunError
from fedpoison.report import gather, write_report
from fedpoison.report.contents import Contents
from fedpoison.report.summary import Row, Value, headlines, rows
from fedpoison.simulation import simulate


def test_clean_runs_that_measure_different_goals_stay_apart(small, tmp_path):
    short = small.but(rounds=1, goal="label-flip(mode=targeted)")
    for attack, goal in (("none", short.goal), ("none", "backdoor"), ("none", None), ("backdoor", None)):
        simulate(short.but(attack=attack, goal=goal), out=tmp_path)
    contents = Contents.of(gather([tmp_path]).runs)
    assert contents.settings == [""]
    labels = ["none", "none, goal backdoor", "none, goal label-flip(mode=targeted)", "backdoor"]
    assert contents.attacks == labels
    table = rows(contents)
    assert [len(row.places) for row in table] == [1, 1, 1, 1]
    for row in table[1:3]:
        assert row.success.mean == contents.runs[row.places[0]].history.last.success is not None
    assert table[0].success.mean is None
    assert table[3].damage.mean is not None
    assert headlines(contents, table)[0].note.startswith("1 attack, 1 strategy")


def test_central_training_is_left_out(small, tmp_path):
    simulate(small.but(rounds=1), out=tmp_path)
    central = train_centrally(small.but(rounds=1), out=tmp_path)
    stored = gather([tmp_path])
    assert len(stored.runs) == 1
    assert list(stored.left_out) == [str(central.path)]
    assert "trained centrally" in stored.left_out[str(central.path)]
    with pytest.raises(RunError, match="trained centrally"):
        gather([central.path])


def test_a_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        write_report([tmp_path])
    with pytest.raises(RunError, match="wanted a run or a run store"):
        write_report([tmp_path / "nowhere"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "rounds.jsonl").write_text("")
    with pytest.raises(RunError, match="no run can be read"):
        write_report([tmp_path])


def test_strategies_are_ranked_where_all_were_attacked_alike():
    def row(attack, strategy, accuracy):
        return Row(
            "", attack, strategy, [], Value(accuracy), Value(0), 0, Value(None), Value(None), None, None
        )

    table = [row("mild", "a", 0.9), row("mild", "b", 0.8), row("harsh", "b", 0.7), row("other", "a", 0.95)]
    contents = type("None", (), {"attacks": [], "strategies": [], "runs": [], "settings": []})
    best = [line for line in headlines(contents, table) if line.name == "Stands attacks best"]
    assert [(line.value, line.note[:2]) for line in best] == [("90.0 %", "a:")]
    assert not [line for line in headlines(contents, table[2:]) if line.name == "Stands attacks best"]
