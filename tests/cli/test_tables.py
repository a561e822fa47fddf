"""A table fits the terminal, and none of its labels and numbers is lost."""

import re
from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from fedpoison.cli.tables import TextTable

STRATEGIES = ["fedavg (the run)", "krum(byzantine=3)", "nnm | trimmed-mean", "multi-krum", "geometric-median"]


def lines(table, width):
    console = Console(width=width, file=StringIO(), record=True)
    console.print(table)
    return console.export_text().rstrip("\n").split("\n")


def cells(line):
    return [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]


def unfolded(pieces):
    return "".join(pieces).replace(" ", "")


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_part_of_a_wide_table_has_its_labels_and_whole_numbers(width):
    classes = {strategy: ["100.0", str(12.5 * place)] for place, strategy in enumerate(STRATEGIES)}
    shown = lines(TextTable("Accuracy by class, %", pd.DataFrame({"class": ["0", "1"]} | classes)), width)
    assert all(len(line) <= width for line in shown)
    rows = [cells(line) for line in shown if line.startswith("│")]
    assert {row[0] for row in rows} == {"0", "1"}
    assert [number for row in rows if row[0] == "1" for number in row[1:]] == [
        "0.0", "12.5", "25.0", "37.5", "50.0",
    ]  # fmt: skip
    parts = sum(line.startswith("┏") for line in shown)
    assert (parts == 1) == (width >= 80)
    assert shown[0].rstrip() == "Accuracy by class, %"


def test_intervals_are_as_whole_as_numbers():
    strategies = {strategy: ["83.1 [81.1, 85.1]", "2 of 3 stopped"] for strategy in STRATEGIES}
    table = TextTable("Accuracy, %", pd.DataFrame({"attack": ["none", "scaled-update"]} | strategies))
    rows = [cells(line) for line in lines(table, 80) if line.startswith("│")]
    assert [row[0] for row in rows] == ["none", "scaled-update"] * 2
    assert {cell for row in rows for cell in row[1:]} == {"83.1 [81.1, 85.1]", "2 of 3 stopped"}


def test_characters_of_double_width_have_the_room_that_they_take():
    table = TextTable("Study, %", pd.DataFrame({"setting": ["世界 few"], "accuracy": ["50.0"]}))
    assert any("世界 few" in line for line in lines(table, 80))


LABELS = {
    "attack": ["label-flip(source=1, target=7)", "none"],
    "strategy": ["nnm | trimmed-mean(byzantine=3)", "fedavg"],
    "partition": ["dirichlet(alpha=0.1)", "iid"],
    "malicious": ["0.125", "0.25"],
    "schedule": ["always", "once(round=3)"],
}


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("labels", [2, 3, 5])
def test_labels_are_folded_and_never_lost_where_numbers_need_the_room(labels, width):
    names = list(LABELS)[:labels]
    numbers = {name: ["25.0 ± 2.5", "50.0 ± 10.0"] for name in ("accuracy", "worst class", "attack success")}
    frame = pd.DataFrame({name: LABELS[name] for name in names} | numbers)
    shown = lines(TextTable("Study, %", frame, labels=labels), width)
    assert all(len(line) <= width for line in shown)
    found = []
    for part in "\n".join(shown).split("┡")[1:]:
        rows = [cells(line) for line in part.split("\n") if line.startswith("│")]
        for place, name in enumerate(names):
            assert unfolded(row[place] for row in rows) == unfolded(LABELS[name])
        found += [cell for row in rows for cell in row[labels:] if cell]
    assert sorted(found) == ["25.0 ± 2.5"] * 3 + ["50.0 ± 10.0"] * 3


