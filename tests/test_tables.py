"""A table fits the terminal, and none of its labels and numbers is lost."""

import re
from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from fedpoison.cli.tables import matrix

STRATEGIES = ["fedavg (the run)", "krum(byzantine=3)", "nnm | trimmed-mean", "multi-krum", "geometric-median"]


def lines(table, width):
    console = Console(width=width, file=StringIO(), record=True)
    console.print(table)
    return console.export_text().rstrip("\n").split("\n")


def cells(line):
    return [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_part_of_a_wide_table_has_its_labels_and_whole_numbers(width):
    classes = pd.DataFrame(
        {strategy: [1.0, place / 8] for place, strategy in enumerate(STRATEGIES)},
        index=pd.Index([0, 1], name="class"),
    )
    shown = lines(matrix("Accuracy by class, %", classes), width)
    assert all(len(line) <= width for line in shown)
    rows = [cells(line) for line in shown if line.startswith("│")]
    assert {row[0] for row in rows} == {"0", "1"}
    assert [number for row in rows if row[0] == "1" for number in row[1:]] == [
        "0.0", "12.5", "25.0", "37.5", "50.0",
    ]  # fmt: skip
    parts = sum(line.startswith("┏") for line in shown)
    assert (parts == 1) == (width >= 80)
    assert shown[0].rstrip() == "Accuracy by class, %"


def test_characters_of_double_width_have_the_room_that_they_take():
    shares = pd.DataFrame({"accuracy": [0.5]}, index=pd.Index(["世界 few"], name="setting"))
    assert any("世界 few" in line for line in lines(matrix("Study, %", shares), 80))


def test_long_labels_are_folded_where_deviations_need_the_room():
    names = [("label-flip(source=1, target=7)", "nnm | trimmed-mean(beta=0.1)"), ("none", "fedavg")]
    shares = pd.DataFrame(
        {name: [0.25, 0.5] for name in ("accuracy", "worst class", "attack success")},
        index=pd.MultiIndex.from_tuples(names, names=["attack", "strategy"]),
    )
    shown = lines(matrix("Study, %", shares, shares / 10), 80)
    rows = [cells(line) for line in shown if line.startswith("│")]
    assert rows[-1] == ["none", "fedavg", *["50.0 ± 5.0"] * 3]
    folded = rows[:-1]
    assert folded[0][2:] == ["25.0 ± 2.5"] * 3
    for place, name in enumerate(names[0]):
        assert "".join(row[place] for row in folded).replace(" ", "") == name.replace(" ", "")
