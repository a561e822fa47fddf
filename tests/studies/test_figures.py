import logging
import warnings
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fedpoison.plotting import lines, save
from fedpoison.results.defects import Defects
from fedpoison.results.run_frame import MEASURES
from fedpoison.scenario.scenario import Scenario
from fedpoison.studies import figures
from fedpoison.studies.comparison import compare


@pytest.fixture(scope="module")
def comparison(tmp_path_factory, request):
    base = Scenario(
        dataset="digits", train_samples=200, test_samples=100, clients=5, rounds=2, model="mlp", lr=0.05
    )
    out = tmp_path_factory.mktemp("runs")
    return compare(base, ["none", "backdoor"], ["fedavg", "median"], seeds=[0, 1], out=out, jobs=1)


def test_tables_are_means_over_seeds(comparison):
    table = comparison.table(MEASURES["accuracy"])
    runs = comparison.runs("backdoor", "median")
    assert table.loc["backdoor", "median"] == pytest.approx(np.mean([run.last.accuracy for run in runs]))
    spread = comparison.table(MEASURES["accuracy"], "std")
    assert spread.loc["backdoor", "median"] == pytest.approx(
        np.std([run.last.accuracy for run in runs], ddof=1)
    )
    success = comparison.table(MEASURES["attack success"])
    assert success.loc["none"].isna().all()
    assert success.loc["backdoor"].notna().all()


def test_all_cells_start_from_the_same_weights(comparison):
    for seed in (0, 1):
        first = {
            str(history.records[0].confusion)
            for cell, history in comparison.histories.items()
            if cell.seed == seed
        }
        assert len(first) == 1


def test_accuracy_by_round_draws_every_strategy(comparison):
    figure = figures.accuracy_by_round(comparison)
    for axes, attack in zip(figure.axes, comparison.attacks, strict=True):
        assert axes.get_title() == attack
        drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
        for strategy in comparison.strategies:
            curves = [100 * run.to_frame()["accuracy"] for run in comparison.runs(attack, strategy)]
            np.testing.assert_allclose(drawn[strategy], np.mean(curves, axis=0))


def test_heat_maps_show_the_numbers(comparison):
    history = comparison.runs("none", "fedavg")[0]
    image = history.plot().axes[0].images[0].get_array()
    np.testing.assert_allclose(image, 100 * history.per_class().T)
    confusion = history.plot_confusion().axes[0].images[0].get_array()
    np.testing.assert_allclose(confusion.sum(axis=1), 100)
    figure = figures.attack_by_strategy(comparison)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["accuracy, %", "worst-class accuracy, %", "attack success, %"]
    rows = figures.class_by_strategy(comparison, "backdoor").axes[0].images[0].get_array()
    np.testing.assert_allclose(rows[1], 100 * comparison.per_class().loc["backdoor", "median"])


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_figures_are_written_in_every_format(comparison, tmp_path, ending):
    path = tmp_path / f"figure.{ending}"
    save(figures.accuracy_by_round(comparison), path)
    assert path.stat().st_size > 1000


def named(*labels):
    figure = Figure()
    axes = figure.subplots()
    axes.set(title=labels[0], xticks=range(len(labels)), xticklabels=labels)
    return figure


def test_notebooks_show_figures_without_pyplot(comparison):
    image = Image.open(BytesIO(comparison.plot()._repr_png_()))
    assert image.format == "PNG"
    assert image.width > 500


def test_characters_that_the_font_lacks_are_told_once(tmp_path, caplog):
    figure = named("世界", "plain", "界")
    with caplog.at_level(logging.WARNING, logger="fedpoison.plotting"):
        for ending in ("png", "svg", "pdf"):
            save(figure, tmp_path / f"figure.{ending}")
    assert [record.getMessage() for record in caplog.records] == [
        "figures: the font lacks '世界'; the figure shows boxes in their place."
    ]


def test_dollars_begin_no_formula(tmp_path):
    save(named("$\\frac$", "costs 1 $ or 2 $"), tmp_path / "figure.svg")
    assert "costs 1 $ or 2 $" in (tmp_path / "figure.svg").read_text(encoding="utf-8")


def test_other_warnings_are_not_swallowed(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: warnings.warn("odd", UserWarning, stacklevel=1))
    with pytest.warns(UserWarning, match="odd"):
        save(Figure(), tmp_path / "figure.png")


def test_a_line_has_gaps_and_a_band_from_the_lowest_to_the_highest():
    rows = [("a", 0, 1.0), ("a", 0, 3.0), ("a", 1, np.nan), ("a", 2, 5.0), ("b", 2, 4.0)]
    frame = pd.DataFrame(rows, columns=["rule", "x", "y"])
    axes = Figure().subplots()
    lines(axes, frame, x="x", y="y", series="rule", names=["a", "b", "c"])
    first, second, absent = axes.lines
    np.testing.assert_array_equal(first.get_ydata(), [2, np.nan, 5])
    assert second.get_xdata().tolist() == [2]
    assert (absent.get_label(), len(absent.get_xdata())) == ("c", 0)
    (band,) = axes.collections
    assert band.get_paths()[0].vertices[:, 1].min() == 1
    axes = Figure().subplots()
    lines(axes, frame.replace({"x": {0: "r", 2: "s"}}), x="x", y="y", series="rule", names=["b"], places="rs")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [np.nan, 4])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["r", "s"]


def test_a_history_draws_itself(comparison):
    assert comparison.runs("none", "fedavg")[0].plot().axes


def test_an_attack_without_a_result_has_no_bar():
    defects = [Defects(no_result=("nobody trained",)), Defects(dropped={"late": 1}), Defects(), Defects()]
    attacks = ["ipm", "ipm(epsilon=2)", "alie", "mimic"]
    strengths = [0.9, 0.5, 0.4, 0.6]
    rows = [
        {"attack": attack, "strength": strength, **found.columns()}
        for attack, strength, found in zip(attacks, strengths, defects, strict=True)
    ]
    axes = figures.strength_by_attack(pd.DataFrame(rows)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["alie", "ipm *", "mimic"]
    assert [bar.get_width() for bar in axes.patches] == [0.4, 0.5, 0.6]
    alone = figures.strength_by_attack(pd.DataFrame(rows[:1]))
    assert np.isnan(alone.axes[0].patches[0].get_width())
    assert [text.get_text() for text in alone.legends[0].get_texts()] == ["no result"]