def test_words_may_be_folded_and_no_column_takes_all_the_room():
    frame = pd.DataFrame(
        {
            "strategy": ["nnm | trimmed-mean(byzantine=1)"],
            "lowest accuracy": ["71.5 under label-flip(source=1, target=7)"],
            "worst class": ["1: 0.0 under label-flip(source=1, target=7)"],
            "difference": ["-1.5 [-2.0, -1.0]"],
        }
    )
    shown = lines(TextTable("Weakest, %", frame, words=["lowest accuracy", "worst class"]), 80)
    assert all(len(line) <= 80 for line in shown)
    assert sum(line.startswith("┏") for line in shown) == 1
    rows = [cells(line) for line in shown if line.startswith("│")]
    for place, name in enumerate(frame):
        assert unfolded(row[place] for row in rows) == unfolded(frame[name])
    assert rows[0][-1] == "-1.5 [-2.0, -1.0]"
    widths = [len(rule) for rule in shown[-1].strip("└┘").split("┴")]
    assert max(widths) - min(widths) <= 3


ATTACKS = ["label-flip(source=1, target=7)", "backdoor+scaled-update", "alternating-minimization"]
RULES = ["fedavg", "nnm|trimmed-mean(byzantine=2)", "geometric-median", "centered-clipping", "multi-krum"]


def test_no_name_is_broken_at_80_columns():
    """Neither in the heading of a column of numbers, nor in a column of words."""
    columns = {rule: ["64.0 [61.0, 67.0]" if rule == "fedavg" else "64.0"] * 3 for rule in RULES}
    pairs = [(attack, rule) for attack in ATTACKS for rule in RULES]
    under = [f"0.0 under {attack}" for attack, _ in pairs]
    weakest = {"strategy": [rule for _, rule in pairs], "accuracy": under, "worst class": under}
    labels = {"attack": ATTACKS, "strategy": RULES[:3]}
    for table in (
        TextTable("Accuracy, %", pd.DataFrame({"attack": ATTACKS} | columns)),
        TextTable("Weakest, %", pd.DataFrame(weakest), words=["accuracy", "worst class"]),
        TextTable("Study", pd.DataFrame(labels | {"accuracy": ["1.0 ± 2.0"] * 3}), labels=2),
    ):
        shown = lines(table, 80)
        assert all(len(line) <= 80 for line in shown)
        words = re.split(r"[\s|+(,│┃]+", "\n".join(shown))
        names = {name for text in table.cells.to_numpy().ravel() for name in re.split(r"[\s|+(,]+", text)}
        names |= {name for text in table.cells.columns for name in re.split(r"[\s|(]", text)}
        assert names <= set(words)


def test_ten_classes_fit_into_80_columns_with_a_long_name():
    classes = {str(label): ["99"] * len(RULES) for label in range(10)}
    shown = lines(TextTable("none: accuracy by class, %", pd.DataFrame({"strategy": RULES} | classes)), 80)
    assert sum(line.startswith("┏") for line in shown) == 1
    assert max(map(len, shown)) <= 80


UGLY = TextTable(
    "50 % of a_b & c", pd.DataFrame([["x_1 & {y}", "nnm | median"]], columns=["a#b", "c$d\\e~^"])
)


def test_latex_escapes_what_is_its_own_and_has_booktabs_rules():
    text = UGLY.to_latex()
    assert r"\caption{50 \% of a\_b \& c}" in text
    assert r"a\#b & c\$d\textbackslash{}e\textasciitilde{}\textasciicircum{} \\" in text
    assert r"x\_1 \& \{y\} & nnm \textbar{} median \\" in text
    rules = [line for line in text.splitlines() if line.endswith("rule")]
    assert rules == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert r"\begin{tabular}{lr}" in text


def test_latex_breaks_a_table_that_fits_no_page():
    for rows, environment in ((40, "table"), (41, "longtable")):
        text = TextTable("many", pd.DataFrame({"row": ["x"] * rows})).to_latex()
        assert f"\\begin{{{environment}}}" in text
        assert text.count("x \\\\") == rows
        assert r"\caption{many}" in text


def test_markdown_escapes_what_would_end_a_cell():
    lines = UGLY.to_markdown().splitlines()
    assert lines[0] == r"**50 % of a\_b & c**"
    assert r"nnm \| median" in lines[-1]
    assert lines[-1].replace(r"\|", "").count("|") == 3
